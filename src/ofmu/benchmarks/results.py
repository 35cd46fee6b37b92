"""A benchmark's table as files to be kept with the code: NAME.md to read, NAME.json to compute with."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from ..report.model import FLOOR, REFERENCES, Page, ScoreRow, TaskSection
from ..report.scores import write_scores, write_text
from ..report.table import to_markdown

DISTANCES = ("gap", "W1", "PS")  # to Retrain: lower is nearer


def write_results(out: Path, name: str, page: Page) -> None:
    """Write out/NAME.md and out/NAME.json; what was there is replaced."""
    costs = [cost for task in page.tasks for cost in task.costs]
    today = datetime.now(UTC).date().isoformat()
    extra = {
        "title": page.title,
        "command": page.command,
        "date": today,
        "environment": dict(page.environment),
        "costs": [asdict(cost) for cost in costs],
    }
    write_scores(out / f"{name}.json", page.rows, extra)
    made = "; ".join(f"{key} {value}" for key, value in page.environment.items())
    notes = [f"{task.name}: {note}" for task in page.tasks for note in task.notes]
    blocks = [
        f"# {page.title}",
        f"    {page.command}\n\n{today}; {made}.",
        *(f"**{task.name}.** {task.description}" for task in page.tasks),
        to_markdown(page.rows, costs).rstrip(),
        _bullets("In short", page.verdict),
        _bullets("Limits", page.limits),
        _bullets("Notes", notes),
    ]
    write_text(out / f"{name}.md", "\n\n".join(block for block in blocks if block) + "\n")


def _bullets(heading: str, lines: Iterable[str]) -> str:
    found = [f"- {line}" for line in lines]
    return "\n".join([f"## {heading}", "", *found]) if found else ""


def nearest(task: TaskSection) -> list[str]:
    """One sentence per distance to Retrain: all methods from the nearest to the farthest, and the floor."""
    lines = []
    for metric in DISTANCES:
        means = _means([row for row in task.rows if row.metric == metric])
        floor = means.get(FLOOR, math.nan)
        order = sorted((value, method) for method, value in means.items() if method not in REFERENCES)
        if order:
            ranking = ", ".join(f"{method} {value:.2f}" for value, method in order)
            lines.append(f"{task.name}, {metric}, nearest to Retrain first: {ranking} (floor {floor:.2f}).")
    return lines


def _means(rows: list[ScoreRow]) -> dict[str, float]:
    """Each method's mean over seeds; a method that lacks a seed's value has none."""
    values: dict[str, list[float | None]] = {}
    for row in rows:
        values.setdefault(row.method, []).append(row.value)
    return {
        method: statistics.fmean(v for v in found if v is not None)
        for method, found in values.items()
        if None not in found
    }
