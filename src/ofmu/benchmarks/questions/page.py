"""The results as a page to read and a file to compute with."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ...report.model import FLOOR, ORIGINAL, ScoreRow
from ...report.scores import write_scores, write_text
from .bench import HELD, SCORES, Found, Plan, best, task_at
from .differences import over_all, shown, whole, within
from .variants import BASE_TITLE, WORDS
from .words import answer, by_question, convergence

PLAIN = ("forget loss", "retain loss", "RA", "TA", "rounds", "cost")
HOW = (
    "Every variant differs in one thing from the base, `ofmu-safeguarded` without momentum (β = 0, no penalty, "
    "priority ½), and has as much to spend, targets and second derivatives included: dearer rounds are fewer. "
    "Similarities and penalties take second derivatives on 32 samples (`curvature_batch`). Distances to Retrain "
    "(gap, W1, PS) are in points, lower is nearer. Δ: variant minus base, paired by seed, mean and 95 % interval "
    "(Student), bold where it leaves out 0; nothing corrects for the number of comparisons, and of a hundred "
    "intervals some five leave out 0 by chance. Losses are means in nats; cost is in gradient-equivalents of "
    "256 samples."
)


def write(plan: Plan, found: Found, out: Path, command: str, made: Mapping[str, str]) -> None:
    """OUT/questions.md and OUT/questions.json (of another benchmark than digits: questions-NAME)."""
    name = "questions" if plan.benchmark == "digits" else f"questions-{plan.benchmark}"
    tried = {title: [asdict(one) for one in values] for title, values in found.tried.items()}
    extra = {"command": command, "environment": dict(made), "left": found.left, "tried": tried}
    write_scores(out / f"{name}.json", found.rows, extra)
    write_text(out / f"{name}.md", page(plan, found, command, made))


def page(plan: Plan, found: Found, command: str, made: Mapping[str, str]) -> str:
    """Markdown."""
    rows = found.rows
    seeds = len({row.seed for row in rows})
    settings = "; ".join(f"{key} {value}" for key, value in made.items())
    blocks = [
        "# Similarity, penalty, priority: the paper's open questions 2 and 4",
        answer(rows, plan),
        f"Not finished; still to come: {found.left}." if found.left else "",
        f"    {command}\n\n{plan.benchmark}, {seeds} seeds; {settings}.",
        HOW,
        _bullets("By forget set", by_question(rows, plan)),
        _bullets("Convergence", convergence(rows, plan)),
        *_tables(plan, rows),
        "## Values tried on the development set, and chosen",
        _values(plan, found),
        _bullets("Missing, and why", _missing(rows)),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _tables(plan: Plan, rows: Sequence[ScoreRow]) -> list[str]:
    blocks, largest = [], max(plan.budgets)
    for budget in sorted(plan.budgets):
        tasks = [task_at(text, budget) for text in plan.forget]
        blocks += [f"## All forget sets together, at {budget:g} of a retraining", _overall(plan, rows, tasks)]
        for text, task in zip(plan.forget, tasks, strict=True):
            blocks += [f"## {text}, at {budget:g} of a retraining", _scores(plan, rows, task)]
    blocks += [f"## Until the forget target held, within {largest:g} of a retraining", HELD_WORDS]
    return blocks + [f"{text}:\n\n{_held(plan, rows, task_at(text, largest))}" for text in plan.forget]


HELD_WORDS = (
    "The target holds once mean min(ℓ, τ) over all of D_f is at least 0.9 of mean τ, asked after each round. Δ is "
    "taken over the seeds in which it held for both."
)


def _overall(plan: Plan, rows: Sequence[ScoreRow], tasks: Sequence[str]) -> str:
    there = whole(rows, tasks)
    found = {metric: over_all(rows, there, metric) for metric in (*SCORES, "forget loss", "retain loss", "rounds")}
    table = [
        [WORDS[variant.question], variant.title, *(shown(by.get(variant.title)) for by in found.values())]
        for variant in plan.variants
    ]
    sets = ", ".join(task.split(" at ")[0] for task in there)
    note = (
        f"Over {len(there)} of {len(tasks)} sets ({sets}). Differences are averaged over a seed's sets first; the "
        "interval is over seeds."
    )
    return f"{note}\n\n{_table(['', 'variant', *(f'Δ {metric}' for metric in found)], table)}"


def _scores(plan: Plan, rows: Sequence[ScoreRow], task: str) -> str:
    here = [row for row in rows if row.task == task]
    apart = {metric: within(rows, task, metric) for metric in SCORES}
    head = ["", *(word for metric in SCORES for word in (metric, f"Δ {metric}")), *PLAIN]
    table = []
    references = (ORIGINAL, FLOOR) if plan.floor else (ORIGINAL,)
    for title in (*references, BASE_TITLE, *(variant.title for variant in plan.variants)):
        cells = [(mean(here, title, metric), shown(apart[metric].get(title))) for metric in SCORES]
        table.append([title, *(word for cell in cells for word in cell), *(mean(here, title, m) for m in PLAIN)])
    return _table(head, table)


def _held(plan: Plan, rows: Sequence[ScoreRow], task: str) -> str:
    here = [row for row in rows if row.task == task]
    apart = {metric: within(rows, task, metric) for metric in HELD}
    table = []
    for title in (BASE_TITLE, *(variant.title for variant in plan.variants)):
        ran = [row for row in here if row.method == title and row.metric == HELD[0]]
        times = f"{sum(row.value is not None for row in ran)} of {len(ran)}"
        cells = [(mean(here, title, metric), shown(apart[metric].get(title))) for metric in HELD]
        table.append([title, times, *(word for cell in cells for word in cell)])
    return _table(["", "seeds", *(word for metric in HELD for word in (metric, f"Δ {metric}"))], table)


def mean(rows: Sequence[ScoreRow], title: str, metric: str) -> str:
    """The mean over seeds, with how many have it where some have not; a dash where none has."""
    found = [row.value for row in rows if row.method == title and row.metric == metric]
    values = [value for value in found if value is not None]
    if not values:
        return "missing" if found else "–"
    text = f"{statistics.fmean(values):.{0 if metric in ('rounds', 'cost', *HELD) else 2}f}"
    return text if len(values) == len(found) else f"{text} ({len(values)} of {len(found)})"


def _values(plan: Plan, found: Found) -> str:
    if not found.tried:
        return "Nothing was tuned: every variant has its first value."
    table = []
    for variant in plan.variants:
        tried = found.tried[variant.title]
        choice = best(variant, tried)
        words = [f"{one.value:g}: {'failed' if one.score is None else f'{one.score:.2f}'}" for one in tried]
        shown_ = [f"**{word}**" if one.value == choice else word for word, one in zip(words, tried, strict=True)]
        table.append([variant.title, variant.symbol, ", ".join(shown_)])
    note = (
        f"Mean of gap and W1 over all budgets, on a development set of {plan.forget[0]}: another seed, with a "
        "Retrain of its own. Bold: chosen. The base, at its preset, has "
        + ", ".join(str(one.missing or f"{one.score:.2f}") for one in found.tried[BASE_TITLE])
        + "."
    )
    return f"{note}\n\n{_table(['', 'its number', 'score'], table)}"


def _missing(rows: Sequence[ScoreRow]) -> list[str]:
    return [
        f"{row.task}, {row.method}, seed {row.seed}, {row.metric}: {row.missing}"
        for row in rows
        if row.value is None and row.metric != HELD[1]
    ]


def _bullets(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {heading}", "", *(f"- {line}" for line in lines)]) if lines else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
