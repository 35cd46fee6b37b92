"""The TOFU tables in sentences, made of their numbers alone: what holds is said, and what goes against it."""

from __future__ import annotations

import statistics

from ..report.model import FLOOR, ORIGINAL, REFERENCES, RETRAIN, TaskSection
from .paired import differences
from .study import NAMES

OURS = NAMES["ofmu"]
MEMORISED = 0.9  # the least probability of kept answers at which a model counts as having learned them by heart


def reading(task: TaskSection) -> list[str]:
    """Where OFMU lands, how all methods rank, what the references learned, and what it cost."""
    prefix = f"{task.name}: "
    lines = [_winner(task), _landing(task), _ranking(task), _kept(task), _learned(task), _cost(task)]
    return [prefix + line for line in lines if line]


def _winner(task: TaskSection) -> str:
    """Who comes first by J, who is not told apart from it, and the whole order."""
    values = _by_seed(task, "objective")
    order = sorted(
        (statistics.fmean(found.values()), name) for name, found in values.items() if name not in REFERENCES
    )
    if not order:
        return ""
    first = order[0][1]
    ranking = ", ".join(f"{name} {mean:.2f}" for mean, name in order)
    floor = f"; two Retrains: {statistics.fmean(values[FLOOR].values()):.2f}" if FLOOR in values else ""
    has = f"least J (distance to Retrain and loss of kept answers, as shares) has {first}{_tie(task, first)}"
    return f"{has}: {ranking}{floor}."


def _tie(task: TaskSection, best: str) -> str:
    """Who is not told apart from the best."""
    others = [one for one in differences(task.rows, "objective", best) if one.other not in REFERENCES]
    if all(one.seeds < 2 for one in others):
        return " (one seed, which tells no two methods apart)" if others else ""
    near = ", ".join(one.other for one in others if not one.told_apart)
    within = "the 95 % interval of the difference, seed by seed, holds 0"
    return f", not told apart from {near} ({within})" if near else ", told apart from all others"


def _by_seed(task: TaskSection, metric: str) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for row in task.rows:
        if row.metric == metric and row.value is not None:
            found.setdefault(row.method, {})[row.seed] = row.value
    return found


def means(task: TaskSection, metric: str) -> dict[str, float]:
    """Each method's mean over the seeds that have a value."""
    return {method: statistics.fmean(found.values()) for method, found in _by_seed(task, metric).items()}


def _landing(task: TaskSection) -> str:
    nll, p = means(task, "forget_nll"), means(task, "ks_p")
    if OURS not in nll or OURS not in p:
        return ""
    return (
        f"{OURS} takes the loss on the forgotten answers from {nll[ORIGINAL]:.2f} to {nll[OURS]:.2f} (Retrain "
        f"{nll[RETRAIN]:.2f}), and KS p from {p[ORIGINAL]:.3f} to {p[OURS]:.2f}."
    )


def _ranking(task: TaskSection) -> str:
    """All methods by their distance to Retrain, question by question; and the distance of two Retrains."""
    error, p = means(task, "nll_error"), means(task, "ks_p")
    order = sorted((value, name) for name, value in error.items() if name not in REFERENCES)
    if not order:
        return ""
    ranking = ", ".join(f"{name} {value:.2f}{_p(p, name)}" for value, name in order)
    floor = f"; two Retrains differ by {error[FLOOR]:.2f} (KS p {p[FLOOR]:.2f})" if FLOOR in error else ""
    return f"mean distance to Retrain per question, in nats, nearest first: {ranking}{floor}."


def _p(p: dict[str, float], name: str) -> str:
    return f" (KS p {p[name]:.2f})" if name in p else ""


def _kept(task: TaskSection) -> str:
    kept, unseen = means(task, "retain_prob"), means(task, "unseen_prob")
    names = [name for name in kept if name != FLOOR]
    if not names:
        return ""
    return (
        "probability of kept answers (and of unseen people's): "
        + ", ".join(f"{name} {kept[name]:.3f} ({unseen[name]:.3f})" for name in names)
        + "."
    )


def _learned(task: TaskSection) -> str:
    kept = means(task, "retain_prob")
    weak = [name for name in (ORIGINAL, RETRAIN) if kept.get(name, 1.0) < MEMORISED]
    if not weak:
        return ""
    return (
        f"{' and '.join(weak)} learned the kept answers to less than {MEMORISED} only, so there is less to forget "
        "than after a full training, and a method that trains on them may pass Retrain's own."
    )


def _cost(task: TaskSection) -> str:
    costs = {cost.method: cost for cost in task.costs}
    ours = costs.get(OURS)
    if ours is None or ours.gradients is None or ours.budget is None or ours.of_retraining is None:
        return ""
    dear = "; at this size retraining is cheaper, and exact" if ours.of_retraining >= 1 else ""
    return (
        f"{OURS} spent {ours.gradients:.0f} gradients (budget {ours.budget:.0f}), "
        f"{100 * ours.of_retraining:.0f} % of a retraining{dear}."
    )
