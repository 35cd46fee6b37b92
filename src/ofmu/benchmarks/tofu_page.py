"""A page as one markdown file: tables with costs, a few answers, limits and the command."""

from __future__ import annotations

from ..report.limits import limits_of
from ..report.model import Answers, Page
from ..report.table import to_markdown


def markdown(page: Page) -> str:
    """The whole page; everything in it comes from `page`."""
    costs = [cost for task in page.tasks for cost in task.costs]
    parts = [
        f"# {page.title}",
        f"Made by `{page.command}`.",
        "\n".join(f"- {name}: {text}" for name, text in page.request.items()),
        "\n".join(f"- {sentence}" for sentence in page.verdict),
        "\n\n".join(task.description for task in page.tasks),
        to_markdown(page.rows, costs).strip(),
        *(_answers(task.answers) for task in page.tasks if task.answers is not None),
        "## Notes\n\n" + "\n".join(f"- {task.name}: {note}" for task in page.tasks for note in task.notes),
        "## Limits\n\n" + "\n".join(f"- {sentence}" for sentence in limits_of(page)),
        "## Environment\n\n" + "\n".join(f"- {name}: {text}" for name, text in page.environment.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _answers(answers: Answers) -> str:
    """Fictitious people's answers may be shown: TOFU is public, and about nobody."""
    parts = [f"## Answers before and after OFMU ({answers.task})"]
    for row in answers.rows:
        said = {"truth": row.truth, "before": row.before, "after": row.after, "retrained": row.retrain or "–"}
        lines = [f"**{_line(row.question or row.id)}**", ""]
        lines += [f"- {name}: {_line(text) or '(nothing)'}" for name, text in said.items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _line(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
