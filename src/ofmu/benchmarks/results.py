"""A benchmark's table as files to be kept with the code: NAME.md to read, NAME.json to compute with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from ..report.model import Page
from ..report.scores import write_scores, write_text
from ..report.table import to_markdown


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
