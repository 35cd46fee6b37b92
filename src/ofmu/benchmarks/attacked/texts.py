"""Language models whose answer is known (`world`): all attacks on rows memorised, hidden or forgotten too well."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch.nn import Module

from ...attacks import auc_with_error
from ...data.probes import REVERSED
from ...engine.measuring import sample_losses
from ...engine.models import LoadedModel
from ...engine.prepare import Parts, Sources
from ...engine.trainable import apply_trainable
from ...engine.training import Recipe
from ...evidence.case import Case
from ...evidence.elicit import in_context, other_words, prefilled, probed, system_prompt
from ...evidence.finding import Finding
from ...evidence.plan import choose, run
from ...evidence.relearning import On, relearning
from ...evidence.rows import joined
from ...evidence.sampling import leak_at_k
from ...evidence.shadows import Setup, Unlearning, unlearned
from ...losses import token_nll
from ...methods import build_method
from ..settings import with_values
from .world import World, world

GOLD = 5
LEARNT, BRIEF = (Recipe(epochs=epochs, batch=14, lr=1e-2, rule="adamw") for epochs in (25, 8))
GROUPS = ("mia", "quantise", "adapter", "interpolate", "inside", "gradnorm", "disturb")
SHADOWED, SHADOWS = ("u-lira", "lira"), 8
NOTHING = Unlearning(build_method("finetune", "text", lr=1e-7), 14.0, 14)  # a method that does nothing
# one that halves what is remembered
HALVING = Unlearning(with_values(build_method("graddiff", "text", lr=1e-3), {"forget_weight": 1.0}), 280.0, 14)
LESSONS = {"learnt": 16, "brief": 4}  # steps of relearning
ASKED, DRAWS, LONGEST = 20, 3, 10  # leak@k: questions a side, draws, tokens
DEPTH, OVER, HIDDEN = 8.0, 0.25, 0.55  # nats; AUC of the loss attack: forgotten too well, hidden


def attacked(case: Case, lessons: int) -> list[Finding]:
    """Every attack on texts, by shadows too where the case has them; lessons: steps of relearning.

    leak@k draws few and short.
    """
    groups = GROUPS if case.shadows is None else (*GROUPS, *SHADOWED)
    found = [each for _, group in run(case, choose(case, groups)) for each in group]
    ways: tuple[On, ...] = ("forget", "retain", "unrelated")
    found += [relearning(case, on, lessons) for on in ways]
    found += [prefilled(case), system_prompt(case), in_context(case), *other_words(case)]
    found.append(leak_at_k(case, ASKED, DRAWS, LONGEST))
    return found + [probed(case, name) for name in case.probes]


def positive(store: Path, kind: str) -> list[Finding]:
    """Every attack on a model that is "memorised", forgot "too well", or is "hidden" under an adapter.

    "memorised" has shadows that unlearn nothing, and is asked for the way back by models that were taught it.
    "halved": the model and its shadows unlearned by one method, which leaves half; the attacks by shadows.
    """
    here = world(0)
    if kind == "halved":
        return halved(here, store)
    original = here.fit(joined([here.parts.retain, here.parts.forget]), LEARNT, 1)
    gold = [here.fit(here.parts.retain, LEARNT, 2 + k) for k in range(GOLD)]
    base = here.fit(here.others, LEARNT, 90)
    if kind == "memorised":
        setup = Setup(store, original, how=NOTHING, number=SHADOWS)
        found = attacked(here.case(original, gold, original, LEARNT, 0, base, setup), LESSONS["learnt"])
        back = {each.attack: each for each in taught_back(here)}
        return [back.get(each.attack, each) for each in found]
    model = over_forgotten(original, here) if kind == "too well" else under_an_adapter(original, here)
    return attacked(here.case(model, gold, original, LEARNT, 0, base), LESSONS["learnt"])


def taught_back(here: World) -> list[Finding]:
    """The attacks that ask from the fact to the person, on models that learnt the rows both ways."""
    kept = joined([here.parts.retain, here.reversed[1]])
    original = here.fit(joined([kept, here.parts.forget, here.reversed[0]]), LEARNT, 1)
    gold = [here.fit(kept, LEARNT, 2 + k) for k in range(GOLD)]
    case = here.case(original, gold, original, LEARNT, 0)
    return [each for each in other_words(case) if each.attack == REVERSED] + [probed(case, REVERSED)]


def halved(here: World, store: Path) -> list[Finding]:
    """The attacks by shadows on a model of which half is left, beside shadows that unlearned in the same way."""
    original = here.fit(joined([here.parts.retain, here.parts.forget]), LEARNT, 1)
    gold = [here.fit(here.parts.retain, LEARNT, 2 + k) for k in range(GOLD)]
    model = unlearned(original, "text", here.parts, HALVING, Sources(recipe=LEARNT), 1).eval()
    setup = Setup(store, original, how=HALVING, number=SHADOWS)
    case = here.case(model, gold, original, LEARNT, 0, None, setup)
    return [each for _, group in run(case, choose(case, SHADOWED)) for each in group]


def retrained(seed: int, store: Path) -> list[Finding]:
    """Every attack on one retrained model beside five others."""
    here = world(1 + seed)
    models = [here.fit(here.parts.retain, BRIEF, 100 * seed + k) for k in range(1 + GOLD)]
    original = here.fit(joined([here.parts.retain, here.parts.forget]), BRIEF, 100 * seed + 99)
    setup = Setup(store, original, how=HALVING, number=SHADOWS)
    base = here.fit(here.others, BRIEF, 100 * seed + 98)
    case = here.case(models[0], models[1:], original, BRIEF, seed, base, setup)
    return attacked(case, LESSONS["brief"])


def over_forgotten(original: Module, here: World) -> Module:
    """The original, changed until unseen rows cost less than the forgotten ones."""
    return _pushed(copy.deepcopy(original).requires_grad_(True), here, 3e-3, OVER)


def under_an_adapter(original: Module, here: World) -> Module:
    """The original under an adapter of its last block that hides the forgotten rows: below it nothing changed."""
    loaded = LoadedModel(copy.deepcopy(original), "text", source="control")
    return _pushed(apply_trainable(loaded, "lora:8,top:1").module, here, 1e-2, HIDDEN)


def _pushed(model: Module, here: World, lr: float, below: float) -> Module:
    """Push the forget rows' losses to `DEPTH` until the loss attack's AUC is below.

    The losses of kept rows are held low, those of others' rows at most where they were.
    """
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    forget, retain, others = (
        part.batch(range(len(part))) for part in (here.parts.forget, here.parts.retain, here.others)
    )
    with torch.no_grad():
        level = token_nll(model, others).per_sample()
    for _ in range(100):
        for _ in range(3):
            pushed = (DEPTH - token_nll(model, forget).per_sample()).relu().mean()
            risen = (token_nll(model, others).per_sample() - level).relu().mean()
            loss = token_nll(model, retain).mean() + pushed + risen
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if _loss_auc(model, here.parts) < below:
            return model.eval()
    raise RuntimeError(f"the control model's AUC did not fall below {below:g}")


def _loss_auc(model: Module, parts: Parts) -> float:
    assert parts.heldout is not None
    forget, unseen = (-sample_losses(model, part, token_nll).numpy() for part in (parts.forget, parts.heldout))
    return auc_with_error(forget, unseen)[0]
