"""The TOFU benchmark as one page, and as one markdown file: tables, costs, tuning, intervals, answers, limits."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from .. import __version__
from ..metrics import mean_interval
from ..report.labels import label
from ..report.limits import limits_of
from ..report.model import ORIGINAL, RETRAIN, Page
from ..report.table import to_markdown
from .study import NAMES, Cell, section
from .tofu_reading import reading
from .tofu_rows import by_question
from .tofu_seen import Seen, questions
from .tofu_setting import Setting
from .tofu_space import ABOVE, AROUND, BELOW, KNOBS, Chosen

SHOWN = 4  # questions of which every method's answer is shown
ENOUGH = 10  # questions: an interval over fewer says nothing
WITH_INTERVAL = (
    "forget_prob",
    "retain_prob",
    "unseen_prob",
    "nll_error",
    "forget_truth_ratio",
    "extraction_strength",
    "exact_memorization",
    "rouge_l",
)
RULE = (
    "Every method: so many trials on people who are not reported, forgotten from an original of their own. The "
    "first trial is the preset; the others are drawn log-uniformly, the learning rate from a "
    f"{BELOW:g}th of the preset to {ABOVE:g} times it, the method's main other setting from a {AROUND:g}th to "
    f"{AROUND:g} times, half of them at random and the others where earlier ones were good. The setting of least "
    "J is frozen, and then run on the reported people. J = the distance to Retrain's losses, question by "
    "question, as a share of the original's, plus what is lost of the kept answers' probability, as a share of "
    "what Retrain has more of it than of the forgotten ones'. A trial that diverges has no value, and counts as "
    "made."
)


@dataclass
class Table:
    """All that is finished: a cell a seed, how each model is seen (by its name in tables and seed), how each
    method was tuned.
    """

    cells: dict[int, Cell] = field(default_factory=dict)
    seen: dict[tuple[str, int], Seen] = field(default_factory=dict)
    tuning: dict[str, Chosen] = field(default_factory=dict)


def page_of(setting: Setting, table: Table, command: str, trials: int, missing: Sequence[str]) -> Page:
    """All that is finished. missing: the runs that are not, in words."""
    cells = [table.cells[seed] for seed in sorted(table.cells)]
    words = {NAMES[name]: tuning_words(found) for name, found in table.tuning.items()}
    about = f"{setting.about} Training trained {setting.halves.trained}; unlearning trains {setting.spec}."
    task = section(setting.task, about, cells, batch=setting.preset.batch, tuning=words) if cells else None
    incomplete = [f"NOT COMPLETE: the command also makes {', '.join(missing)}."] if missing else []
    return Page(
        title=f"{setting.name}: {len(setting.groups.forget)} questions forgotten",
        request=_request(setting, trials),
        verdict=[*incomplete, *(reading(task) if task else [])],
        tasks=[task] if task else [],
        environment={
            "ofmu": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
        },
        command=command,
        limits=_limits(setting, trials),
    )


def tuning_words(found: Chosen) -> str:
    """For a column: how many trials, how many of them failed, and what was chosen."""
    if found.trials == 0:
        return "none: the preset"
    failed = f", {found.failed} failed" if found.failed else ""
    values = ", ".join(f"{path.rpartition('.')[2]} {value:.2g}" for path, value in found.values.items())
    return f"{found.trials} trials{failed}: {values or 'nothing to choose from'}"


def _request(setting: Setting, trials: int) -> dict[str, str]:
    recipe, groups, batch = setting.recipe, setting.groups, setting.preset.batch
    return {
        "To be forgotten": f"{len(groups.forget)} questions",
        "To be kept": f"{len(groups.retain)} questions, {len(groups.asked)} of them measured",
        "Unseen, reported": f"{len(groups.unseen)} questions about people nobody trained on",
        "Held-out, for targets": f"{len(groups.heldout)} questions about other people, never reported",
        "Training": f"{recipe.epochs:g} epochs, batch {recipe.batch}, AdamW {recipe.lr:g}, answers only",
        "Budget": f"{setting.budget:g} sample-gradients for every method = {setting.budget / batch:g} "
        f"gradients of a batch of {batch}, targets included",
        "Tuning": f"{trials} trials for every method, each with that budget" if trials else "none: the presets",
    }


def _limits(setting: Setting, trials: int) -> list[str]:
    preset, general = setting.preset, setting.general
    sets = [f"{len(asked)} of TOFU's {name.replace('_', ' ')}" for name, asked in general.items()]
    utility = (
        f"Model utility asks the kept questions, {' and '.join(sets)}, with 3 wrong answers each."
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
        f"The truth ratio takes {preset.wrong} wrong answers per question; ROUGE-L is the recall of "
        f"{len(questions(setting)['forget'])} answers of at most {preset.longest} tokens.",
        utility,
        *knowledge,
        "A run ends at the step whose end is nearest to the budget: a step of OFMU is up to eight ascents and "
        "eight repairs, so that it may spend some gradients more or less (see the cost columns).",
        "Retrain (2nd) is the Retrain of another seed: the distance between two honest retrainings.",
        "Seconds are of the processor, looking at the path included; the machine may have been shared.",
        *([] if trials else ["No method was tuned: a preset may suit one model and not another."]),
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
        _intervals(setting, table),
        _tuning(table, setting.preset.batch),
        _answers(setting, table),
        *(["## Notes\n\n" + "\n".join(notes)] if notes else []),
        _bullets("Limits", limits_of(page)),
        _bullets("Environment", [f"{name}: {text}" for name, text in page.environment.items()]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _bullets(heading: str, lines: Sequence[str]) -> str:
    return f"## {heading}\n\n" + "\n".join(f"- {line}" for line in lines)


def intervals(setting: Setting, table: Table) -> dict[str, dict[str, tuple[float, float]]]:
    """Model → metric → 95 % bootstrap interval over questions, of each question's mean over the seeds."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for name in dict.fromkeys(name for name, _ in table.seen):
        values = [
            by_question(seen, None if name == RETRAIN else table.seen[RETRAIN, seed], setting)
            for (other, seed), seen in table.seen.items()
            if other == name
        ]
        means = {
            metric: np.mean([each[metric] for each in values], axis=0)
            for metric in WITH_INTERVAL
            if all(metric in each for each in values)
        }
        found[name] = {metric: mean_interval(mean) for metric, mean in means.items() if len(mean) >= ENOUGH}
    return found


def _intervals(setting: Setting, table: Table) -> str:
    lines = []
    for name, found in intervals(setting, table).items():
        pairs = (found.get(metric) for metric in WITH_INTERVAL)
        cells = ["–" if pair is None else f"{pair[0]:.3f} – {pair[1]:.3f}" for pair in pairs]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if not lines:
        return ""
    heads = " | ".join(label(metric).short for metric in WITH_INTERVAL)
    ruled = "|---|" + "---:|" * len(WITH_INTERVAL)
    about = "95 % bootstrap over questions, of each question's mean over the seeds."
    return f"## Intervals\n\n{about}\n\n" + "\n".join([f"| method | {heads} |", ruled, *lines])


def _tuning(table: Table, batch: int) -> str:
    """The rule, and a line a method: trials, failures, J of the preset and of what was chosen, values, cost."""
    made = {name: found for name, found in table.tuning.items() if found.trials}
    if not made:
        return ""
    lines = [
        f"| {NAMES[name]} | {found.trials} | {found.failed} | {_number(found.first)} | {_number(found.best)} | "
        f"{_values(found.values) or 'none worked'} | {KNOBS.get(name) or '–'} | {found.cost / batch:.0f} |"
        for name, found in made.items()
    ]
    heads = "| method | trials | failed | J, preset | J, chosen | chosen | knob | gradients |"
    return f"## Tuning\n\n{RULE}\n\n" + "\n".join([heads, "|---|---:|---:|---:|---:|---|---|---:|", *lines])


def _number(value: float | None) -> str:
    return "failed" if value is None else f"{value:.3f}"


def _values(values: Mapping[str, float]) -> str:
    return ", ".join(f"`{path}` {value:.3g}" for path, value in values.items())


def _answers(setting: Setting, table: Table) -> str:
    """What every model says to a few forgotten questions; fictitious people's answers may be shown."""
    first = min((seed for _, seed in table.seen), default=None)
    asked = questions(setting)["forget"]
    said = {name: seen.said["forget"] for (name, seed), seen in table.seen.items() if seed == first}
    if not said:
        return ""
    order = [name for name in (ORIGINAL, RETRAIN) if name in said]
    order += [name for name in said if name not in order]
    parts = [f"## Answers to forgotten questions (seed {first})"]
    for i in range(0, len(asked), max(1, len(asked) // SHOWN))[:SHOWN]:
        lines = [f"**{_line(asked[i].prompt)}**", "", f"- truth: {_line(asked[i].completion)}"]
        lines += [f"- {name}: {_line(said[name][i]) or '(nothing)'}" for name in order]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _line(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
