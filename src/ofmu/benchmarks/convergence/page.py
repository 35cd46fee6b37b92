"""The convergence results as a page to read beside the figure: tables, and the numbers that the claims rest on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...report.scores import write_text
from .figure import draw
from .rates import slope

Row = dict[str, Any]


def write(results: Row, out: Path, command: str, environment: str) -> None:
    """OUT/convergence.json, .md and .png."""
    content = {"command": command, "environment": environment, **results}
    write_text(out / "convergence.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_text(out / "convergence.md", page(results, command, environment))
    draw(results, out / "convergence.png")


def page(results: Row, command: str, environment: str) -> str:
    """Markdown; what it means is in docs/convergence.md."""
    convex, network = results["convex"], results["network"]
    blocks = [
        "# Convergence of OFMU, measured",
        f"    {command}\n\n{_later(results)}{environment}. Means with 95 % intervals over "
        f"{convex['settings']['seeds']} random problems (geometric where values span orders of magnitude). "
        "What the numbers mean: docs/convergence.md.",
        "![The ten panels](convergence.png)",
        "## Convex: concave quadratic Φ of rank 10 in 20 dimensions, strongly convex L_r, β = 0, ρ = 1",
        _convex(convex),
        _together(convex),
        _limits(convex),
        "## Convex: ρ → ∞",
        _rho(convex),
        "## Small tanh network, smooth bounded forget loss, β = 0, ρ = 0.1",
        _network(network),
        "## Over T at fixed K",
        _over_inner(convex, network),
        "## Gradient noise of variance σ², added to every gradient",
        _noise(convex, network),
        "## One batch in both factors of ∇‖∇Φ‖²",
        _batch(network),
        "## Outer steps per inner loop (T = 5)",
        _repairs(network),
        "## Cross-entropy: Φ has no maximiser (printed algorithm, β = 0.1, growing ρ, medians)",
        _no_maximiser(network),
    ]
    return "\n\n".join(blocks) + "\n"


def _later(results: Row) -> str:
    """The commands that measured parts of it anew."""
    commands: dict[str, str] = results.get("measured again", {})
    return "".join(f"{part}, measured again:\n\n    {how}\n\n" for part, how in commands.items())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _e(found: Row | None) -> str:
    """An estimate."""
    if found is None:
        return "–"
    if found["low"] is None:
        return f"{found['mean']:.3g}"
    return f"{found['mean']:.3g} [{found['low']:.3g}, {found['high']:.3g}]"


def _convex(convex: Row) -> str:
    rows, K = convex["over K"], convex["over K"]["k"][-1]
    other = convex["other reading"]
    table = [
        [
            T,
            _e(row["gap"]["curve"][-1]),
            _e(row["gap"]["limit"]),
            _e(row["slope"]),
            _e(row["gradient"]["curve"][-1]),
            _e(row["stationarity"]["curve"][-1]),
            _e(row["bilevel"]["curve"][-1]),
        ]
        for T, row in rows["T"].items()
    ]
    head = [
        "T",
        f"F − F* at K = {K}",
        "its limit (closed form)",
        "slope over K",
        "‖∇F‖²",
        "‖∇Φ‖² after the inner loop",
        "‖θ′ − θ bi-level‖²",
    ]
    note = (
        "η_out = 1/L_F. The other reading (the outer step from θ⁽ᵏ⁾, with the gradient at the inner loop's end; "
        f"T = {other['T']}), measured at that end: F − F* = {_e(other['gap'][-1])} at K = {K}. "
        f"The bound ‖θ⁰−θ*‖² L_F/2K there: {_e(rows['bound'][-1])}."
    )
    return _table(head, table) + "\n\n" + note


def _together(convex: Row) -> str:
    rows = convex["T = K"]
    table = [
        [str(K), *(_e(rows[name]["curve"][i]) for name in ("gap", "gradient", "bilevel"))]
        for i, K in enumerate(rows["K"])
    ]
    table.append(["slope", *(_e(rows[name]["slope"]) for name in ("gap", "gradient", "bilevel"))])
    return _table(["K = T", "F − F*", "‖∇F‖²", "‖θ′ − θ bi-level‖²"], table)


def _limits(convex: Row) -> str:
    rows = convex["over T"]
    chosen = [i for i, T in enumerate(rows["T"]) if T in (1, 4, 19, 80, 256)]
    table = [
        [str(rows["T"][i]), *(_e(rows[name][i]) for name in ("gap", "stationarity", "bilevel"))] for i in chosen
    ]
    head = ["T", "F − F*", "‖∇Φ‖² after the inner loop", "‖θ′ − θ bi-level‖²"]
    return "As K → ∞ (closed form):\n\n" + _table(head, table)


def _rho(convex: Row) -> str:
    rows, growing = convex["large rho"], convex["growing rho"]
    table = [[f"{rho:g}", _e(rows["iterations"][i]), _e(rows["constant"][i])] for i, rho in enumerate(rows["rho"])]
    table.append(["slope", _e(rows["slope"]), _e(rows["constant slope"])])
    growth = (
        f"ρ_k = {growing['start']:g}·{growing['growth']:g}ᵏ at a fixed step, 1/L_F of ρ = 1 "
        f"(T = {growing['T']}): unstable from k = {_e(growing['unstable from'])} (spectral radius > 1); "
        f"‖∇F‖² has risen tenfold at k = {_e(growing['risen tenfold at'])}."
    )
    run = f"outer iterations that halve ‖θ′ − θ bi-level‖² ({rows['iterations'][0]['n']} problems)"
    head = ["ρ", run, "slowest mode to 1/e (closed form)"]
    return f"{_table(head, table)}\n\n{growth}"


def _network(network: Row) -> str:
    rows, K = network["over K"], network["over K"]["k"][-1]
    table = [[T, _e(row["mean"][-1]), _e(row["last"]), _e(row["slope"])] for T, row in rows["T"].items()]
    both = network["T = K"]
    table.append([f"T = K = {both['K'][-1]}", _e(both["mean"][-1]), "–", _e(both["slope"])])
    return _table(["T", f"(1/K) Σ ‖∇F‖², K = {K}", "‖∇F‖² at the end", "slope over K"], table)


def _over_inner(convex: Row, network: Row) -> str:
    """The slopes of geometric means, which are the means of the slopes."""
    names = {
        "gap": "F − F*",
        "gradient": "‖∇F‖²",
        "stationarity": "‖∇Φ‖² after the inner loop",
        "bilevel": "‖θ′ − θ bi-level‖²",
    }
    finite, ends, nets = convex["over K"], convex["over T"], network["over K"]
    inner = [T for T in finite["T"] if T != "0"]
    runs = {n: [finite["T"][T][n]["curve"][-1] for T in inner] for n in names}
    table = [_sloped(f"convex, K = {finite['k'][-1]}", names[n], inner, row, "-2") for n, row in runs.items()]
    for low, high in ((1, 16), (16, 256)):
        kept = [i for i, T in enumerate(ends["T"]) if low <= T <= high]
        for n in ("gap", "stationarity", "bilevel"):
            ts, row = [ends["T"][i] for i in kept], [ends[n][i] for i in kept]
            if len(kept) > 1:
                table.append(_sloped("convex, K → ∞ (closed form)", names[n], ts, row, "-2"))
    inner = [T for T in nets["T"] if T != "0"]
    means = [nets["T"][T]["mean"][-1] for T in inner]
    if len(inner) > 1:
        table.append(_sloped(f"network, K = {nets['k'][-1]}", "(1/K) Σ ‖∇F‖²", inner, means, "-1"))
    return _table(["problem", "what", "T", "slope over T", "claimed of F, ∇F"], table)


def _sloped(problem: str, name: str, ts: Sequence[Any], row: Sequence[Row], claimed: str) -> list[str]:
    found = f"{slope([float(T) for T in ts], [r['mean'] for r in row]):.2f}" if len(ts) > 1 else "–"
    return [problem, name, f"{ts[0]} … {ts[-1]}", found, claimed if "F" in name else "–"]


def _noise(convex: Row, network: Row) -> str:
    table = []
    for name, noise in (("convex: F − F*", convex["noise"]), ("network: ‖∇F‖²", network["noise"])):
        for T, rows in noise["T"].items():
            values = ", ".join(f"{s:g}: {_e(rows['added'][i])}" for i, s in enumerate(noise["sigma2"]))
            table.append([name, T, values, _e(rows["slope"]), _e(rows["later"])])
    head = ["what", "T", "added to the floor, by σ²", "slope over σ²", "last quarter over the third, largest σ²"]
    return _table(head, table)


def _batch(network: Row) -> str:
    rows = network["one batch"]
    table = [[str(b), _e(rows["bias"][i])] for i, b in enumerate(rows["b"])]
    return _table(["forget samples b", "‖E[2 H_b g_b] − 2Hg‖ / ‖2Hg‖"], table) + f"\n\nSlope: {_e(rows['slope'])}."


def _repairs(network: Row) -> str:
    names = ("forget", "retain", "accuracy", "gradient")
    table = [[label, *(_e(row[name]) for name in names)] for label, row in network["repairs"]["rows"].items()]
    head = ["forget loss, outer steps", "forget cross-entropy", "L_r", "kept accuracy, %", "‖∇F‖²"]
    return f"After {network['repairs']['rounds']} outer iterations:\n\n" + _table(head, table)


def _no_maximiser(network: Row) -> str:
    rows = network["no maximiser"]
    names = ("forget", "phi", "retain", "accuracy", "gradient")
    table = [[str(k), *(f"{rows[name][i]:.3g}" for name in names)] for i, k in enumerate(rows["k"])]
    head = ["K", "L_f", "‖∇L_f‖", "L_r", "kept accuracy, %", "‖∇F‖²"]
    return _table(head, table) + f"\n\nRuns that diverged: {rows['diverged']}."
