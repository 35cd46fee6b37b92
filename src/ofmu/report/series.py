"""A series of forgetting requests as one picture: its lines side by side, with one legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ofmu.report.figures import Lines
from ofmu.report.style import INK, MUTED, Stroke, Style, colours, figure, legend, quiet, spread_out, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS = " Bars: "  # where a caption begins to explain them: said once, under all panels
STROKES: tuple[Stroke, ...] = ("-", "--", ":", "-.")
APART = 0.4  # of the distance of two points: over that the methods' bars are spread beside each other


def series_png(panels: Sequence[Lines], path: Path) -> Path:
    """The figures of one series beside each other, as a PNG on white; a method looks alike in all.

    Raises ValueError for no panel, UserError where matplotlib is not installed.
    """
    if not panels:
        raise ValueError("panels: found none, expected at least one")
    methods = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    styles = colours(methods)
    # there are more methods than colours: the second of a colour is dashed, the third dotted
    seen = {name: [styles[m] for m in methods[:place]].count(styles[name]) for place, name in enumerate(methods)}
    strokes = {name: STROKES[n % len(STROKES)] for name, n in seen.items()}
    with figure(5.2 * len(panels), 3.9, "series") as made:
        spread_out(made)
        for axes, panel in zip(made.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _panel(axes, panel, styles, strokes)
        legend(made, methods, styles, 5, strokes)
        level = next((f"black dashes: {panel.level[1]}" for panel in panels if panel.level is not None), "")
        bars = next((panel.caption.partition(BARS)[2] for panel in panels if panel.reach), "").rstrip(".")
        words = " · ".join(filter(None, [level, bars and f"bar: {bars}"]))
        made.supxlabel(words, fontsize=7.5, color=MUTED, x=0.99, ha="right")
        return to_png(made, path)


def _panel(axes: Axes, panel: Lines, styles: Mapping[str, Style], strokes: Mapping[str, Stroke]) -> None:
    quiet(axes, grid="y")
    if panel.level is not None:
        axes.axhline(panel.level[0], color=INK, linewidth=0.9, dashes=(4, 3))
    at = sorted({x for pairs in panel.lines.values() for x, _ in pairs})
    step = APART * min(np.diff(at), default=0.0) / len(panel.lines)
    for place, (name, pairs) in enumerate(panel.lines.items()):
        xy = np.asarray(pairs, dtype=float).reshape(-1, 2)
        xy[:, 0] += step * (place - (len(panel.lines) - 1) / 2)
        colour, marker = styles[name]
        axes.plot(xy[:, 0], xy[:, 1], strokes[name], color=colour, marker=marker, markersize=3.8, linewidth=1.2)
        for (x, y), error in zip(xy, (panel.reach or {}).get(name, ()), strict=False):
            axes.vlines(x, y - error, y + error, color=colour, linewidth=1, alpha=0.5)
    axes.set_title(f"{panel.title}\n{panel.caption.partition(BARS)[0]}", color=INK, fontsize=8.5)
    axes.set(xlabel=panel.axes[0], ylabel=panel.axes[1], xticks=at)
