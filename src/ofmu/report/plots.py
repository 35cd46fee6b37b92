"""The figures of a page, each as an SVG element: spread of losses, dots with spread, the path of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ofmu.report.labels import arrow, label
from ofmu.report.model import RETRAIN, Losses, ScoreRow, Trajectory
from ofmu.report.style import (
    INK,
    LINE,
    MUTED,
    OFMU_COLOUR,
    ORIGINAL_COLOUR,
    RETRAIN_COLOUR,
    colours,
    figure,
    quiet,
    to_svg,
)
from ofmu.report.summary import methods_of, summarise

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
        axes.set_yticks([-row for row in range(len(shown))], [f"{a}\n{b}" for a, b, *_ in shown])
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
    axes.fill_between(
        at, level, level + 0.42 * density / density.max(), color=colour, alpha=0.35, linewidth=0
    )
    dots = np.quantile(values, np.linspace(0, 1, 200)) if len(values) > 200 else np.sort(values)
    depth = 0.09 + 0.16 * ((np.arange(len(dots)) * 0.618034) % 1)
    axes.scatter(dots, level - depth, s=5, color=colour, alpha=0.55, linewidths=0)
    axes.vlines(float(np.median(values)), level - 0.3, level + 0.46, color=colour, linewidth=1.8)


def _loss_ticks(axes: Axes, low: float, high: float) -> None:
    smallest = np.log10(SMALLEST)
    ticks = [t for t in range(int(np.ceil(low)), int(np.floor(high)) + 1) if t >= smallest]
    if len(ticks) < 2:
        ticks = [t for t in np.log10([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]) if low <= t <= high]
    axes.set_xticks(ticks, [("≤" if t == smallest else "") + f"{10.0**t:.4g}" for t in ticks])


def metric_dots(rows: Sequence[ScoreRow], metrics: Sequence[str], name: str, title: str) -> str:
    """A panel per metric, a line per method: the mean as a dot, ± sd as a bar, seeds as faint dots: SVG.

    Where Retrain's own value is best, it is drawn as a band (± sd) down the panel. `rows` are of one task.
    """
    methods = methods_of(rows)
    across = min(3, len(metrics))
    down = -(-len(metrics) // across)
    with figure(7.2, down * (0.2 * len(methods) + 0.68) + 0.05, name) as made:
        panels = made.subplots(down, across, sharey=True, squeeze=False).ravel()
        for panel, metric in zip(panels, metrics):
            metric_panel(panel, rows, methods, metric)
        for panel in panels[len(metrics) :]:
            panel.set_visible(False)
        shorts = ", ".join(label(metric).short for metric in metrics)
        return to_svg(made, name, title, f"{shorts} of {', '.join(methods)}; the numbers are in the table.")


def metric_panel(axes: Axes, rows: Sequence[ScoreRow], methods: Sequence[str], metric: str) -> None:
    """One metric of one task on given axes; a method without a value says "missing" in its line."""
    table = summarise(rows, rows[0].task)
    styles = colours(methods)
    better = next(row.higher_is_better for row in rows if row.metric == metric)
    quiet(axes)
    axes.set_title(f"{label(metric).short}  {arrow(better)}", color=INK, fontsize=9)
    gold = table.get((RETRAIN, metric))
    if better is None and gold and gold.mean is not None:
        axes.axvspan(
            gold.mean - (gold.sd or 0),
            gold.mean + (gold.sd or 0),
            color=RETRAIN_COLOUR,
            alpha=0.12,
            linewidth=0,
        )
        axes.axvline(gold.mean, color=RETRAIN_COLOUR, linewidth=0.9, dashes=(3, 2))
    for level, method in enumerate(methods):
        cell = table.get((method, metric))
        colour, marker = styles[method]
        if cell is None or cell.mean is None:
            word = "–" if cell is None else "missing"
            axes.text(
                0.02,
                -level,
                word,
                transform=axes.get_yaxis_transform(),
                va="center",
                color=MUTED,
                fontsize=7.5,
            )
            continue
        axes.hlines(
            -level, cell.mean - (cell.sd or 0), cell.mean + (cell.sd or 0), color=colour, linewidth=1.6
        )
        axes.scatter(cell.values, [-level] * len(cell.values), s=9, color=colour, alpha=0.35, linewidths=0)
        axes.scatter([cell.mean], [-level], s=30, color=colour, marker=marker, zorder=3, linewidths=0)
    axes.set_yticks([-level for level in range(len(methods))], methods, color=INK)
    axes.set_ylim(-len(methods) + 0.4, 0.6)
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=4)


def trajectory_plot(runs: Sequence[Trajectory], methods: Sequence[str], name: str) -> str:
    """Forget loss against its target, and retain loss against the original's level, over cost: SVG.

    A line per run (method × seed) in the method's colour. `methods` are all of the page: colours agree.
    """
    styles = colours(methods)
    runs = [run for run in runs if run.points]
    with figure(7.2, 3.9, name) as made:
        upper, lower = made.subplots(2, 1, sharex=True)
        for axes, title, loss, level, word in (
            (upper, "Loss on the forgotten samples", "forget_loss", "target", "target"),
            (lower, "Loss on the samples to keep", "retain_loss", "retain_level", "original"),
        ):
            quiet(axes, grid="y")
            axes.set_title(title, color=INK, fontsize=9)
            for run in runs:
                costs, values = [p.cost for p in run.points], [getattr(p, loss) for p in run.points]
                axes.plot(costs, values, color=styles[run.method][0], linewidth=1.3, alpha=0.75)
            _level(axes, [getattr(p, level) for run in runs for p in run.points], word)
            _stretch(axes, [getattr(p, loss) for run in runs for p in run.points])
        lower.set_xlabel("cost in gradient-equivalents")
        _legend(upper, list(dict.fromkeys(run.method for run in runs)), styles)
        return to_svg(made, name, f"The path of each run: {runs[0].task if runs else ''}", _ends(runs))


def _level(axes: Axes, values: Sequence[float | None], word: str) -> None:
    """A dashed line at the mean of a level (a band over its range), named at the right margin."""
    known = [value for value in values if value is not None]
    if not known:
        return
    mean = sum(known) / len(known)
    axes.axhspan(min(known), max(known), color=LINE, alpha=0.6, linewidth=0)
    axes.axhline(mean, color=INK, linewidth=0.9, dashes=(4, 3))
    axes.text(1.01, mean, word, transform=axes.get_yaxis_transform(), va="center", color=INK, fontsize=8)


def _stretch(axes: Axes, values: Sequence[float]) -> None:
    """A symmetric log axis where the values span more than a factor of 100."""
    if values and max(values) > 100 * max(float(np.median(values)), SMALLEST):
        axes.set_yscale("symlog", linthresh=max(float(np.median(values)), SMALLEST))
    axes.set_ylim(bottom=min(0, *values) if values else None)
    if axes.get_yscale() == "linear":
        axes.locator_params(axis="y", nbins=4)


def _legend(axes: Axes, methods: Sequence[str], styles: dict[str, tuple[str, str]]) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=styles[method][0], linewidth=2) for method in methods]
    axes.legend(
        lines,
        methods,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=min(4, len(methods) or 1),
        borderaxespad=0,
    )


def _ends(runs: Sequence[Trajectory]) -> str:
    """Where each run ended, in words: what a reader who cannot see the figure needs."""
    return "; ".join(
        f"{run.method} seed {run.seed} ends at cost {run.points[-1].cost:.3g} with forget loss "
        f"{run.points[-1].forget_loss:.3g} and retain loss {run.points[-1].retain_loss:.3g}"
        for run in runs
    )
