"""What the benchmark runs on, and what a run gives: the same for images and for text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ...report.model import ScoreRow
from ..study import Cell, Spent

OVER = 0.1  # of the budget: a method that spends more than that over it has not kept it


@dataclass(frozen=True)
class Spot:
    """One run. budget and share: of one retraining on D_r, allowed and taken, targets and start included."""

    task: str
    method: str
    budget: float
    seed: int
    share: float
    ended: str = ""

    @property
    def label(self) -> str:
        """The method's name in rows: with its budget."""
        return label_of(self.method, self.budget)


def label_of(method: str, budget: float) -> str:
    """A method at a budget, as rows name it."""
    return f"{method}, {100 * budget:g} %"


def seeds_after(seed: int, seeds: int) -> list[str]:
    """The seeds that are still to come, in words; none: an empty list."""
    later = range(seed + 1, seeds)
    return [f"seed{'s' * (len(later) > 1)} {', '.join(map(str, later))}"] if later else []


@dataclass(frozen=True)
class Quality:
    """One way of saying how good a model is: a metric of the rows, with what is drawn beside the curves.

    words: what the axis says. levels: references that are drawn as lines. log: a distance, for a log axis.
    """

    metric: str
    words: str
    levels: tuple[str, ...]
    log: bool = False


@dataclass
class Found:
    """All that one task has given so far, seed by seed."""

    cells: dict[int, Cell] = field(default_factory=dict)
    spots: list[Spot] = field(default_factory=list)

    @property
    def rows(self) -> list[ScoreRow]:
        """The score rows of all seeds; those of runs under their labels."""
        return [row for seed in sorted(self.cells) for row in self.cells[seed].rows]

    def references(self, seed: int, rows: Sequence[ScoreRow], spent: Sequence[Spent]) -> None:
        """Take in a seed's references."""
        cell = self.cells.setdefault(seed, Cell(seed))
        cell.rows += rows
        cell.spent += spent

    def run(self, spot: Spot, rows: Sequence[ScoreRow], spent: Spent, note: str = "") -> None:
        """Take in a finished run; its rows and what it took carry the spot's label."""
        cell = self.cells[spot.seed]
        cell.rows += rows
        cell.spent.append(spent)
        cell.notes += [note] if note else []
        self.spots.append(spot)

    def values(self, label: str, metric: str) -> dict[int, float]:
        """Seed → value; seeds that lack it are left out."""
        return {
            row.seed: row.value
            for row in self.rows
            if row.method == label and row.metric == metric and row.value is not None
        }

    def share(self, method: str, budget: float) -> float | None:
        """The mean share of a retraining that a method took at a budget; None where it was not run."""
        found = [spot.share for spot in self.spots if spot.method == method and spot.budget == budget]
        return sum(found) / len(found) if found else None

    def keeps(self, method: str, budget: float) -> bool:
        """Whether a method was run at a budget and, on average, kept it."""
        share = self.share(method, budget)
        return share is not None and share <= (1 + OVER) * budget

    @property
    def methods(self) -> list[str]:
        """As they appear."""
        return list(dict.fromkeys(spot.method for spot in self.spots))

    @property
    def budgets(self) -> list[float]:
        """Rising."""
        return sorted({spot.budget for spot in self.spots})


class Ground(Protocol):
    """A task of the benchmark. pair: the two distances to Retrain (lower is nearer) that decide who is better.

    resets: titles of the methods that are partial re-initialisations; tuning: in words, by a method's title.
    """

    @property
    def name(self) -> str:
        """In tables."""
        ...

    @property
    def about(self) -> str:
        """The paragraph above the table."""
        ...

    @property
    def qualities(self) -> Sequence[Quality]:
        """What is drawn."""
        ...

    @property
    def pair(self) -> tuple[str, str]:
        """The metrics that decide who is better."""
        ...

    @property
    def resets(self) -> Sequence[str]:
        """Titles of partial re-initialisations."""
        ...

    @property
    def unit(self) -> int:
        """Samples in a gradient-equivalent."""
        ...

    def tuning(self, method: str, budget: float) -> str:
        """How a method's settings at a budget were found, in words."""
        ...

    def run(self, seed: int, budgets: Sequence[float], found: Found, done: Callable[[], None]) -> None:
        """One seed of all methods at all budgets, into `found`; `done` is called after every run."""
        ...
