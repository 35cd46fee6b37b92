"""Which attacks there are, what each costs, which of them fit a budget, and a run of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ..engine.prepare import UNIT
from ..errors import UserError
from ..tasks import Kind
from .case import Case
from .elicit import elicit
from .ensembles import FEWEST, MOST, USUAL, against_retrained, against_unlearned, margins_apart
from .finding import Finding
from .inside import inside
from .membership import gradient_norm, one_query
from .relearning import BATCH, STEPS, relearning
from .sampling import DRAWS, LONGEST, QUESTIONS
from .weights import adapter, disturb, interpolate, quantise


@dataclass(frozen=True)
class Attack:
    """A group of attacks that is asked for by one name.

    cost: of all its models, in sample-gradients (a forward pass is 1/3). run: the findings. asks: in plain words.
    """

    asks: str
    cost: Callable[[Case], float]
    run: Callable[[Case], list[Finding]]
    kinds: tuple[Kind, ...] = ("image", "text")
    needs_original: bool = False
    trains: bool = False  # shadows; `cost` is then that of one


def _look(case: Case) -> float:
    """One look at the forget and held-out rows of every model."""
    return len(case.models) * (len(case.forget) + len(case.heldout)) / 3


def _relearn_cost(case: Case) -> float:
    steps = STEPS[case.kind]
    trained = 3 * len(case.models) * steps * BATCH[case.kind]
    return trained + 3 * (math.log2(steps) + 2) * _look(case)


def _leak_cost(case: Case) -> float:
    """Sampling: a token costs a forward pass over what came before, kept or not; counted as one row each."""
    return len(case.models) * 2 * QUESTIONS * DRAWS * LONGEST / 3 / 10


def _elicit_cost(case: Case) -> float:
    return (6 + len(case.probes)) * _look(case) + _leak_cost(case)


def _klom_cost(case: Case) -> float:
    """One model a side: retrained; and trained on all rows and unlearned."""
    return 0.0 if _u_lira_cost(case) == 0 else _lira_cost(case) + _u_lira_cost(case)


def _lira_cost(case: Case) -> float:
    """One shadow, trained on the kept rows."""
    return 0.0 if case.recipe is None or case.shadows is None else case.recipe.epochs * len(case.parts.retain)


def _u_lira_cost(case: Case) -> float:
    """One shadow, trained on the kept and half of the other rows, and unlearned."""
    if case.recipe is None or case.shadows is None or case.shadows.how is None:
        return 0.0
    return case.recipe.epochs * (len(case.parts.retain) + len(case.forget)) + case.shadows.how.budget


def _relearn(case: Case) -> list[Finding]:
    return [relearning(case, on, unrelated=case.unrelated) for on in ("forget", "retain", "unrelated")]


# the strongest first, after the cheapest: the order in which a budget is spent
ATTACKS: dict[str, Attack] = {
    "mia": Attack("membership from answers alone", lambda c: 3 * _look(c), one_query),
    "relearn": Attack("relearning from a few forgotten, kept or new rows", _relearn_cost, _relearn),
    "quantise": Attack("rounding the weights to 8 and 4 bits", lambda c: 2 * _look(c), quantise),
    "elicit": Attack("other ways to ask", _elicit_cost, elicit, kinds=("text",)),
    "adapter": Attack("taking an adapter off; bfloat16", lambda c: 2 * _look(c), adapter),
    "interpolate": Attack("a quarter of the way to the original", _look, interpolate, needs_original=True),
    "inside": Attack("probes, logit lens, CKA, direction ablation", lambda c: 6 * _look(c), inside),
    "gradnorm": Attack("membership from gradient norms", lambda c: 3 * _look(c), gradient_norm),
    "disturb": Attack("pruning, and noise on the weights", lambda c: 2 * _look(c), disturb),
    "u-lira": Attack(
        "membership against shadows, before and after they unlearned too",
        _u_lira_cost,
        against_unlearned,
        trains=True,
    ),
    "lira": Attack("LiRA and RMIA against retrained shadows", _lira_cost, against_retrained, trains=True),
    "klom": Attack(
        "margins over many runs, beside as many retrainings (KLoM)",
        _klom_cost,
        margins_apart,
        kinds=("image",),
        trains=True,
    ),
}


@dataclass(frozen=True)
class Plan:
    """What is run and what is not. cost in sample-gradients; left_out: name → why; shadows: name → how many."""

    chosen: tuple[str, ...]
    cost: float
    left_out: dict[str, str]
    shadows: dict[str, int] = field(default_factory=dict)


def choose(
    case: Case, asked: Sequence[str] | None = None, budget: float | None = None, needed: Sequence[str] = ()
) -> Plan:
    """The attacks to run: those asked for (None: all that apply), in order of strength, while the budget lasts.

    needed: asked for besides, as by gates. budget: sample-gradients. Attacks that train shadows run where they
    are asked for, with as many as are set, or else 16; or where a budget leaves enough for at least 8, with as
    many as it pays for, at most 64. Raises UserError for an unknown name.
    """
    names = list(dict.fromkeys([*(ATTACKS if asked is None else asked), *needed]))
    for name in names:
        if name not in ATTACKS:
            raise UserError(f"--attacks: found {name!r}, expected some of {', '.join(ATTACKS)}")
    chosen: list[str] = []
    cost, shadows = 0.0, {}
    left_out = {name: "not asked for" for name in ATTACKS if name not in names}
    for name in sorted(names, key=list(ATTACKS).index):
        attack, left = ATTACKS[name], None if budget is None else budget - cost
        own, number = attack.cost(case), 1
        why = _unfit(attack, case)
        if why is None and attack.trains:
            number = _number(case, own, left)
            why = _too_few(case, number, own, left, asked is not None or name in needed)
        if why is None and left is not None and number * own > left:
            needs, found = (_amount(case, cost) for cost in (number * own, max(left, 0)))
            why = f"costs {needs} gradient-equivalents, {found} of the budget were left"
        if why is not None:
            left_out[name] = why
            continue
        chosen.append(name)
        cost += number * own
        if attack.trains:
            shadows[name] = number
    return Plan(tuple(chosen), cost, left_out, shadows)


def _unfit(attack: Attack, case: Case) -> str | None:
    """Why an attack cannot be run on this case at all; None where it can."""
    if case.kind not in attack.kinds:
        return f"serves {' and '.join(attack.kinds)} models alone"
    if attack.needs_original and case.original is None:
        return "needs the original model"
    if attack.trains and attack.cost(case) == 0:
        return "needs to know how the model was trained (training.json) and, for u-lira, unlearned (config.json)"
    return None


def _number(case: Case, own: float, left: float | None) -> int:
    """How many shadows: those asked for, or what the budget pays for (an even number), or the usual 16."""
    asked = None if case.shadows is None else case.shadows.number
    if asked is not None:
        return asked
    return USUAL if left is None else min(MOST, int(max(left, 0) / own) // 2 * 2)


def _amount(case: Case, cost: float) -> str:
    """Sample-gradients in gradient-equivalents, the unit in which a budget is given."""
    found = cost / UNIT[case.kind]
    return f"{found:,.0f}" if found >= 100 else f"{found:.2g}"


def _too_few(case: Case, number: int, own: float, left: float | None, named: bool) -> str | None:
    if left is None and not named:
        return (
            f"trains models, at about {_amount(case, own)} gradient-equivalents each: ask for it, or give a budget"
        )
    if number < FEWEST:
        return (
            f"needs {FEWEST} shadows at {_amount(case, own)} gradient-equivalents each, found enough for {number}"
        )
    return None


def run(case: Case, plan: Plan) -> Iterator[tuple[str, list[Finding]]]:
    """Every chosen attack with its findings, not yet corrected for their number (`corrected`)."""
    for name in plan.chosen:
        setup = case.shadows
        if name in plan.shadows and setup is not None:
            setup = replace(setup, number=plan.shadows[name])
        yield name, ATTACKS[name].run(replace(case, shadows=setup))
