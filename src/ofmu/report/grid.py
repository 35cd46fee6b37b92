"""The grid of cells that every table prints, be it on a terminal, in markdown or on a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ofmu.report.labels import GROUPS, Label, arrow, label
from ofmu.report.model import RETRAIN, ScoreRow
from ofmu.report.summary import Summary, leaders, methods_of, metrics_of, summarise

MISSING = "missing"  # tried and failed: the reason stands in the notes
ABSENT = "–"  # never tried, such as Retrain's distance to itself


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


def grid(rows: Sequence[ScoreRow], task: str) -> Grid:
    """The table of one task: a line per method, a column per metric."""
    mine = [row for row in rows if row.task == task]
    table, methods, metrics = summarise(mine, task), methods_of(mine), metrics_of(mine)
    better = {row.metric: row.higher_is_better for row in mine}
    cells: dict[tuple[str, str], Cell] = {}
    columns = []
    for metric in metrics:
        columns.append(_column(table, metric, better[metric], RETRAIN in methods))
        lead = leaders(table, methods, metric, better[metric])
        digits = decimals([s.mean for (_, m), s in table.items() if m == metric])
        for method in methods:
            cells[method, metric] = _cell(table.get((method, metric)), digits, method in lead)
    seeds = {method: len({row.seed for row in mine if row.method == method}) for method in methods}
    lines = tuple(Line(m, seeds[m], tuple(cells[m, metric] for metric in metrics)) for m in methods)
    notes = tuple(
        f"{method}, {label(metric).short}: {cell.note}" for (method, metric), cell in cells.items() if cell.note
    )
    return Grid(task, tuple(columns), lines, notes)


def _column(table: dict[tuple[str, str], Summary], metric: str, better: bool | None, retrain: bool) -> Column:
    counts = sorted({n for (_, name), cell in table.items() if name == metric for n in cell.n})
    n = "" if not counts else f"n={counts[0]}" if len(counts) == 1 else f"n={counts[0]}–{counts[-1]}"
    return Column(metric, label(metric), arrow(metric, better, retrain), n)


def _cell(summary: Summary | None, digits: int, best: bool) -> Cell:
    if summary is None:
        return Cell(ABSENT)
    note = "; ".join(summary.missing)
    if summary.mean is None:
        return Cell(MISSING, note=note)
    mean = number(summary.mean, digits)
    spread = "" if summary.sd is None or mean[0] in "<>" else f"{summary.sd:.{digits}f}"
    have, asked = len(summary.values), len(summary.values) + len(summary.missing)
    partial = f"({have} of {asked} seeds)" if summary.missing else ""
    return Cell(mean, spread, partial, note, best)


def decimals(values: Sequence[float | None]) -> int:
    """Digits after the point that suit a whole column: 0 from a thousand on, 2 above 1.5, else 3 (shares)."""
    largest = max((abs(v) for v in values if v is not None), default=0.0)
    return 0 if largest >= 1000 else 2 if largest > 1.5 else 3


def number(value: float, digits: int) -> str:
    """A fixed number of decimals; what would print as zero and is not says that it is smaller."""
    if value != 0 and abs(value) < 0.5 * 10**-digits:
        return f"<{10**-digits:.{digits}f}" if value > 0 else f">−{10**-digits:.{digits}f}"
    return f"{value:.{digits}f}".replace("-", "−")


def parts(whole: Grid, width: Callable[[int], int], room: int) -> list[list[tuple[str, list[int]]]]:
    """The columns as tables no wider than `room`, each a list of (heading, column numbers).

    width gives a column's width. A group of columns stays together where it fits; only a group that is wider
    than `room` by itself is cut.
    """
    tables: list[list[tuple[str, list[int]]]] = []
    used = room
    for group, heading in GROUPS.items():
        columns = [i for i, column in enumerate(whole.columns) if column.label.group == group]
        for piece in _pieces(columns, width, room):
            need = sum(map(width, piece))
            if used + need > room:
                tables.append([])
                used = 0
            tables[-1].append((heading, piece))
            used += need
    return tables


def _pieces(columns: list[int], width: Callable[[int], int], room: int) -> list[list[int]]:
    pieces: list[list[int]] = []
    for column in columns:
        if pieces and sum(map(width, pieces[-1])) + width(column) <= room:
            pieces[-1].append(column)
        else:
            pieces.append([column])
    return pieces
