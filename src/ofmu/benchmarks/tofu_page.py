"""The TOFU benchmark as one page, and as one markdown file: tables, costs, tuning, intervals, answers, limits."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import torch

from .. import __version__
from ..report.limits import limits_of
from ..report.model import Page
from ..report.table import to_markdown
from .study import section, titled
from .tofu_reading import reading
from .tofu_seen import questions
from .tofu_setting import Setting
from .tofu_tables import Table, answer_list, interval_table, seed_table, tuning_table, tuning_words


def page_of(setting: Setting, table: Table, command: str, tuning: str, missing: Sequence[str]) -> Page:
    """All that is finished. missing: the runs that are not, in words."""
    cells = [table.cells[seed] for seed in sorted(table.cells)]
    words = {titled(name): tuning_words(found) for name, found in table.tuning.items()}
    about = f"{setting.about} Training trained {setting.halves.trained}; unlearning trains {setting.spec}."
    task = section(setting.task, about, cells, batch=setting.preset.batch, tuning=words) if cells else None
    incomplete = [f"NOT COMPLETE: the command also makes {', '.join(missing)}."] if missing else []
    return Page(
        title=f"{setting.name}: {len(setting.groups.forget)} questions forgotten",
        request=_request(setting, tuning),
        verdict=[*incomplete, *(reading(task) if task else [])],
        tasks=[task] if task else [],
        environment={
            "ofmu": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
        },
        command=command,
        limits=_limits(setting, tuning),
    )


def _request(setting: Setting, tuning: str) -> dict[str, str]:
    recipe, groups, batch = setting.recipe, setting.groups, setting.preset.batch
    return {
        "To be forgotten": f"{len(groups.forget)} questions",
        "To be kept": f"{len(groups.retain)} questions, {len(groups.asked)} of them measured",
        "Unseen, reported": f"{len(groups.unseen)} questions about people nobody trained on",
        "Held-out, for targets": f"{len(groups.heldout)} questions about other people, never reported",
        "Training": f"{recipe.epochs:g} epochs, batch {recipe.batch}, AdamW {recipe.lr:g}, answers only",
        "Budget": f"{setting.budget:g} sample-gradients for every method = {setting.budget / batch:g} "
        f"gradients of a batch of {batch}, targets included",
        "Tuning": tuning or "none: the presets",
    }


def _limits(setting: Setting, tuning: str) -> list[str]:
    preset, general = setting.preset, setting.general
    sets = [f"{len(asked)} of TOFU's {name.replace('_', ' ')}" for name, asked in general.items()]
    utility = (
        f"Model utility asks the kept questions, {' and '.join(sets)}, with all their wrong answers."
        if general
        else "Model utility is not measured: there are no questions about real authors and the world here."
    )
    knowledge = [
        f"General knowledge: {len(setting.knowledge)} short questions with choices, evenly spread over their "
        "subjects; a choice's score is the likelihood of its own words."
    ]
    if not setting.knowledge:
        knowledge = [f"General knowledge is not measured: {setting.unknown}."] if setting.unknown else []
    return [
        "The truth ratio takes all wrong answers of a question; ROUGE-L is the recall of "
        f"{len(questions(setting)['forget'])} answers of at most {preset.longest} tokens.",
        utility,
        *knowledge,
        "A run ends at the step whose end is nearest to the budget: a step of OFMU is up to eight ascents and "
        "eight repairs, so that it may spend some gradients more or less (see the cost columns).",
        "Retrain (2nd) is the Retrain of another seed: the distance between two honest retrainings.",
        "Seconds are of the processor, looking at the path included; the machine may have been shared.",
        *([] if tuning else ["No method was tuned: a preset may suit one model and not another."]),
    ]


def markdown(page: Page, setting: Setting, table: Table) -> str:
    """The whole page."""
    costs = [cost for task in page.tasks for cost in task.costs]
    notes = [f"- {note}" for task in page.tasks for note in task.notes]
    parts = [
        f"# {page.title}",
        f"Made by `{page.command}`.",
        _bullets("Reading", page.verdict),
        _bullets("Setting", [f"{name}: {text}" for name, text in page.request.items()]),
        "\n\n".join(task.description for task in page.tasks),
        to_markdown(page.rows, costs).strip(),
        interval_table(setting, table),
        seed_table(table),
        tuning_table(table, setting.preset.batch),
        answer_list(setting, table),
        *(["## Notes\n\n" + "\n".join(notes)] if notes else []),
        _bullets("Limits", limits_of(page)),
        _bullets("Environment", [f"{name}: {text}" for name, text in page.environment.items()]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _bullets(heading: str, lines: Sequence[str]) -> str:
    return f"## {heading}\n\n" + "\n".join(f"- {line}" for line in lines)
