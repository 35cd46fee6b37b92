"""From rows to curves: means over seeds with their 95 % intervals, at what was really spent."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ...report.figures import Frontier, Mark
from ...report.labels import label as name_of
from ..paired import interval
from .ground import Found, Quality, label_of

CAPTION = (
    "Mean over seeds with its 95 % interval, at the cost that was really spent: targets, start and references "
    "counted. Dashed: references, with their intervals."
)


def frontier(found: Found, task: str, quality: Quality) -> Frontier | None:
    """The curves of one quality; None where no run has it."""
    curves = {method: _curve(found, method, quality.metric) for method in found.methods}
    curves = {method: marks for method, marks in curves.items() if marks}
    if not curves:
        return None
    levels = {
        name: _mark(list(values.values()), 0.0)
        for name in quality.levels
        if (values := found.values(name, quality.metric))
    }
    title = f"{task}, {name_of(quality.metric).short}"
    return Frontier(title, CAPTION, quality.words, curves, levels, found.budgets, quality.log)


def frontiers(found: Found, task: str, qualities: Sequence[Quality]) -> list[Frontier]:
    """One figure a quality."""
    return [made for quality in qualities if (made := frontier(found, task, quality)) is not None]


def _curve(found: Found, method: str, metric: str) -> list[Mark]:
    marks = []
    for budget in found.budgets:
        values = found.values(label_of(method, budget), metric)
        shares = [
            spot.share
            for spot in found.spots
            if spot.method == method and spot.budget == budget and spot.seed in values
        ]
        if values and shares:
            marks.append(_mark(list(values.values()), statistics.fmean(shares)))
    return marks


def _mark(values: Sequence[float], x: float) -> Mark:
    mean, low, high = interval(values)
    return Mark(x, mean, low, high)
