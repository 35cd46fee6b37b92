"""What the numbers say, in sentences made from them: one-sided paired bounds over seeds at every budget.

With d = (ours − another's) value of a distance to Retrain, seed by seed, and t the Student quantile of k − 1
degrees, the bounds of its mean are d̄ ∓ t·s/√k, each at its own level.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t

from ...report.labels import label as name_of
from ...report.model import FLOOR
from .ground import Found, label_of

LEVEL = 0.95
MARGIN = 0.1  # of the floor: what a difference must exceed to count


@dataclass(frozen=True)
class Bound:
    """A mean difference with a lower and an upper bound, each one-sided; None for fewer than two seeds."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


def bound(values: Sequence[float], level: float = LEVEL) -> Bound:
    """The mean of some differences, with its one-sided bounds, each at `level`."""
    mean, k = statistics.fmean(values), len(values)
    if k < 2:
        return Bound(mean, None, None, k)
    reach = float(t.ppf(level, k - 1)) * statistics.stdev(values) / math.sqrt(k)
    return Bound(mean, mean - reach, mean + reach, k)


@dataclass(frozen=True)
class Rival:
    """Another method beside ours at one budget. differences: metric → ours − theirs, seed by seed.

    margins: metric → what counts, `MARGIN` of the floor. Positive differences: the other is nearer to Retrain.
    """

    method: str
    differences: dict[str, list[float]]
    margins: dict[str, float]

    def nearer(self) -> bool:
        """Shown: nearer than ours by more than the margin in every metric.

        Each bound is at 95 %, and so is the whole: all of them must hold (an intersection-union test).
        """
        found = [bound(self.differences[metric]).low for metric in self.margins]
        return all(low is not None and low > m for low, m in zip(found, self.margins.values(), strict=True))

    def excluded(self) -> bool:
        """Ruled out: that it is nearer by more than the margin in every metric.

        One metric is enough, so the error is shared out among them (Bonferroni): of two, each bound at 97.5 %.
        """
        level = 1 - (1 - LEVEL) / len(self.margins)
        found = [bound(self.differences[metric], level).high for metric in self.margins]
        return any(high is not None and high <= m for high, m in zip(found, self.margins.values(), strict=True))


def rivals(found: Found, ours: str, budget: float, pair: Sequence[str]) -> list[Rival]:
    """All other methods that kept this budget, where seeds have the values of both and of the floor."""
    made = []
    for other in found.methods:
        if other == ours or not found.keeps(other, budget):
            continue
        differences, margins = {}, {}
        for metric in pair:
            mine = found.values(label_of(ours, budget), metric)
            theirs, floor = found.values(label_of(other, budget), metric), found.values(FLOOR, metric)
            common = sorted(mine.keys() & theirs.keys() & floor.keys())
            if common:
                differences[metric] = [mine[seed] - theirs[seed] for seed in common]
                margins[metric] = MARGIN * statistics.fmean(floor[seed] for seed in common)
        if len(margins) == len(pair):
            made.append(Rival(other, differences, margins))
    return made


def sentences(found: Found, ours: str, pair: Sequence[str], resets: Sequence[str]) -> list[str]:
    """All that is said of a task: at every budget who is better, what re-initialisation does, the floor."""
    said = []
    for budget in found.budgets:
        share = found.share(ours, budget)
        if share is None:
            continue
        head = f"At {100 * budget:g} % of a retraining"
        if not found.keeps(ours, budget):
            said.append(
                f"{head}: {ours} took {100 * share:.1f} %, more than the budget; it is compared with nobody."
            )
            continue
        others = rivals(found, ours, budget, pair)
        if others:
            said.append(f"{head}: {better(others, ours, pair)}{_over(found, ours, budget)}")
        said += [f"{head}: {reset(found, one, ours, budget)}" for one in others if one.method in resets]
        floor = beside_floor(found, ours, budget, pair)
        if floor:
            said.append(f"{head}: {floor}")
    return said


def better(others: Sequence[Rival], ours: str, pair: Sequence[str]) -> str:
    """Whether any method is better than ours in all of `pair` by more than the margin."""
    what = f"better than {ours} in {_list(pair)} by more than {100 * MARGIN:g} % of the floor"
    shown = [one for one in others if one.nearer()]
    out = [one.method for one in others if one.excluded()]
    left = [one.method for one in others if not one.nearer() and not one.excluded()]
    said = f"{'; '.join(_by(one) for one in shown)}: {what}" if shown else f"no method is shown to be {what}"
    tail = [f"ruled out for {', '.join(out)}"] if out else []
    tail += [f"neither shown nor ruled out for {', '.join(left)}"] if left else []
    least = min(len(values) for one in others for values in one.differences.values())
    few = " (one seed has no bounds)" if least < 2 else ""
    return f"{'; '.join([said, *tail])}{few}."


def _by(one: Rival) -> str:
    parts = []
    for metric, values in one.differences.items():
        found = bound(values)
        parts.append(f"{_short(metric)} by {_number(found.mean)}, at least {_number(found.low)}")
    return f"{one.method} ({'; '.join(parts)})"


def reset(found: Found, one: Rival, ours: str, budget: float) -> str:
    """Ours against a partial re-initialisation of equal cost: nearer in one distance, not farther in another."""
    words, gains, losses, unsure = [], [], [], []
    for metric, values in one.differences.items():
        ours_nearer, margin = bound([-value for value in values]), one.margins[metric]
        words.append(f"{_short(metric)} {_number(ours_nearer.mean, sign=True)}{_ends(ours_nearer)}")
        if ours_nearer.low is None or ours_nearer.high is None:
            unsure.append(metric)
        elif ours_nearer.low > 0:
            gains.append(metric)
        elif ours_nearer.high < -margin:
            losses.append(metric)
        elif ours_nearer.low < -margin:
            unsure.append(metric)
    if gains and not losses and not unsure:
        verdict = f"{ours} is nearer to Retrain in {_list(gains)}" + (
            f" and not farther in {_list(rest)}" if (rest := [m for m in one.margins if m not in gains]) else ""
        )
    elif losses:
        verdict = f"{ours} is farther from Retrain in {_list(losses)}"
        verdict += f" and nearer in {_list(gains)}" if gains else ""
    else:
        verdict = "not told apart" + (f" ({ours} is nearer in {_list(gains)} alone)" if gains else "")
    spent = [100 * (found.share(name, budget) or 0.0) for name in (ours, one.method)]
    cost = f"{spent[0]:.1f} % against {spent[1]:.1f} % spent"
    return f"{one.method} minus {ours} ({cost}), with one-sided 95 % bounds: {'; '.join(words)}. {verdict}."


def beside_floor(found: Found, ours: str, budget: float, metrics: Sequence[str]) -> str:
    """Our distances as multiples of the floor's, with the upper bound that the paired difference gives."""
    parts = []
    for metric in metrics:
        mine, floor = found.values(label_of(ours, budget), metric), found.values(FLOOR, metric)
        common = sorted(mine.keys() & floor.keys())
        middle = statistics.fmean(floor[seed] for seed in common) if common else 0.0
        if middle <= 0:
            continue
        apart = bound([mine[seed] - floor[seed] for seed in common])
        most = "" if apart.high is None else f" (at most {1 + apart.high / middle:.2f})"
        parts.append(f"{_short(metric)} {1 + apart.mean / middle:.2f} ×{most}")
    return f"{ours} against the floor: {', '.join(parts)}." if parts else ""


def _over(found: Found, ours: str, budget: float) -> str:
    gone = [
        m for m in found.methods if m != ours and found.share(m, budget) is not None and not found.keeps(m, budget)
    ]
    return f" Over the budget, and left out: {', '.join(gone)}." if gone else ""


def _ends(found: Bound) -> str:
    return "" if found.low is None else f" [≥ {_number(found.low, sign=True)}, ≤ {_number(found.high, sign=True)}]"


def _number(value: float | None, sign: bool = False) -> str:
    return "–" if value is None else f"{value:+.2f}" if sign else f"{value:.2f}"


def _short(metric: str) -> str:
    return name_of(metric).short


def _list(metrics: Sequence[str]) -> str:
    return " and ".join(_short(metric) for metric in metrics)
