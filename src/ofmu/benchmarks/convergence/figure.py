"""The convergence figure: ten small panels, drawn from the results alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...report.style import LINE, MUTED, OFMU_COLOUR, OTHERS, figure, quiet, spread_out, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (OFMU_COLOUR, *OTHERS)
GUIDE: dict[str, Any] = {"color": MUTED, "linewidth": 1.0, "linestyle": (0, (1, 2))}


def draw(results: dict[str, Any], path: Path) -> Path:
    """Write the figure as a PNG."""
    with figure(17.0, 8.4, "convergence") as made:
        spread_out(made)
        panels = made.subplots(2, 5).flatten()
        for axes, panel in zip(panels, PANELS, strict=True):
            quiet(axes, "y")
            axes.set_xscale("log")
            axes.set_yscale("log")
            panel(axes, results)
            _plain_numbers(axes)
        return to_png(made, path, 90)


def _plain_numbers(axes: Axes) -> None:
    """Powers of ten only, written without maths markup (the report's style turns that off)."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10, numticks=8))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    for axis, low, high in ((axes.xaxis, *axes.get_xlim()), (axes.yaxis, *axes.get_ylim())):
        if high / low < 30:  # less than two powers of ten: name some in between
            axis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=8))


def _band(axes: Axes, x: Sequence[float], rows: Sequence[dict[str, Any]], colour: str, label: str) -> None:
    """A line with its 95 % interval over instances."""
    axes.plot(x, [r["mean"] for r in rows], color=colour, marker="o", markersize=2.5, linewidth=1.4, label=label)
    if all(r["low"] is not None and r["low"] > 0 for r in rows):
        axes.fill_between(
            x, [r["low"] for r in rows], [r["high"] for r in rows], color=colour, alpha=0.15, linewidth=0
        )


def _guide(axes: Axes, x: Sequence[float], y0: float, power: float, label: str) -> None:
    """Y ∝ x^power through (x₀, y₀)."""
    axes.plot(x, [y0 * (v / x[0]) ** power for v in x], **GUIDE, label=label)


def _named(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)  # inside it hides intervals


def _convex_fixed(axes: Axes, results: dict[str, Any]) -> None:
    rows = results["convex"]["over K"]
    other = results["convex"]["other reading"]
    for colour, (T, row) in zip(COLOURS, rows["T"].items(), strict=False):
        _band(axes, rows["k"], row["gap"]["curve"], colour, f"T = {T}")
        if T != "0":
            axes.axhline(row["gap"]["limit"]["mean"], color=colour, linewidth=0.8, linestyle="--")
    means = [r["mean"] for r in other["gap"]]
    axes.plot(other["k"], means, color=COLOURS[5], linewidth=1.4, label=f"other reading, T = {other['T']}")
    axes.plot(rows["k"], [r["mean"] for r in rows["bound"]], **GUIDE, label="bound ‖θ⁰−θ*‖² L/2K")
    _named(axes, "Convex: F − F*, T fixed\n(dashed: closed-form limit)", "outer iterations K", "F − F*")


def _convex_limits(axes: Axes, results: dict[str, Any]) -> None:
    rows = results["convex"]["over T"]
    names = {"gap": "F − F*", "stationarity": "‖∇Φ‖² after the inner loop", "bilevel": "‖θ′ − θ bi-level‖²"}
    for colour, (name, label) in zip(COLOURS, names.items(), strict=False):
        axes.plot(rows["T"], [r["mean"] for r in rows[name]], color=colour, linewidth=1.6, label=label)
    _guide(axes, rows["T"], rows["gap"][0]["mean"], -2, "K/T²")
    axes.set_ylim(1e-12, 1)
    _named(axes, "Convex: what is left as K → ∞", "inner steps T", "")


def _convex_inner(axes: Axes, results: dict[str, Any]) -> None:
    rows = results["convex"]["over K"]
    names = {"gap": "F − F*", "gradient": "‖∇F‖²", "stationarity": "‖∇Φ‖² after the inner loop"}
    ts = [T for T in rows["T"] if T != "0"]
    for colour, (name, label) in zip(COLOURS, names.items(), strict=False):
        _band(axes, [int(T) for T in ts], [rows["T"][T][name]["curve"][-1] for T in ts], colour, label)
    _guide(axes, [int(T) for T in ts], rows["T"][ts[0]]["gap"]["curve"][-1]["mean"], -2, "K/T²")
    _named(axes, f"Convex: over T at K = {rows['k'][-1]}", "inner steps T", "")


def _network_inner(axes: Axes, results: dict[str, Any]) -> None:
    rows = results["network"]["over K"]
    ts = [T for T in rows["T"] if T != "0"]
    means = [rows["T"][T]["mean"][-1] for T in ts]
    _band(axes, [int(T) for T in ts], means, OFMU_COLOUR, "(1/K) Σ ‖∇F‖²")
    _guide(axes, [int(T) for T in ts], means[0]["mean"], -1, "1/T")
    _named(axes, f"Network: over T at K = {rows['k'][-1]}", "inner steps T", "")


def _convex_both(axes: Axes, results: dict[str, Any]) -> None:
    rows = results["convex"]["T = K"]
    for colour, (name, label) in zip(
        COLOURS, {"gap": "F − F*", "bilevel": "‖θ′ − θ bi-level‖²"}.items(), strict=False
    ):
        _band(axes, rows["K"], rows[name]["curve"], colour, label)
    _guide(axes, rows["K"], rows["gap"]["curve"][0]["mean"], -1, "1/K")
    _named(axes, "Convex: T = K", "K", "")


def _rho(axes: Axes, results: dict[str, Any]) -> None:
    rows = results["convex"]["large rho"]
    _band(axes, rows["rho"], rows["iterations"], OFMU_COLOUR, f"measured: to half the distance, T = {rows['T']}")
    _band(axes, rows["rho"], rows["constant"], COLOURS[1], "slowest mode: iterations to 1/e")
    _guide(axes, rows["rho"], rows["constant"][0]["mean"], 1, "∝ ρ")
    _named(axes, "Convex: ρ → ∞ slows retention", "ρ", "outer iterations")


def _network_fixed(axes: Axes, results: dict[str, Any]) -> None:
    rows = results["network"]["over K"]
    for colour, (T, row) in zip(COLOURS, rows["T"].items(), strict=False):
        _band(axes, rows["k"], row["mean"], colour, f"T = {T}")
    together = results["network"]["T = K"]
    _band(axes, together["K"], together["mean"], COLOURS[5], "T = K")
    _guide(axes, rows["k"], rows["T"]["0"]["mean"][0]["mean"], -1, "1/K")
    _named(axes, "Network, bounded L_f: mean ‖∇F‖²", "outer iterations K", "(1/K) Σ ‖∇F‖²")


def _noise(axes: Axes, results: dict[str, Any]) -> None:
    colours = iter(COLOURS)
    for name, label in (("convex", "convex: F − F*"), ("network", "network: ‖∇F‖²")):
        noise = results[name]["noise"]
        for T, rows in noise["T"].items():
            told = [row["mean"] if row["low"] is None else row["low"] for row in rows["added"]]
            kept = [i for i, low in enumerate(told) if low > 0]  # told apart from nothing
            if kept:
                x = [noise["sigma2"][i] for i in kept]
                _band(axes, x, [rows["added"][i] for i in kept], next(colours), f"{label}, T = {T}")
                _guide(axes, x, rows["added"][kept[0]]["mean"], 1, "")
    _named(axes, "What gradient noise adds to the floor\n(dotted: ∝ σ²)", "σ²", "added")


def _no_maximiser(axes: Axes, results: dict[str, Any]) -> None:
    rows = results["network"]["no maximiser"]
    names = {"forget": "L_f", "phi": "‖∇L_f‖", "retain": "L_r", "gradient": "‖∇F‖²"}
    for colour, (name, label) in zip(COLOURS, names.items(), strict=False):
        axes.plot(rows["k"], rows[name], color=colour, linewidth=1.5, label=label)
    _named(axes, "Cross-entropy: Φ has no maximiser\n(printed algorithm, median)", "outer iterations K", "")


def _one_batch(axes: Axes, results: dict[str, Any]) -> None:
    rows = results["network"]["one batch"]
    _band(axes, rows["b"], rows["bias"], OFMU_COLOUR, "‖E[2 H_b g_b] − 2 H g‖ / ‖2 H g‖")
    _guide(axes, rows["b"], rows["bias"][0]["mean"], -1, "1/b")
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    _named(axes, "Bias of ∇‖∇Φ‖² on one batch", "forget samples in the batch", "")


PANELS: tuple[Callable[[Axes, dict[str, Any]], None], ...] = (
    _convex_fixed,
    _convex_inner,
    _convex_limits,
    _convex_both,
    _rho,
    _network_fixed,
    _network_inner,
    _noise,
    _no_maximiser,
    _one_batch,
)
