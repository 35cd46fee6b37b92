"""The figures of a page, each as an SVG element: spread of losses, dots with spread, the path of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ofmu.report.labels import arrow, label
from ofmu.report.model import ORIGINAL, RETRAIN, Losses, ScoreRow
from ofmu.report.style import (
    INK,
    MUTED,
    OFMU_COLOUR,
    ORIGINAL_COLOUR,
    RETRAIN_COLOUR,
    Style,
    figure,
    quiet,
    spread_out,
    to_svg,
)
from ofmu.report.summary import Summary, methods_of, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST = 1e-4  # losses below are drawn here: on a log axis they would squeeze all that matters
UNSEEN_COLOUR = "#0a8060"


def losses_plot(losses: Losses, name: str) -> str:
    """The distribution of per-sample losses before, after, by Retrain, and on unseen samples: SVG.

    A row per group: its density over log loss, its samples as dots, its median as a line. Losses below 1e-4
    are drawn at 1e-4.
    """
    groups = [
        ("Before", "forgotten samples, original model", losses.before, ORIGINAL_COLOUR),
        ("After", f"forgotten samples, {losses.method}", losses.after, OFMU_COLOUR),
        (RETRAIN, "forgotten samples, trained without", losses.retrain, RETRAIN_COLOUR),
        ("Never seen", "other samples nobody trained on", losses.unseen, UNSEEN_COLOUR),
    ]
    shown = [(a, b, _log(values), colour) for a, b, values, colour in groups if values is not None]
    low, high = min(v.min() for *_, v, _ in shown), max(v.max() for *_, v, _ in shown)
    low, high = low - 0.05 * (high - low) - 0.1, high + 0.05 * (high - low) + 0.1
    with figure(7.2, 0.62 * len(shown) + 0.75, name) as made:
        axes = made.add_subplot()
        quiet(axes)
        for row, (_, _, values, colour) in enumerate(shown):
            _cloud(axes, values, -row, colour, (low, high))
        names = [f"{a}\n{b}" for a, b, *_ in shown]
        axes.set_yticks([-row for row in range(len(shown))], names, color=INK)
        axes.set(xlim=(low, high), ylim=(-len(shown) + 0.6, 0.62), xlabel="loss of each sample (log scale)")
        _loss_ticks(axes, low, high)
        axes.set_title("← known by heart", loc="left", color=MUTED, fontsize=8.5)
        axes.set_title("never heard of →", loc="right", color=MUTED, fontsize=8.5)
        medians = "; ".join(f"{a} ({b}): median {10 ** float(np.median(v)):.3g}" for a, b, v, _ in shown)
        return to_svg(made, name, f"Losses of single samples: {losses.task}", medians)


def _log(values: Sequence[float]) -> np.ndarray:
    return np.log10(np.maximum(np.asarray(values, dtype=float), SMALLEST))


def _cloud(axes: Axes, values: np.ndarray, level: float, colour: str, limits: tuple[float, float]) -> None:
    """A half violin upwards (height .42 at most), dots below (order statistics where there are too many)."""
    at = np.linspace(*limits, 240)
    width = max(1.06 * float(values.std()) * len(values) ** -0.2, 0.03 * (limits[1] - limits[0]) / 2)
    density = np.exp(-0.5 * ((at[:, None] - values[None, :]) / width) ** 2).sum(1)
    axes.fill_between(at, level, level + 0.42 * density / density.max(), color=colour, alpha=0.35, linewidth=0)
    dots = np.quantile(values, np.linspace(0, 1, 200)) if len(values) > 200 else np.sort(values)
    depth = 0.09 + 0.16 * ((np.arange(len(dots)) * 0.618034) % 1)
    # One path of short round strokes: a mark for each dot would make the page ten times as large.
    strokes = np.stack([level - depth, level - depth - 0.004, np.full_like(dots, np.nan)], 1).ravel()
    axes.plot(np.repeat(dots, 3), strokes, color=colour, alpha=0.6, linewidth=2.2, solid_capstyle="round")
    axes.vlines(float(np.median(values)), level - 0.3, level + 0.46, color=colour, linewidth=1.8)


def _loss_ticks(axes: Axes, low: float, high: float) -> None:
    smallest = np.log10(SMALLEST)
    ticks = [t for t in range(int(np.ceil(low)), int(np.floor(high)) + 1) if t >= smallest]
    for marks in ((1, 3), (1, 1.5, 2, 3, 4, 5, 7), np.arange(1, 10, 0.1)):  # finer, until two of them are in view
        if len(ticks) < 2:
            fine = [power + np.log10(mark) for power in range(-4, 3) for mark in marks]
            ticks = [t for t in fine if low <= t <= high]
    axes.set_xticks(ticks, [("≤" if t == smallest else "") + f"{10.0**t:.4g}" for t in ticks])


def metric_dots(
    rows: Sequence[ScoreRow], metrics: Sequence[str], styles: Mapping[str, Style], name: str, title: str
) -> str:
    """A panel per metric, a line per method: the mean as a dot, ± sd as a bar, seeds as faint dots: SVG.

    Where Retrain's own value is best, it is drawn as a band (± sd) down the panel. `rows` are of one task.
    """
    methods = methods_of(rows)
    across = {1: 1, 2: 2, 4: 2}.get(len(metrics), 3)
    down = -(-len(metrics) // across)
    with figure(7.2, down * (0.2 * len(methods) + 0.68) + 0.05, name) as made:
        spread_out(made)
        panels = made.subplots(down, across, sharey=True, squeeze=False).ravel()
        for panel, metric in zip(panels, metrics):
            metric_panel(panel, rows, styles, metric)
        for panel in panels[len(metrics) :]:
            panel.set_visible(False)
        shorts = ", ".join(label(metric).short for metric in metrics)
        return to_svg(made, name, title, f"{shorts} of {', '.join(methods)}; the numbers are in the table.")


def metric_panel(axes: Axes, rows: Sequence[ScoreRow], styles: Mapping[str, Style], metric: str) -> None:
    """One metric of one task on given axes; a method without a value says "missing" in its line."""
    methods, table = methods_of(rows), summarise(rows, rows[0].task)
    better = next(row.higher_is_better for row in rows if row.metric == metric)
    quiet(axes)
    axes.set_title(f"{label(metric).short}  {arrow(metric, better, RETRAIN in methods)}", color=INK, fontsize=9)
    if better is None:
        _retrain_band(axes, table.get((RETRAIN, metric)))
    far = better is False and _far(table, metric)
    for level, method in enumerate(methods):
        cell = table.get((method, metric))
        if cell is None or cell.mean is None:
            _word(axes, 0.06, -level, "–" if cell is None else "missing")
        elif far and method == ORIGINAL:
            _word(axes, 0.98, -level, f"{cell.mean:.3g} →")
        else:
            _dot(axes, -level, cell, styles[method])
    axes.set_yticks([-level for level in range(len(methods))], methods, color=INK)
    axes.set_ylim(-len(methods) + 0.4, 0.6)
    axes.margins(x=0.08)
    if better is False:
        axes.set_xlim(left=-0.04 * axes.get_xlim()[1])  # a distance: its zero is what matters
    axes.locator_params(axis="x", nbins=4)


def _retrain_band(axes: Axes, gold: Summary | None) -> None:
    if gold is not None and gold.mean is not None:
        spread = gold.sd or 0.0
        axes.axvspan(gold.mean - spread, gold.mean + spread, color=RETRAIN_COLOUR, alpha=0.12, linewidth=0)
        axes.axvline(gold.mean, color=RETRAIN_COLOUR, linewidth=0.9, dashes=(3, 2))


def _dot(axes: Axes, level: float, cell: Summary, style: Style) -> None:
    mean, spread, (colour, marker) = cell.mean or 0.0, cell.sd or 0.0, style
    axes.hlines(level, mean - spread, mean + spread, color=colour, linewidth=1.6)
    axes.scatter(cell.values, [level] * len(cell.values), s=9, color=colour, alpha=0.35, linewidths=0)
    axes.scatter([mean], [level], s=30, color=colour, marker=marker, zorder=3, linewidths=0)


def _word(axes: Axes, x: float, y: float, text: str) -> None:
    """Text in a line of a panel, x in parts of its width; from the middle on it ends there."""
    side = "right" if x > 0.5 else "left"
    at = axes.get_yaxis_transform()
    axes.text(x, y, text, transform=at, va="center", ha=side, color=MUTED, fontsize=7.5)


def _far(table: Mapping[tuple[str, str], Summary], metric: str) -> bool:
    """Whether the original lies so far above all others that drawing it would squeeze them."""
    means = {method: cell.mean for (method, name), cell in table.items() if name == metric}
    others = [mean for method, mean in means.items() if method != ORIGINAL and mean is not None]
    original = means.get(ORIGINAL)
    return bool(others) and original is not None and max(others) > 0 and original > 2.5 * max(others)
