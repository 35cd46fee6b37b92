"""The TOFU benchmark as one page, and as one markdown file: tables with costs, a few answers, limits, command."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence

import torch

from .. import __version__
from ..report.limits import limits_of
from ..report.model import Answers, Page, TaskSection
from ..report.table import to_markdown
from .study import Cell, section
from .tofu_reading import reading
from .tofu_setting import Setting

TUNING = "none: the preset for language models"


def task_of(setting: Setting, spec: str) -> str:
    """What tables call the job of unlearning through the parameters that `spec` names."""
    return f"{setting.name}, trained: {spec}"


def page_of(setting: Setting, cells: Mapping[str, Sequence[Cell]], command: str, missing: Sequence[str]) -> Page:
    """All that is finished. missing: the runs that are not, in words."""
    sections = [_section(setting, spec, found) for spec, found in cells.items()]
    incomplete = [f"NOT COMPLETE: the command also makes {', '.join(missing)}."] if missing else []
    return Page(
        title="SmolLM2-135M forgets two TOFU authors" if setting.name == "TOFU" else setting.name,
        request=_request(setting),
        verdict=[*incomplete, *(sentence for task in sections for sentence in reading(task))],
        tasks=sections,
        environment={
            "ofmu": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
        },
        command=command,
        limits=_limits(setting),
    )


def _section(setting: Setting, spec: str, cells: Sequence[Cell]) -> TaskSection:
    about = f"{setting.about} Training trained {setting.trained}; unlearning trains {spec}."
    return section(task_of(setting, spec), about, cells, batch=setting.batch, tuning=TUNING)


def _request(setting: Setting) -> dict[str, str]:
    recipe = setting.recipe
    return {
        "To be forgotten": f"{len(setting.forget)} questions",
        "To be kept": f"{len(setting.retain)} questions",
        "Unseen, reported": f"{len(setting.unseen)} questions about people nobody trained on",
        "Held-out, for targets": f"{len(setting.heldout)} questions about other people, never reported",
        "Training": f"{recipe.epochs:g} epochs, batch {recipe.batch}, AdamW {recipe.lr:g}, answers only",
        "Budget": f"{setting.budget:g} sample-gradients for every method = {setting.budget / setting.batch:g} "
        f"gradients of a batch of {setting.batch}, targets included",
    }


def _limits(setting: Setting) -> list[str]:
    general = [f"{len(asked)} of TOFU's {name.replace('_', ' ')}" for name, asked in setting.general.items()]
    return [
        f"The truth ratio takes {setting.wrong} wrong answers per question; ROUGE-L is the recall of "
        f"{setting.generated} answers of at most {setting.longest} tokens.",
        "Model utility is of the references and OFMU alone: the kept questions, "
        f"{' and '.join(general)}; its ROUGE-L takes {setting.generated} kept questions.",
        "A run ends at the step whose end is nearest to the budget: a step of OFMU is up to eight ascents and "
        "eight repairs, so that it may spend some gradients more or less (see the cost columns).",
        "Retrain (2nd) is the Retrain of another seed: the distance between two honest retrainings.",
        "Seconds are of the processor, one thread, looking at the path included; the machine was shared.",
    ]


def markdown(page: Page) -> str:
    """The whole page; everything in it comes from `page`."""
    costs = [cost for task in page.tasks for cost in task.costs]
    notes = [f"- {task.name}: {note}" for task in page.tasks for note in task.notes]
    parts = [
        f"# {page.title}",
        f"Made by `{page.command}`.",
        "## Reading\n\n" + "\n".join(f"- {sentence}" for sentence in page.verdict),
        "## Setting\n\n" + "\n".join(f"- {name}: {text}" for name, text in page.request.items()),
        "\n\n".join(task.description for task in page.tasks),
        to_markdown(page.rows, costs).strip(),
        *(_answers(task.answers) for task in page.tasks if task.answers is not None),
        *(["## Notes\n\n" + "\n".join(notes)] if notes else []),
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
