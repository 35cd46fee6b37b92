"""The further figures of a task as SVG: histograms, a matrix, clouds of points, lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ofmu.report.figures import Clouds, Drawn, Frontier, Histograms, Lines, Matrix
from ofmu.report.frontier import frontier_svg
from ofmu.report.style import (
    INK,
    MUTED,
    OFMU_COLOUR,
    OTHERS,
    RETRAIN_COLOUR,
    Style,
    colours,
    figure,
    quiet,
    spread_out,
    to_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 20
ACROSS = 4  # panels beside each other
SPELT = 20  # columns whose numbers are written into a matrix


def closer(drawn: Drawn, styles: Mapping[str, Style], name: str) -> str:
    """The figure as an SVG element; styles: colours by method (others get one of their own)."""
    if isinstance(drawn, Histograms):
        return _histograms(drawn, styles, name)
    if isinstance(drawn, Matrix):
        return _matrix(drawn, name)
    if isinstance(drawn, Clouds):
        return _clouds(drawn, name)
    if isinstance(drawn, Frontier):
        return frontier_svg(drawn, styles, name)
    return _lines(drawn, styles, name)


def _histograms(drawn: Histograms, styles: Mapping[str, Style], name: str) -> str:
    others = [method for method in drawn.values if method != drawn.beside]
    edges = np.linspace(0, 1, BINS + 1)
    shares = {m: np.histogram(np.clip(v, 0, 1), edges)[0] / len(v) for m, v in drawn.values.items()}
    styles = {**colours(others), **styles}
    down = -(-len(others) // ACROSS) or 1
    with figure(7.2, 1.25 * down + 0.4, name) as made:
        for axes, method in _panels(made, down, others):
            axes.stairs(shares[drawn.beside], edges, fill=True, color=RETRAIN_COLOUR, alpha=0.22)
            axes.stairs(shares[method], edges, color=styles[method][0], linewidth=1.3)
            axes.set(xlim=(0, 1), xticks=[0, 0.5, 1])
            axes.locator_params(axis="y", nbins=3)
        made.supxlabel(drawn.axis, color=MUTED, fontsize=8.5)
        means = "; ".join(f"{m}: mean {np.mean(v):.2f}" for m, v in drawn.values.items())
        return to_svg(made, name, drawn.title, means)


def _matrix(drawn: Matrix, name: str) -> str:
    from matplotlib.patches import Rectangle

    wide, high = len(drawn.columns), len(drawn.rows)
    with figure(7.2, 0.24 * high + 0.7, name) as made:
        axes = made.add_subplot()
        quiet(axes)
        axes.grid(visible=False)
        for y, line in enumerate(drawn.values):
            for x, value in enumerate(line):
                if value is None:
                    continue
                shade = min(max(value / 100, 0.0), 1.0)
                axes.add_patch(Rectangle((x, y), 0.96, 0.92, color=OFMU_COLOUR, alpha=0.75 * shade, linewidth=0))
                if wide <= SPELT:
                    axes.text(x + 0.48, y + 0.47, f"{value:.0f}", ha="center", va="center", fontsize=7, color=INK)
        step = 1 if wide <= SPELT else 10
        turn = 30 if wide <= SPELT and max(map(len, drawn.columns)) > 4 else 0
        axes.set_xticks([x + 0.48 for x in range(0, wide, step)], drawn.columns[::step], rotation=turn)
        axes.set_yticks([y + 0.46 for y in range(high)], drawn.rows, color=INK)
        axes.set(xlim=(0, wide), ylim=(high, 0))
        words = "; ".join(f"{row}: {_listed(line)}" for row, line in zip(drawn.rows, drawn.values, strict=True))
        return to_svg(made, name, drawn.title, words)


def _listed(values: Sequence[float | None]) -> str:
    return ", ".join("–" if value is None else f"{value:.0f}" for value in values)


def _clouds(drawn: Clouds, name: str) -> str:
    groups = list(dict.fromkeys(group for panel in drawn.panels.values() for group in panel))
    shades = dict(zip(groups, (RETRAIN_COLOUR, OTHERS[0], OFMU_COLOUR, *OTHERS[1:]), strict=False))
    down = -(-len(drawn.panels) // ACROSS)
    with figure(7.2, 1.75 * down + 0.4, name) as made:
        for axes, title in _panels(made, down, list(drawn.panels)):
            axes.grid(visible=False)
            for group, points in drawn.panels[title].items():
                xy = np.asarray(points, dtype=float).reshape(-1, 2)
                # one path of short round strokes: a mark for each dot would make the page ten times as large
                x = np.stack([xy[:, 0], xy[:, 0], np.full(len(xy), np.nan)], 1).ravel()
                y = np.stack([xy[:, 1], xy[:, 1] + 1e-3, np.full(len(xy), np.nan)], 1).ravel()
                axes.plot(x, y, color=shades[group], alpha=0.5, linewidth=2.0, solid_capstyle="round")
            axes.set(xticks=[], yticks=[])
        _legend(made, groups, shades)
        return to_svg(made, name, drawn.title, f"{', '.join(groups)} in {', '.join(drawn.panels)}")


def _lines(drawn: Lines, styles: Mapping[str, Style], name: str) -> str:
    styles = {**colours(list(drawn.lines)), **styles}
    with figure(7.2, 2.9, name) as made:
        axes = made.add_subplot()
        quiet(axes, grid="y")
        if drawn.level is not None:
            axes.axhline(drawn.level[0], color=INK, linewidth=0.9, dashes=(4, 3))
            place = axes.get_yaxis_transform()
            axes.text(1.01, drawn.level[0], drawn.level[1], transform=place, va="center", color=INK, fontsize=8)
        for method, pairs in drawn.lines.items():
            xy = np.asarray(pairs, dtype=float).reshape(-1, 2)
            colour, marker = styles[method]
            axes.plot(xy[:, 0], xy[:, 1], color=colour, marker=marker, markersize=3.5, linewidth=1.3)
            if drawn.reach and method in drawn.reach:
                low, high = xy[:, 1] - drawn.reach[method], xy[:, 1] + drawn.reach[method]
                axes.vlines(xy[:, 0], low, high, color=colour, linewidth=1.0, alpha=0.6)
        axes.set_xlabel(drawn.axes[0])
        axes.set_title(drawn.axes[1], color=INK, fontsize=9)
        _legend(made, list(drawn.lines), {method: styles[method][0] for method in drawn.lines})
        ends = "; ".join(f"{m} from {p[0][1]:.3g} to {p[-1][1]:.3g}" for m, p in drawn.lines.items() if len(p))
        return to_svg(made, name, drawn.title, ends)


def _panels(made: Figure, down: int, titles: Sequence[str]) -> list[tuple[Axes, str]]:
    spread_out(made)
    grid = made.subplots(down, min(ACROSS, len(titles) or 1), sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[len(titles) :]:
        axes.set_visible(False)
    for axes, title in zip(grid, titles, strict=False):
        quiet(axes)
        axes.set_title(title, color=INK, fontsize=8.5)
    return list(zip(grid, titles, strict=False))


def _legend(made: Figure, names: Sequence[str], shades: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=shades[name], linewidth=2) for name in names]
    made.legend(lines, names, loc="outside upper left", ncols=min(4, len(names) or 1), borderaxespad=0.2)
