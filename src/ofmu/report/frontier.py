"""Quality against cost, drawn: an SVG element for a page, panels side by side as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ofmu.report.figures import Frontier, Mark
from ofmu.report.style import INK, MUTED, Style, colours, figure, legend, quiet, spread_out, to_png, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEAR = 0.06  # of the axis: words closer than that are moved apart
ROOM = 1.15  # how far the axis of costs goes beyond the outermost, as a factor


def frontier_svg(drawn: Frontier, styles: Mapping[str, Style], name: str) -> str:
    """One figure as an SVG element; styles: colours by method (others get one of their own)."""
    styles = {**colours([*drawn.curves, *drawn.levels]), **styles}
    with figure(7.2, 3.3, name) as made:
        axes = made.add_subplot()
        _panel(axes, drawn, styles)
        axes.set_title(drawn.axis, color=INK, fontsize=9)
        legend(made, list(drawn.curves), styles, 4)
        return to_svg(made, name, drawn.title, _words(drawn))


def frontier_png(panels: Sequence[Frontier], path: Path, across: int = 2) -> Path:
    """Several figures beside each other with one legend, as a PNG on white; a method looks alike in all."""
    methods = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    levels = list(dict.fromkeys(name for panel in panels for name in panel.levels))
    styles = colours([*methods, *levels])
    across = min(across, len(panels))
    down = -(-len(panels) // across)
    with figure(5.2 * across, 2.9 * down + 0.5, "frontier") as made:
        spread_out(made)
        grid = made.subplots(down, across, squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(grid, panels, strict=False):
            _panel(axes, panel, styles)
            axes.set_title(f"{panel.title}\n{panel.axis}", color=INK, fontsize=8.5)
        legend(made, methods, styles, 8)
        return to_png(made, path)


def _panel(axes: Axes, drawn: Frontier, styles: Mapping[str, Style]) -> None:
    quiet(axes, grid="y")
    axes.set_xscale("log")
    marks = [mark for curve in drawn.curves.values() for mark in curve]
    _costs(axes, marks, drawn.ticks)  # first: a single point would leave an axis without a width
    if drawn.log and min(mark.y for mark in [*marks, *drawn.levels.values()]) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
        axes.yaxis.set_minor_formatter(lambda y, _: f"{y:g}" if f"{y:e}"[0] in "25" else "")
    for name, mark in drawn.levels.items():
        axes.axhline(mark.y, color=styles[name][0], linewidth=0.9, dashes=(4, 3))
        if mark.low is not None and mark.high is not None:
            axes.axhspan(_above(axes, mark.low, mark.y), mark.high, color=styles[name][0], alpha=0.1, linewidth=0)
    for name, curve in drawn.curves.items():
        _curve(axes, sorted(curve, key=lambda mark: mark.x), styles[name])
    _names(axes, drawn.levels, styles)


def _curve(axes: Axes, curve: Sequence[Mark], style: Style) -> None:
    colour, marker = style
    axes.plot(
        [mark.x for mark in curve],
        [mark.y for mark in curve],
        color=colour,
        marker=marker,
        markersize=3.8,
        linewidth=1.3,
    )
    for mark in curve:
        if mark.low is not None and mark.high is not None:
            axes.vlines(mark.x, _above(axes, mark.low, mark.y), mark.high, color=colour, linewidth=1, alpha=0.5)


def _above(axes: Axes, low: float, middle: float) -> float:
    """The lower end of an interval; a logarithmic axis has no place for one at or below 0."""
    return max(low, middle / 10) if axes.get_yscale() == "log" else low


def _costs(axes: Axes, marks: Sequence[Mark], ticks: Sequence[float]) -> None:
    """The axis of costs, in percent of one retraining."""
    every = [*(mark.x for mark in marks), *ticks]
    axes.set_xlim(min(every) / ROOM, max(every) * ROOM)
    axes.set_xticks(list(ticks), [f"{100 * tick:g} %" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("cost, of one retraining")


def _names(axes: Axes, levels: Mapping[str, Mark], styles: Mapping[str, Style]) -> None:
    """The words of the levels at the right end, moved apart where two would overlap."""
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = {name: float(to_axes.transform((axes.get_xlim()[1], mark.y))[1]) for name, mark in levels.items()}
    last = -1.0
    for name, height in sorted(heights.items(), key=lambda pair: pair[1]):
        last = max(height, last + NEAR)
        axes.text(
            1.01, last, name, transform=axes.transAxes, va="center", color=styles[name][0] or MUTED, fontsize=8
        )


def _words(drawn: Frontier) -> str:
    levels = [f"{name} at {mark.y:.3g}" for name, mark in drawn.levels.items()]
    curves = [
        f"{name}: " + ", ".join(f"{mark.y:.3g} at {100 * mark.x:.2g} %" for mark in curve)
        for name, curve in drawn.curves.items()
        if curve
    ]
    return "; ".join([*curves, *levels])
