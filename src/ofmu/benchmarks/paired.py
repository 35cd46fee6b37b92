"""Differences seed by seed, with intervals: what says whether one method is nearer to Retrain than another."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t

from ..report.model import FLOOR, REFERENCES, ScoreRow

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """mean of (other − ours) over `seeds` seeds, and its interval; low and high are None for one seed."""

    other: str
    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def words(self) -> str:
        """`NPO +1.20 [0.30, 2.10]`."""
        interval = "" if self.low is None or self.high is None else f" [{self.low:+.2f}, {self.high:+.2f}]"
        return f"{self.other} {self.mean:+.2f}{interval}"


def differences(rows: Sequence[ScoreRow], metric: str, ours: str, level: float = LEVEL) -> list[Difference]:
    """Every other method minus `ours`, over the seeds that both have, with a Student-t interval of the mean.

    mean ± t_{(1+level)/2, k−1} · s/√k over k seeds. References are left out, and methods without a common seed;
    `ours` may be one: minus the floor, a difference says how much farther than a second Retrain a method is.
    """
    values: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.metric == metric and row.value is not None:
            values.setdefault(row.method, {})[row.seed] = row.value
    mine, found = values.get(ours, {}), []
    for other, theirs in values.items():
        common = sorted(mine.keys() & theirs.keys())
        if other in REFERENCES or other == ours or not common:
            continue
        pairs = [theirs[seed] - mine[seed] for seed in common]
        mean, low, high = interval(pairs, level)
        found.append(Difference(other, mean, low, high, len(pairs)))
    return found


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float | None, float | None]:
    """Mean and Student-t interval of a few values; no interval for one."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None, None
    reach = float(t.ppf((1 + level) / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - reach, mean + reach


def sentence(rows: Sequence[ScoreRow], metric: str, ours: str) -> str:
    """All differences of a metric in a sentence; empty where there is nobody to compare with."""
    found = differences(rows, metric, ours)
    return f"{metric}, others minus {ours}, {_listed(found)}." if found else ""


def floor_sentence(rows: Sequence[ScoreRow], metric: str) -> str:
    """Every method's distance to Retrain minus a second Retrain's, and which can be told from one.

    Empty where there is no second Retrain. An interval that holds 0 is no proof of equality: it may be wide.
    """
    found = differences(rows, metric, FLOOR)
    if not found:
        return ""
    apart = [one for one in found if one.told_apart]
    groups = {
        "farther from Retrain than a second Retrain": [one.other for one in apart if one.mean > 0],
        "nearer than one": [one.other for one in apart if one.mean < 0],
        f"not told from one with {_many(found)}, which is not to say equal": [
            one.other for one in found if not one.told_apart
        ],
    }
    said = "; ".join(f"{words}: {', '.join(names)}" for words, names in groups.items() if names)
    return f"{metric}, methods minus a second Retrain, {_listed(found)}. {said[0].upper()}{said[1:]}."


def _listed(found: Sequence[Difference]) -> str:
    listed = "; ".join(one.words for one in sorted(found, key=lambda one: one.mean))
    return f"mean and 95 % interval over {_many(found, 'paired ')}: {listed}"


def _many(found: Sequence[Difference], kind: str = "") -> str:
    seeds = {one.seeds for one in found}
    many = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)}–{max(seeds)}"
    return f"{many} {kind}seed" + ("" if seeds == {1} else "s")
