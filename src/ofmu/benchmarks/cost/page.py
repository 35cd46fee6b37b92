"""The cost results as a page: operations beside their minimum, memory beside a plain gradient's, marks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...report.scores import write_text

Row = dict[str, Any]
PRINTED = "printed iteration"
# what one printed iteration may cost: (backend, of what, the least, the most times that)
TIME_MARKS = (
    ("differences, forward", "", 32, 1.1),
    ("differences, auto", "", 32, 1.1),
    ("mixed", "", 42, 1.2),
    ("exact", ", of its own minimum", 48, 1.2),
    ("exact", ", of mixed's minimum", 42, 1.2),
)
# ∇Φ, times a plain gradient
MEMORY_MARKS = {
    "differences, forward": 1.3,
    "differences, central": 1.3,
    "differences, auto": 1.3,
    "mixed, streamed": 5.0,
    "exact": 5.0,
}
ERROR_MARKS = {"∇Φ": 1e-3, "∇Φ and ∇‖∇Φ‖²": 3e-2}  # of differences with automatic steps


def write(rows: Sequence[Row], out: Path) -> None:
    """OUT/cost.json and OUT/cost.md; what is there already is kept unless it is measured again."""
    file = out / "cost.json"
    kept = json.loads(file.read_text(encoding="utf-8"))["workloads"] if file.exists() else []
    by: dict[str, Row] = {}
    for row in [*kept, *rows]:
        by[row["name"]] = {**by.get(row["name"], {}), **row}
    merged = [by[name] for name in sorted(by)]
    write_text(file, json.dumps({"workloads": merged}, indent=1, ensure_ascii=False) + "\n")
    write_text(out / "cost.md", page(merged))


def page(results: Sequence[Row]) -> str:
    """Markdown; what it means is in docs/performance.md."""
    blocks = [
        "# What OFMU costs",
        "G is one plain gradient (a hand-written forward and backward pass of the same batch). CPU time of one "
        "thread; each operation is timed between two plain gradients, in turn with all others; medians of ratios "
        "with 95 % bootstrap intervals. Memory is the most that is allocated at one time during the call, results "
        "included, over the same of a plain gradient; in brackets with the parameters added to both. The error is "
        "‖found − exact‖ / ‖exact‖ in float32. Differences need nothing but gradients, so the minimum of auto is "
        "the number of gradients that its choice takes. What the numbers mean: docs/performance.md.",
    ]
    for w in results:
        blocks += [_head(w), _operations(w), _engine(w)]
        blocks += [_recipe(w)] if w["recipe"] else []
        blocks += [_cheaper(w)] if w["cheaper"] else []
    blocks += ["## Marks", _marks(results)]
    return "\n\n".join(blocks) + "\n"


def write_compiled(rows: Sequence[Row], out: Path, command: str, environment: str) -> None:
    """OUT/compiled.json and OUT/compiled.md."""
    content = {"command": command, "environment": environment, "workloads": list(rows)}
    write_text(out / "compiled.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    table = [
        [
            r["name"],
            _ratio(r["eager"]),
            _ratio(r["compiled"]),
            f"{r['error']:.1e}",
            f"{r['seconds to compile']:.0f}",
        ]
        for r in rows
    ]
    head = ["model", "∇Φ, G", "traced and compiled, G", "relative difference", "CPU seconds to trace and compile"]
    text = f"# ∇Φ traced and compiled\n\n    {command}\n\n{environment}. The minimum uncompiled is 6 G.\n\n"
    write_text(out / "compiled.md", text + _table(head, table) + "\n")


def write_memory(rows: Sequence[Row], out: Path, command: str, environment: str) -> None:
    """OUT/memory.json and OUT/memory.md: ∇Φ beside one gradient as the batch grows."""
    content = {"command": command, "environment": environment, "rows": list(rows)}
    write_text(out / "memory.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    names = list(rows[0]["times"])
    table = [
        [
            r["name"],
            f"{r['tokens']:,}",
            f"{r['gradient bytes'] / r['vector bytes']:.1f}",
            *(f"{r['times'][name]:.2f}" for name in names),
        ]
        for r in rows
    ]
    head = ["model", "tokens a batch", "a gradient, in vectors", *names]
    text = (
        f"# Memory of ∇Φ as the batch grows\n\n    {command}\n\n{environment}. The most that is allocated at one "
        "time during ∇Φ over the same of a plain gradient of the same batch. A vector is a tensor for every "
        "trained parameter. Marks: at most 5 × for exact derivatives, 1.3 × for differences. What they mean: "
        "docs/performance.md.\n\n"
    )
    write_text(out / "memory.md", text + _table(head, table) + "\n")


def _ratio(r: Row | None) -> str:
    return "–" if r is None else f"{r['median']:.2f} [{r['low']:.2f}, {r['high']:.2f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _head(w: Row) -> str:
    return (
        f"## {w['name']}\n\n    {w['command']}\n\n{w['environment']}. {w['parameters']:,} parameters, "
        f"{w['trained']:,} trained, batch {w['batch']}; a plain gradient takes "
        f"{w['gradient bytes'] / 2**20:.1f} MiB beside {w['parameter bytes'] / 2**20:.1f} MiB of parameters."
    )


def _operations(w: Row) -> str:
    table = []
    for o in w["operations"]:
        whole = (o["bytes"] + w["parameter bytes"]) / (w["gradient bytes"] + w["parameter bytes"])
        least = o["forwards"] if o["least"] is None else o["least"]
        table.append(
            [
                o["backend"],
                o["operation"],
                _ratio(o["gradients"]),
                f"{least:g}",
                f"{o['gradients']['median'] / least:.2f}",
                f"{o['memory']:.2f} ({whole:.2f})",
                f"{o['error']:.0e}" if o["error"] else "–",
                f"{o['forwards']} / {o['backwards']}",
            ]
        )
    head = [
        "derivatives",
        "operation",
        "G",
        "minimum",
        "over it",
        "memory",
        "error",
        "model runs / autograd calls",
    ]
    return _table(head, table)


def _engine(w: Row) -> str:
    return _table(
        ["engine over the same by hand", "ratio"], [[name, _ratio(r)] for name, r in w["engine"].items()]
    )


def _recipe(w: Row) -> str:
    table = [
        [
            row["recipe"],
            row["backend"],
            f"{row['ascents']:g} / {row['outer steps']:g}",
            _ratio(row["gradients"]),
            f"{row['counted']:.1f}",
            "–" if row["memory"] is None else f"{row['memory']:.2f}",
        ]
        for row in w["recipe"]
    ]
    head = [
        "default recipe, one outer iteration",
        "derivatives",
        "ascents / outer steps",
        "G",
        "asked for, G",
        "memory",
    ]
    return f"    {w['recipe command']}\n\n{_table(head, table)}"


def _cheaper(w: Row) -> str:
    table = [[row["way"], _ratio(row["gradients"]), _agreement(row["agreement"])] for row in w["cheaper"]]
    return _table(["∇Φ another way", "G", "cosine to the exact direction"], table)


def _agreement(found: float | list[float]) -> str:
    values = found if isinstance(found, list) else [found]
    return ", ".join(f"{v:.4f}" for v in values)


def _marks(results: Sequence[Row]) -> str:
    table = []
    for w in results:
        by = {(o["backend"], o["operation"].split(",")[0]): o for o in w["operations"]}
        for backend, of, least, factor in TIME_MARKS:
            if (backend, PRINTED) not in by:
                continue
            r = by[backend, PRINTED]["gradients"]
            table.append(
                [
                    w["name"],
                    f"{PRINTED}, {backend}{of}",
                    f"≤ {least * factor:.1f} G",
                    _ratio(r),
                    _kept(r, least * factor),
                ]
            )
        for backend, most in MEMORY_MARKS.items():
            if (backend, "∇Φ") not in by:
                continue
            used = by[backend, "∇Φ"]["memory"]
            kept = "yes" if used <= most else "no"
            table.append([w["name"], f"memory of ∇Φ, {backend}", f"≤ {most:g} ×", f"{used:.2f}", kept])
        for operation, limit in ERROR_MARKS.items():
            if ("differences, auto", operation) not in by:
                continue
            found = by["differences, auto", operation]["error"]
            kept = "yes" if found <= limit else "no"
            table.append(
                [w["name"], f"error of {operation}, differences, auto", f"≤ {limit:g}", f"{found:.0e}", kept]
            )
        for name in (f"{PRINTED}, T = 1", "plain descent"):
            r = w["engine"][name]
            table.append([w["name"], f"engine over by hand, {name}", "≤ 1.05", _ratio(r), _kept(r, 1.05)])
    return _table(["model", "what", "mark", "measured", "kept"], table)


def _kept(r: Row, most: float) -> str:
    """Whether the interval lies below the mark, above it, or on both sides."""
    if r["high"] <= most:
        return "yes"
    return "no" if r["low"] > most else "not told apart"
