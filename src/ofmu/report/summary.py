"""Means and spreads over seeds, the order of methods and metrics, and who leads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ofmu.report.labels import GROUPS, label
from ofmu.report.model import FLOOR, ORIGINAL, REFERENCES, RETRAIN, ScoreRow


@dataclass(frozen=True)
class Summary:
    """One method's values of one metric, one per seed that has it; missing: "seed: reason" for the others."""

    values: tuple[float, ...]
    missing: tuple[str, ...]
    n: tuple[int, ...]

    @property
    def mean(self) -> float | None:
        """Σ values / count, None where there is no value."""
        return math.fsum(self.values) / len(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """Sample standard deviation (count − 1), None below two values: one seed has no spread."""
        if self.mean is None or len(self.values) < 2:
            return None
        return math.sqrt(math.fsum((v - self.mean) ** 2 for v in self.values) / (len(self.values) - 1))

    @property
    def error(self) -> float:
        """Standard error of the mean, sd/√count; 0 where it is unknown."""
        return (self.sd or 0.0) / math.sqrt(max(len(self.values), 1))


def tasks_of(rows: Sequence[ScoreRow]) -> list[str]:
    """The tasks in order of appearance."""
    return list(dict.fromkeys(row.task for row in rows))


def methods_of(rows: Sequence[ScoreRow]) -> list[str]:
    """Original, Retrain, the floor, then OFMU and its variants, then the others as they appear."""
    names = list(dict.fromkeys(row.method for row in rows))
    rank = {ORIGINAL: 0, RETRAIN: 1, FLOOR: 2}
    return sorted(names, key=lambda name: rank.get(name, 3 if is_ofmu(name) else 4))


def is_ofmu(method: str) -> bool:
    """Whether a method is OFMU or a variant of it."""
    return method.lower().startswith("ofmu")


def metrics_of(rows: Sequence[ScoreRow]) -> list[str]:
    """The metrics by the question they answer, then in order of appearance."""
    order = list(GROUPS)
    return sorted(dict.fromkeys(row.metric for row in rows), key=lambda m: order.index(label(m).group))


def summarise(rows: Sequence[ScoreRow], task: str) -> dict[tuple[str, str], Summary]:
    """(method, metric) → its values over seeds."""
    groups: dict[tuple[str, str], list[ScoreRow]] = {}
    for row in rows:
        if row.task == task:
            groups.setdefault((row.method, row.metric), []).append(row)
    return {key: _summary(sorted(group, key=lambda row: row.seed)) for key, group in groups.items()}


def _summary(group: Sequence[ScoreRow]) -> Summary:
    return Summary(
        values=tuple(row.value for row in group if row.value is not None),
        missing=tuple(f"seed {row.seed}: {row.missing}" for row in group if row.value is None),
        n=tuple(row.n for row in group if row.value is not None),
    )


def leaders(
    table: dict[tuple[str, str], Summary], methods: Sequence[str], metric: str, higher: bool | None
) -> set[str]:
    """The best method and all whose distance to it is within one standard error of the difference.

    References do not compete, nor do methods that lack a seed; with fewer than two competitors, or without
    Retrain where Retrain's value is best, nobody leads.
    """
    retrain = table.get((RETRAIN, metric))
    loss: dict[str, tuple[float, float]] = {}
    for method in methods:
        cell = table.get((method, metric))
        if method in REFERENCES or cell is None or cell.mean is None or cell.missing:
            continue
        if higher is None:
            if retrain is None or retrain.mean is None:
                return set()
            loss[method] = abs(cell.mean - retrain.mean), cell.error
        else:
            loss[method] = -cell.mean if higher else cell.mean, cell.error
    if len(loss) < 2:
        return set()
    best, error = min(loss.values())
    return {name for name, (value, own) in loss.items() if value - best <= math.hypot(error, own)}
