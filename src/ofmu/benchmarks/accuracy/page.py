"""The errors as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...report.scores import write_text

NAMES = {"product": "H v", "phi": "∇Φ", "outer": "2∇²Φ·∇Φ"}


def write(rows: Sequence[Mapping[str, Any]], out: Path, command: str, environment: str) -> None:
    """OUT/accuracy.json and OUT/accuracy.md."""
    content = {"command": command, "environment": environment, "rows": list(rows)}
    write_text(out / "accuracy.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_text(out / "accuracy.md", page(rows, command, environment))


def page(rows: Sequence[Mapping[str, Any]], command: str, environment: str) -> str:
    """Markdown; what it means is in docs/derivatives.md."""
    blocks = [
        "# How exact OFMU's derivatives are",
        f"    {command}",
        f"{environment}. ‖found − expected‖ / ‖expected‖ of a Hessian-vector product in a random direction, of ∇Φ "
        "(β = 0.7) and of the outer product. Expected: the formulas with dense H_f, H_r and ∇²Φ in float64. The "
        "larger of two calls, the first of which finds the steps of differences. In brackets the mark; forward "
        "differences alone are not promised 1e-3 (auto takes them where a trial shows that they keep it). A "
        "Llama's norms and rotary embedding are computed in float32 whatever its parameters are, so in float64 "
        'text is "words", a smaller model that has no float32 inside. What the numbers mean: docs/derivatives.md.',
    ]
    for precision in dict.fromkeys(row["precision"] for row in rows):
        blocks += [f"## {precision}", _table([row for row in rows if row["precision"] == precision])]
    blocks.append(f"{sum(map(within, rows))} of {len(rows)} rows keep their marks.")
    return "\n\n".join(blocks) + "\n"


def within(row: Mapping[str, Any]) -> bool:
    """Whether every mark of the row is kept."""
    return all(most is None or row["errors"][key] <= most for key, most in row["marks"].items())


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ["network", "trained", "derivatives", *NAMES.values(), "kept"]
    table = [
        [
            row["network"],
            f"{row['trained']:,}",
            row["derivatives"],
            *(_cell(row["errors"][key], row["marks"][key]) for key in NAMES),
            "yes" if within(row) else "no",
        ]
        for row in rows
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *table))


def _cell(found: float, most: float | None) -> str:
    return f"{found:.0e} (≤ {most:g})" if most is not None else f"{found:.0e} (no mark)"
