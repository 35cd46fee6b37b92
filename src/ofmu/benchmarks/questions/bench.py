"""From a plan to rows: values are chosen on a development set, then every variant runs on every set and seed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ...data.forget_request import ForgetRequest, parse_forget
from ...engine.prepare import UNIT
from ...engine.store import Store
from ...errors import UserError
from ...methods import OFMU
from ...report.model import FLOOR, ORIGINAL, ScoreRow
from ..vision.bench import workshop
from ..vision.references import Workshop
from ..vision.setting import setting_of, smallest
from .ground import Ground, development_of, ground_of
from .run import Look, Outcome, kept, scored
from .variants import BASE, BASE_TITLE, VARIANTS, Variant

Say = Callable[[str], None]
SCORES = ("gap", "W1", "PS")
HELD = ("rounds to target", "cost to target")  # of the run to the largest budget
DIRECTIONS: dict[str, bool | None] = {  # metric -> whether higher is better (None: Retrain's own is best)
    **dict.fromkeys(("gap", "W1", "PS", "cost", *HELD), False),
    **dict.fromkeys(("UA", "RA", "TA", "MIA", "forget loss", "retain loss", "rounds"), None),
    "RA": True,
    "TA": True,
}


@dataclass(frozen=True)
class Plan:
    """What is run. budgets: shares of a retraining. values: how many of a variant's values are tried, 1 to 3.
    floor: whether a second Retrain is trained for every set and seed: how near two honest retrainings come.
    """

    benchmark: str = "digits"
    forget: tuple[str, ...] = ("random:0.1", "hardest:0.1", "entangled:1")
    seeds: int = 5
    budgets: tuple[float, ...] = (0.3, 0.6)
    values: int = 3
    variants: tuple[Variant, ...] = VARIANTS
    floor: bool = False
    smoke: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.values <= 3:
            raise UserError(f"--values: found {self.values}, expected 1 (the first of each, untuned) to 3")
        if self.seeds < 1:
            raise UserError(f"--seeds: found {self.seeds}, expected at least 1")
        if not self.budgets or min(self.budgets) <= 0:
            raise UserError(f"--budgets: found {self.budgets}, expected shares of a retraining above 0")


@dataclass(frozen=True)
class Tried:
    """One value on a development set: gap and W1 averaged over all budgets; None: missing, and why."""

    value: float
    score: float | None
    missing: str = ""


@dataclass
class Found:
    """All there is so far. tried: by variant; left: what is still to come, in words."""

    rows: list[ScoreRow] = field(default_factory=list)
    tried: dict[str, list[Tried]] = field(default_factory=dict)
    left: str = ""


def run_plan(plan: Plan, store: Store, say: Say, progress: Callable[[Found], None]) -> Found:
    """Everything; `progress` is told after every seed of a forget set. What is in the store is not run again."""
    setting = setting_of(plan.benchmark, "cpu", requests=plan.forget)
    setting = replace(smallest(setting) if plan.smoke else setting, share=max(plan.budgets))
    requests = [parse_forget(text) for text in plan.forget]
    shops = {str(request): workshop(setting, request, store, say) for request in requests}
    found = Found()
    found.tried = tuned(shops[str(requests[0])], requests[0], plan, say)
    cells = [(request, seed) for request in requests for seed in range(plan.seeds)]
    for done, (request, seed) in enumerate(cells, 1):
        ground = ground_of(shops[str(request)], request, seed)
        found.rows += reference_rows(ground, request, plan)
        for title, method in methods(plan, found.tried):
            outcome = kept(ground, title, method, plan.budgets)
            found.rows += rows_of(request, title, seed, outcome, plan, len(ground.parts.forget))
            say(f"{ground.request.task}, seed {seed}: {title}: {outcome.ended}")
        found.left = ", ".join(f"{later} seed {number}" for later, number in cells[done:])
        progress(found)
    return found


def tuned(shop: Workshop, request: ForgetRequest, plan: Plan, say: Say) -> dict[str, list[Tried]]:
    """By variant, all values that were tried on the development set, and the base; nothing for plan.values = 1.

    One development set serves all forget sets: the first request's.
    """
    if plan.values == 1:
        return {}
    ground = development_of(shop, request)
    found = {BASE_TITLE: [judged(0.0, kept(ground, BASE_TITLE, BASE, plan.budgets))]}
    for variant in plan.variants:
        found[variant.title] = [
            judged(value, kept(ground, f"{variant.title} {value:g}", variant.make(value), plan.budgets))
            for value in variant.values[: plan.values]
        ]
        words = ", ".join(f"{one.value:g}: {one.score or one.missing}" for one in found[variant.title])
        say(f"{ground.request.task}: {variant.title}: {words}")
    return found


def judged(value: float, outcome: Outcome) -> Tried:
    """The mean of gap and W1 over all budgets."""
    if outcome.failed:
        return Tried(value, None, outcome.ended)
    scores = [look.values.get(metric) for look in outcome.looks for metric in ("gap", "W1")]
    numbers = [score for score in scores if score is not None]
    if len(numbers) < len(scores):
        return Tried(value, None, "gap or W1 is missing")
    return Tried(value, statistics.fmean(numbers))


def best(variant: Variant, tried: Sequence[Tried]) -> float:
    """The value of least score; the first value where none was tried, or all failed."""
    scores = {one.value: one.score for one in tried if one.score is not None}
    return min(scores, key=lambda value: scores[value]) if scores else variant.values[0]


def methods(plan: Plan, tried: dict[str, list[Tried]]) -> list[tuple[str, OFMU]]:
    """The base, then every variant at its chosen value."""
    chosen = [
        (variant.title, variant.make(best(variant, tried.get(variant.title, [])))) for variant in plan.variants
    ]
    return [(BASE_TITLE, BASE), *chosen]


def task_at(request: ForgetRequest | str, budget: float) -> str:
    """A set's name in tables."""
    return f"{request} at {budget:g}"


def reference_rows(ground: Ground, request: ForgetRequest, plan: Plan) -> list[ScoreRow]:
    """The original and, where it is wanted, a second Retrain; at every budget the same."""
    models = [(ORIGINAL, ground.original, 0.0)]
    models += [(FLOOR, ground.floor(), ground.whole)] if plan.floor else []
    found = []
    for name, model, cost in models:
        for budget in plan.budgets:
            look = replace(scored(ground, model, budget), cost=cost / UNIT["image"])
            found += look_rows(request, name, ground.seed, look, len(ground.parts.forget))
    return found


def rows_of(request: ForgetRequest, title: str, seed: int, outcome: Outcome, plan: Plan, n: int) -> list[ScoreRow]:
    """All of a run's numbers; what it has not is missing, with the reason."""
    found = []
    for budget in sorted(plan.budgets):
        failed = Look(budget, {}, dict.fromkeys((*SCORES, "forget loss", "retain loss"), outcome.ended))
        look = next((look for look in outcome.looks if look.budget == budget), failed)
        found += look_rows(request, title, seed, look, n)
    task = task_at(request, max(plan.budgets))
    never = f"it did not hold: {outcome.ended}"
    for metric, value in zip(HELD, outcome.held or (None, None), strict=True):
        found.append(_row(task, title, seed, metric, value, n, never))
    return found


def look_rows(request: ForgetRequest, title: str, seed: int, look: Look, n: int) -> list[ScoreRow]:
    """A look's numbers."""
    task = task_at(request, look.budget)
    values: dict[str, float | None] = dict(look.values) | dict.fromkeys(look.missing)
    if look.values:
        values |= {"rounds": float(look.rounds), "cost": look.cost}
    return [_row(task, title, seed, name, value, n, look.missing.get(name)) for name, value in values.items()]


def _row(
    task: str, title: str, seed: int, metric: str, value: float | None, n: int, missing: str | None
) -> ScoreRow:
    higher = DIRECTIONS[metric]
    if value is None:
        return ScoreRow(task, title, seed, metric, None, 0, higher, missing=missing or "not computed")
    return ScoreRow(task, title, seed, metric, float(value), n, higher)
