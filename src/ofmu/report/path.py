"""The path of unlearning runs: forget and retain loss over cost, as an SVG element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ofmu.report.model import Trajectory
from ofmu.report.style import INK, LINE, Style, figure, quiet, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALLEST = 1e-4  # below this a logarithmic axis turns linear


def trajectory_plot(runs: Sequence[Trajectory], styles: Mapping[str, Style], name: str) -> str:
    """Forget loss against its target, and retain loss against the original's level, over cost: SVG.

    A line per run (method × seed) in its method's colour.
    """
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
        _legend(made, list(dict.fromkeys(run.method for run in runs)), styles)
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


def _legend(made: Figure, methods: Sequence[str], styles: Mapping[str, Style]) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=styles[method][0], linewidth=2) for method in methods]
    made.legend(lines, methods, loc="outside upper left", ncols=min(4, len(methods) or 1), borderaxespad=0.2)


def _ends(runs: Sequence[Trajectory]) -> str:
    """Where each run ended, in words: what a reader who cannot see the figure needs."""
    return "; ".join(
        f"{run.method} seed {run.seed} ends at cost {run.points[-1].cost:.3g} with forget loss "
        f"{run.points[-1].forget_loss:.3g} and retain loss {run.points[-1].retain_loss:.3g}"
        for run in runs
    )
