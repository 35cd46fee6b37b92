"""Further figures of a task, as plain checked data: what a page draws beside its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ofmu.report.model import _number, _text

Pairs = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Histograms:
    """A distribution over [0, 1] for each method, beside that of `beside`; at least one value a method."""

    title: str
    caption: str
    axis: str
    values: Mapping[str, Sequence[float]]
    beside: str

    def __post_init__(self) -> None:
        _text("title", self.title)
        if self.beside not in self.values:
            raise ValueError(f"beside: found {self.beside!r}, expected one of {', '.join(self.values)}")
        for name, values in self.values.items():
            if not len(values):
                raise ValueError(f"values of {name}: found none, expected at least one")
            for value in values:
                _number(f"a value of {name}", value, minimum=0)


@dataclass(frozen=True)
class Matrix:
    """A number in [0, 100] for each row and column; None where there is none."""

    title: str
    caption: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]

    def __post_init__(self) -> None:
        _text("title", self.title)
        if len(self.values) != len(self.rows) or any(len(line) != len(self.columns) for line in self.values):
            raise ValueError(f"values: expected {len(self.rows)} rows of {len(self.columns)}")
        for line in self.values:
            for value in line:
                if value is not None:
                    _number("a value", value, minimum=0)


@dataclass(frozen=True)
class Clouds:
    """Points in a plane, a panel for each model; in it a cloud for each group, such as forgotten and kept."""

    title: str
    caption: str
    panels: Mapping[str, Mapping[str, Pairs]]

    def __post_init__(self) -> None:
        _text("title", self.title)
        if not self.panels:
            raise ValueError("panels: found none, expected at least one")


@dataclass(frozen=True)
class Lines:
    """Lines of (x, y) by name. level: a horizontal line that says where nothing differs, with its word.

    reach: half heights of error bars at the points of a line, by its name.
    """

    title: str
    caption: str
    axes: tuple[str, str]
    lines: Mapping[str, Pairs]
    level: tuple[float, str] | None = None
    reach: Mapping[str, Sequence[float]] | None = None

    def __post_init__(self) -> None:
        _text("title", self.title)
        for name, pairs in self.lines.items():
            for x, y in pairs:
                _number(f"x of {name}", x)
                _number(f"y of {name}", y)
        for name, errors in (self.reach or {}).items():
            if len(errors) != len(self.lines.get(name, ())):
                raise ValueError(f"reach of {name}: found {len(errors)}, expected {len(self.lines.get(name, ()))}")


@dataclass(frozen=True)
class Mark:
    """A point of a curve; low and high: the ends of y's interval, given together or not at all."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        _number("x", self.x)
        _number("y", self.y)
        if (self.low is None) is not (self.high is None):
            raise ValueError(f"low, high are {self.low!r}, {self.high!r}, expected both or neither")
        for value in (self.low, self.high):
            if value is not None:
                _number("an end of the interval", value)


@dataclass(frozen=True)
class Frontier:
    """Quality against cost: a curve by method over cost as a share of one retraining, on a logarithmic axis.

    axis: the quality, in words. levels: horizontal lines with their bands, such as the floor (their x says
    nothing). ticks: shares that the axis names. log: the quality on a logarithmic axis too, where all of it is
    above 0.
    """

    title: str
    caption: str
    axis: str
    curves: Mapping[str, Sequence[Mark]]
    levels: Mapping[str, Mark]
    ticks: Sequence[float]
    log: bool = False

    def __post_init__(self) -> None:
        _text("title", self.title)
        if not any(self.curves.values()):
            raise ValueError("curves: found no point, expected at least one")
        for name, marks in self.curves.items():
            for mark in marks:
                if mark.x <= 0:
                    raise ValueError(f"a cost of {name} is {mark.x}, expected a share above 0")


Drawn = Histograms | Matrix | Clouds | Lines | Frontier
