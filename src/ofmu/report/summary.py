"""Means and spreads over seeds, and the grid of cells that every table prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ofmu.report.labels import GROUPS, Label, arrow, label
from ofmu.report.model import FLOOR, ORIGINAL, REFERENCES, RETRAIN, ScoreRow

MISSING = "missing"  # tried and failed: the reason stands in the notes
ABSENT = "–"  # never tried, such as Retrain's distance to itself


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


@dataclass(frozen=True)
class Cell:
    """One number as text, "missing", or "–" where nothing was measured.

    spread: the sd, empty with one seed. partial: "(4 of 5 seeds)" where some are missing, note: why. best:
    not clearly behind the best method.
    """

    mean: str
    spread: str = ""
    partial: str = ""
    note: str = ""
    best: bool = False

    @property
    def text(self) -> str:
        """The cell on one line: "mean ± sd"."""
        return " ".join(filter(None, [self.mean, self.spread and f"± {self.spread}", self.partial]))


@dataclass(frozen=True)
class Column:
    """One metric: its label, its direction, and the number of samples behind it."""

    metric: str
    label: Label
    arrow: str
    n: str


@dataclass(frozen=True)
class Line:
    """One method: how many seeds it has, and a cell per column."""

    method: str
    seeds: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Grid:
    """A task's table, ready to be printed anywhere."""

    task: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


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


def grid(rows: Sequence[ScoreRow], task: str) -> Grid:
    """The table of one task: a line per method, a column per metric."""
    mine = [row for row in rows if row.task == task]
    table, methods, metrics = summarise(mine, task), methods_of(mine), metrics_of(mine)
    better = {row.metric: row.higher_is_better for row in mine}
    cells: dict[tuple[str, str], Cell] = {}
    columns = []
    for metric in metrics:
        columns.append(_column(table, metric, better[metric]))
        lead = leaders(table, methods, metric, better[metric])
        digits = decimals([s.mean for (_, m), s in table.items() if m == metric])
        for method in methods:
            cells[method, metric] = _cell(table.get((method, metric)), digits, method in lead)
    seeds = {method: len({row.seed for row in mine if row.method == method}) for method in methods}
    lines = tuple(Line(m, seeds[m], tuple(cells[m, metric] for metric in metrics)) for m in methods)
    notes = tuple(
        f"{method}, {label(metric).short}: {cell.note}"
        for (method, metric), cell in cells.items()
        if cell.note
    )
    return Grid(task, tuple(columns), lines, notes)


def _column(table: dict[tuple[str, str], Summary], metric: str, better: bool | None) -> Column:
    counts = sorted({n for (_, name), cell in table.items() if name == metric for n in cell.n})
    n = "" if not counts else f"n={counts[0]}" if len(counts) == 1 else f"n={counts[0]}–{counts[-1]}"
    return Column(metric, label(metric), arrow(better), n)


def _cell(summary: Summary | None, digits: int, best: bool) -> Cell:
    if summary is None:
        return Cell(ABSENT)
    note = "; ".join(summary.missing)
    if summary.mean is None:
        return Cell(MISSING, note=note)
    spread = "" if summary.sd is None else f"{summary.sd:.{digits}f}"
    have, asked = len(summary.values), len(summary.values) + len(summary.missing)
    partial = f"({have} of {asked} seeds)" if summary.missing else ""
    return Cell(number(summary.mean, digits), spread, partial, note, best)


def decimals(values: Sequence[float | None]) -> int:
    """Digits after the point that suit a whole column: 0 from a thousand on, 2 from one on, else 3."""
    largest = max((abs(v) for v in values if v is not None), default=0.0)
    return 0 if largest >= 1000 else 2 if largest >= 1 else 3


def number(value: float, digits: int) -> str:
    """A fixed number of decimals; what would print as zero and is not says that it is smaller."""
    if value != 0 and abs(value) < 0.5 * 10**-digits:
        return f"<{10**-digits:.{digits}f}" if value > 0 else f">−{10**-digits:.{digits}f}"
    return f"{value:.{digits}f}".replace("-", "−")
