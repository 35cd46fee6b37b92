"""The tables of the TOFU benchmark's file beside the scores: intervals, tuning, answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..metrics import mean_interval
from ..report.labels import label
from ..report.model import ORIGINAL, RETRAIN, ScoreRow
from .study import Cell, titled
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
BY_SEED = (
    "objective",
    "min_k_plus_plus_auc",
    "unseen_damage",
    "model_utility",
    "mmlu_accuracy",
    "general_damage",
    "perplexity",
    "repetition",
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


def interval_table(setting: Setting, table: Table) -> str:
    """`intervals` as a section; empty where nothing has one."""
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


def seed_table(table: Table) -> str:
    """What is no mean over questions, or not asked by question: each seed's value and interval."""
    rows = [row for seed in sorted(table.cells) for row in table.cells[seed].rows if row.metric in BY_SEED]
    metrics = [metric for metric in BY_SEED if any(row.metric == metric and row.low is not None for row in rows)]
    if not metrics:
        return ""
    lines = []
    for name in dict.fromkeys(row.method for row in rows):
        cells = ["; ".join(_with_interval(r) for r in rows if (r.method, r.metric) == (name, m)) for m in metrics]
        lines.append(f"| {name} | {' | '.join(cell or '–' for cell in cells)} |")
    heads = " | ".join(label(metric).short for metric in metrics)
    ruled = "|---|" + "---:|" * len(metrics)
    about = "Seed by seed, with 95 % bootstrap intervals over questions (of AUC and J: over each set's questions)."
    return f"{about}\n\n" + "\n".join([f"| method | {heads} |", ruled, *lines])


def _with_interval(row: ScoreRow) -> str:
    if row.value is None:
        return "missing"
    return f"{row.value:.3g}" + ("" if row.low is None else f" [{row.low:.3g}, {row.high:.3g}]")


def tuning_words(found: Chosen) -> str:
    """For a column: how many trials, how many of them failed, and what was chosen."""
    if found.trials == 0:
        return "none: the preset"
    failed = f", {found.failed} failed" if found.failed else ""
    values = ", ".join(f"{path.rpartition('.')[2]} {value:.2g}" for path, value in found.values.items())
    return f"{found.trials} trials{failed}: {values or 'nothing to choose from'}"


def tuning_table(table: Table, batch: int) -> str:
    """The rule, and a line a method: trials, failures, J of the preset and of what was chosen, values, cost."""
    made = {name: found for name, found in table.tuning.items() if found.trials}
    if not made:
        return ""
    lines = [
        f"| {titled(name)} | {found.trials} | {found.failed} | {_number(found.first)} | {_number(found.best)} | "
        f"{_values(found) or 'none worked'} | {KNOBS.get(name) or '–'} | {found.cost / batch:.0f} |"
        for name, found in made.items()
    ]
    heads = "| method | trials | failed | J, preset | J, chosen | chosen | knob | gradients |"
    return f"## Tuning\n\n{RULE}\n\n" + "\n".join([heads, "|---|---:|---:|---:|---:|---|---|---:|", *lines])


def _number(value: float | None) -> str:
    return "failed" if value is None else f"{value:.3f}"


def _values(found: Chosen) -> str:
    ends = {path: f" (the {end} end)" for path, end in found.ends.items()}
    return ", ".join(f"`{path}` {value:.3g}{ends.get(path, '')}" for path, value in found.values.items())


def answer_list(setting: Setting, table: Table) -> str:
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
