"""The answers in plain words, made from the rows."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ...report.model import ScoreRow
from ..paired import Difference
from .bench import HELD, SCORES, Plan, task_at
from .differences import Side, over_all, side, whole, within
from .variants import BASE_TITLE, WORDS, Question, Variant

ORDER: tuple[Side, ...] = ("nearer", "farther", "both ways", "not told apart", "one seed alone", "not run")


def sides(rows: Sequence[ScoreRow], tasks: Sequence[str], variants: Sequence[Variant]) -> dict[str, Side]:
    """By variant: whether gap, W1 and PS, over these sets, put it nearer to Retrain than the base or farther."""
    found = [apart(rows, tasks, metric) for metric in SCORES]
    return {variant.title: side([one.get(variant.title) for one in found]) for variant in variants}


def apart(rows: Sequence[ScoreRow], tasks: Sequence[str], metric: str) -> dict[str, Difference]:
    """Differences to the base on one set, or over those of several that are whole."""
    there = whole(rows, tasks)
    return within(rows, there[0], metric) if len(there) == 1 else over_all(rows, there, metric)


def answer(rows: Sequence[ScoreRow], plan: Plan) -> str:
    """The first paragraph: does anything pay, and by how much the others fall behind."""
    sets = {budget: [task_at(text, budget) for text in plan.forget] for budget in sorted(plan.budgets)}
    found = {budget: sides(rows, tasks, plan.variants) for budget, tasks in sets.items()}
    always = [v.title for v in plan.variants if all(by[v.title] == "nearer" for by in found.values())]
    names = ", ".join(f"*{title}*" for title in always)
    said = f"{len(always)} ({names}) {'is' if len(always) == 1 else 'are'}" if always else "none is"
    over = [text for text in plan.forget if task_at(text, max(sets)) in whole(rows, sets[max(sets)])]
    lines = [
        f"Of {len(plan.variants)} variants that differ from the safeguarded preset in one thing each, {said} "
        f"nearer to Retrain than the preset itself at every budget ({', '.join(over)})."
    ]
    for question, title in WORDS.items():
        variants = [variant for variant in plan.variants if variant.question == question]
        parts = [_counted(rows, sets[budget], variants, budget) for budget in sets if variants]
        lines += [f"{title}: {'; '.join(parts)}."] if parts else []
    return " ".join([*lines, *pace(rows, plan)])


def _counted(rows: Sequence[ScoreRow], tasks: Sequence[str], variants: Sequence[Variant], budget: float) -> str:
    found = list(sides(rows, tasks, variants).values())
    counts = [f"{found.count(which)} of {len(found)} {which}" for which in ORDER if which in found]
    moved = apart(rows, tasks, "W1")
    means = [moved[variant.title].mean for variant in variants if variant.title in moved]
    reach = f" (W1 {min(means):+.1f} to {max(means):+.1f} points)" if means else ""
    return f"{_at(budget).lower()} {', '.join(counts)}{reach}"


def pace(rows: Sequence[ScoreRow], plan: Plan) -> list[str]:
    """A sentence: rounds and gradients until the forget target held, as multiples of the base's, by question."""
    tasks, parts = [task_at(text, max(plan.budgets)) for text in plan.forget], []
    for question, title in WORDS.items():
        titles = [variant.title for variant in plan.variants if variant.question == question]
        found = [ratios(rows, tasks, titles, metric) for metric in HELD]
        if all(found):
            rounds, cost = (statistics.fmean(values) for values in found)
            runs = len(
                {(row.task, row.method, row.seed) for row in rows if row.task in tasks and row.method in titles}
            )
            parts.append(
                f"{title.lower()} {rounds:.2f} × and {cost:.2f} × ({len(found[0])} of {runs} runs reached it)"
            )
    return (
        [f"Rounds and gradients until the forget target held, beside the preset's: {'; '.join(parts)}."]
        if parts
        else []
    )


def ratios(rows: Sequence[ScoreRow], tasks: Sequence[str], titles: Sequence[str], metric: str) -> list[float]:
    """Each run's value over the base's of the same set and seed, where both have one and the base's is not 0."""
    held = {
        (row.method, row.task, row.seed): row.value for row in rows if row.metric == metric and row.task in tasks
    }
    found = []
    for (method, task, seed), value in held.items():
        base = held.get((BASE_TITLE, task, seed))
        if method in titles and value is not None and base:
            found.append(value / base)
    return found


def by_question(rows: Sequence[ScoreRow], plan: Plan) -> list[str]:
    """A line a question, budget and set: who is nearer, who farther."""
    lines = []
    for question, title in WORDS.items():
        variants = [variant for variant in plan.variants if variant.question == question]
        for budget in sorted(plan.budgets) if variants else []:
            parts = [f"{text}: {_listed(sides(rows, [task_at(text, budget)], variants))}" for text in plan.forget]
            lines.append(f"{title}, {_at(budget).lower()}. {' — '.join(parts)}.")
    return lines


def convergence(rows: Sequence[ScoreRow], plan: Plan) -> list[str]:
    """A line a question: rounds and cost until the forget target held, beside the base's."""
    tasks, lines = [task_at(text, max(plan.budgets)) for text in plan.forget], []
    for question, title in WORDS.items():
        words = _faster(rows, tasks, question, plan)
        lines += [f"{title}. {words}."] if words else []
    return lines


def _faster(rows: Sequence[ScoreRow], tasks: Sequence[str], question: Question, plan: Plan) -> str:
    titles = [variant.title for variant in plan.variants if variant.question == question]
    parts = []
    for metric, (less, more) in zip(HELD, (("fewer rounds", "more rounds"), ("less", "more")), strict=True):
        found = apart(rows, tasks, metric)
        told = {title: side([found.get(title)]) for title in titles if title in found}
        words = [f"{less}: {_names(told, 'nearer')}", f"{more}: {_names(told, 'farther')}"]
        parts += [f"{metric}, told apart from the base, {'; '.join(words)}"] if told else []
    return ". ".join(part[0].upper() + part[1:] for part in parts)


def _names(told: dict[str, Side], which: Side) -> str:
    return ", ".join(f"*{title}*" for title, found in told.items() if found == which) or "none"


def _listed(found: dict[str, Side]) -> str:
    return "; ".join(f"{which}: {_names(found, which)}" for which in ORDER if which in found.values())


def _at(budget: float) -> str:
    return f"At {budget:g} of a retraining"
