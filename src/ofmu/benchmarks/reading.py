"""What a table says, in sentences made from its numbers: a benchmark that is run again is read anew."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ..report.model import FLOOR, ORIGINAL, REFERENCES, RETRAIN, Cost, ScoreRow, TaskSection

DISTANCES = ("gap", "gap (SVC)", "W1", "PS")  # to Retrain: lower is nearer
OVER = 0.01  # of the budget: more than that over it is said

Values = dict[str, dict[int, float]]  # method → seed → value


def reading(task: TaskSection, ours: str) -> list[str]:
    """Sentences on `ours`: what was forgotten and kept beside Retrain, and what it cost."""
    return [f"{task.name}: {sentence}" for sentence in (_kept(task, ours), _spent(task, ours)) if sentence]


def nothing_known(task: TaskSection) -> list[str]:
    """A warning where the original knows the forgotten images no better than Retrain: it learnt too little."""
    means = _means(_values(task.rows, "UA"))
    if ORIGINAL not in means or RETRAIN not in means or means[ORIGINAL] < means[RETRAIN]:
        return []
    return [
        f"{task.name}: the original errs on {means[ORIGINAL]:.1f} % of the forgotten images, Retrain on "
        f"{means[RETRAIN]:.1f} %: there is nothing to forget here, and the table says nothing of the methods. "
        "Train longer, or with another rate."
    ]


def nearest_of(task: TaskSection) -> str | None:
    """The method of the least mean gap (none that lacks a seed's); None where no method has one."""
    means = _means(_values(task.rows, "gap"))
    return min((method for method in means if method not in REFERENCES), key=means.__getitem__, default=None)


def nearest(task: TaskSection) -> list[str]:
    """One sentence per distance to Retrain: all methods from the nearest to the farthest, and the floor."""
    lines = []
    for metric in DISTANCES:
        means = _means(_values(task.rows, metric))
        floor = f" (floor {means[FLOOR]:.2f})" if FLOOR in means else ""
        order = sorted((value, method) for method, value in means.items() if method not in REFERENCES)
        if order:
            ranking = ", ".join(f"{method} {value:.2f}" for value, method in order)
            lines.append(f"{task.name}, {metric}, nearest to Retrain first: {ranking}{floor}.")
    return lines


def _kept(task: TaskSection, ours: str) -> str:
    """UA, RA and TA beside Retrain's, and whether too little was forgotten or too much."""
    means = {metric: _means(_values(task.rows, metric)) for metric in ("UA", "RA", "TA")}
    if any(name not in found for found in means.values() for name in (ours, RETRAIN)):
        return ""
    ua, gold = means["UA"][ours], means["UA"][RETRAIN]
    tolerance = abs(means["UA"].get(FLOOR, gold) - gold) + 1.0
    word = "as much as" if abs(ua - gold) <= tolerance else "less than" if ua < gold else "more than"
    pairs = ", ".join(f"{metric} {found[ours]:.1f} ({found[RETRAIN]:.1f})" for metric, found in means.items())
    return f"{ours} forgets {word} a retraining; its {pairs}, Retrain's in brackets."


def _spent(task: TaskSection, ours: str) -> str:
    """What part of a retraining it took, and who went over the budget."""
    costs = {cost.method: cost for cost in task.costs}
    mine = costs.get(ours)
    if mine is None or not mine.of_retraining or not mine.gradients:
        return ""
    share = f"{ours} took {100 * mine.of_retraining:.0f} % of a retraining"
    if mine.target_cost:
        before = mine.of_retraining * mine.target_cost / mine.gradients
        share += f" ({100 * before:.0f} % before its first step)"
    over = [cost.method for cost in costs.values() if _over(cost)]
    return share + (f"; over the budget by more than {100 * OVER:.0f} %: {', '.join(over)}." if over else ".")


def _over(cost: Cost) -> bool:
    spent, budget = cost.gradients, cost.budget
    return spent is not None and budget is not None and spent > (1 + OVER) * budget


def _values(rows: Sequence[ScoreRow], metric: str) -> Values:
    """A method's values by seed; a method that lacks a seed's value is left out."""
    found: dict[str, dict[int, float | None]] = {}
    for row in rows:
        if row.metric == metric:
            found.setdefault(row.method, {})[row.seed] = row.value
    return {
        method: {seed: value for seed, value in seeds.items() if value is not None}
        for method, seeds in found.items()
        if None not in seeds.values()
    }


def _means(values: Values) -> dict[str, float]:
    return {method: statistics.fmean(seeds.values()) for method, seeds in values.items()}
