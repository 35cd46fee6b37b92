"""Image models whose answer is known: noise with random labels, of which an unseen row tells nothing."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import Flatten, Linear, Module, Sequential, Tanh
from torch.nn.functional import cross_entropy, one_hot

from ...attacks import auc_with_error
from ...engine.measuring import sample_losses
from ...engine.networks import build
from ...engine.prepare import Parts, Sources
from ...engine.training import Recipe, trained
from ...evidence.case import Case
from ...evidence.ensembles import klom_finding, retrained_scores
from ...evidence.finding import Finding
from ...evidence.plan import ATTACKS, choose, run
from ...evidence.rows import joined
from ...evidence.shadows import Setup, Unlearning, scores_of, unlearned
from ...losses import class_logits, class_nll
from ...methods import build_method
from ...tasks import Samples, TensorSamples
from ..settings import with_values
from .shallow import deep, shallow

SHAPE = {"classes": 3, "size": 4, "widths": (4, 8), "hidden": 32}
ROWS = {"forget": 60, "retain": 80, "heldout": 80}
DENSE = Recipe(epochs=150, batch=140, lr=1e-2)
LEARNT, BRIEF = Recipe(epochs=60, batch=32, lr=1e-2), Recipe(epochs=20, batch=32, lr=1e-2)
GOLD, SHADOWS = 5, 8  # retrained models to compare with; shadows
DEPTH = 30.0
OVER = 0.25  # AUC of the loss attack at which rows count as forgotten too well
PLAIN = tuple(name for name, attack in ATTACKS.items() if "image" in attack.kinds and not attack.trains)
SHADOWED = ("u-lira", "lira")
NOTHING = Unlearning(build_method("finetune", "image", lr=1e-7), 32.0, 32)  # a method that does nothing
# one that halves what is remembered
HALVING = Unlearning(with_values(build_method("graddiff", "image", lr=3e-3), {"forget_weight": 30.0}), 640.0, 32)


def rows(n: int, seed: int, part: int) -> TensorSamples:
    """N pictures of noise with random labels."""
    generator = torch.Generator().manual_seed(1000 * seed + part)
    pixels, labels = torch.randn(n, 1, 4, 4, generator=generator), torch.randint(0, 3, (n,), generator=generator)
    return TensorSamples(pixels, labels, [f"{seed}/{part}/{i}" for i in range(n)])


def parts_of(seed: int) -> Parts:
    """Rows to forget, to keep, and unseen ones, all of one kind."""
    return Parts(*(rows(n, seed, part) for part, n in enumerate(ROWS.values())))


def fit(samples: Samples, recipe: Recipe, seed: int) -> Module:
    """A model trained on these rows."""
    model = build("digits-cnn", SHAPE, seed)
    trained(model, samples, class_nll, replace(recipe, seed=seed))
    return model.eval()


def over_forgotten(original: Module, parts: Parts) -> Module:
    """The forget rows' margins pushed down to −`DEPTH` until unseen rows cost less; other rows held as they are.

    The margin, not the loss, whose gradient vanishes on a row that is known by heart.
    """
    model = copy.deepcopy(original).requires_grad_(True)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    assert parts.heldout is not None
    forget, retain = (part.batch(range(len(part))) for part in (parts.forget, parts.retain))
    others = rows(400, 77, 9).batch(range(400))
    with torch.no_grad():
        before = class_logits(original, others).softmax(1)
    truth = one_hot(forget.labels, 3).bool()
    for _ in range(3000):
        unseen, gone = (-sample_losses(model, part, class_nll).numpy() for part in (parts.heldout, parts.forget))
        if auc_with_error(gone, unseen)[0] < OVER:
            return model.eval()
        scores = class_logits(model, forget)
        margin = scores[truth] - scores.masked_fill(truth, -math.inf).logsumexp(1)
        held = cross_entropy(class_logits(model, others), before)
        loss = class_nll(model, retain).mean() + held + (margin + DEPTH).relu().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    raise RuntimeError("the control model was not forgotten too well")


def positive(store: Path, kind: str) -> list[Finding]:
    """Every attack on a model that is "memorised" (it did not unlearn), forgot "too well", or is "hidden".

    Attacks that train no shadows look at a dense network, which memorises whole; the others at the small CNN,
    whose shadows unlearn nothing. What is hidden lies behind one direction of one layer (`shallow`); no shadows.
    "halved": the small CNN and its shadows unlearned by one method, which leaves half; the attacks by shadows.
    """
    if kind == "hidden":
        return hidden()
    if kind == "halved":
        return halved(store)
    over, parts = kind == "too well", parts_of(0)
    every = joined([parts.retain, parts.forget])
    original = dense(every, 1)
    gold = tuple(dense(parts.retain, 2 + k) for k in range(GOLD))
    model = over_forgotten(original, parts) if over else original
    case = Case("image", model, parts, gold, original, recipe=DENSE, alike=True)
    found = [each for _, group in run(case, choose(case, PLAIN)) for each in group]
    original = fit(every, LEARNT, 1)
    gold = tuple(fit(parts.retain, LEARNT, 2 + k) for k in range(GOLD))
    model = over_forgotten(original, parts) if over else original
    case = _case(parts, model, gold, original, LEARNT, store, 0, NOTHING)
    found += [each for _, group in run(case, choose(case, SHADOWED)) for each in group]
    before = [fit(every, LEARNT, 50 + k) for k in range(SHADOWS)]
    after = [over_forgotten(each, parts) for each in before] if over else before
    pool = joined([case.forget, case.heldout])
    ours, first = (np.stack([scores_of(each, "image", pool)[0] for each in models]) for models in (after, before))
    return [*found, klom_finding(ours, _gold_margins(case, SHADOWS), first, len(case.forget))]


def hidden() -> list[Finding]:
    """Every attack that trains no shadows on a model whose forgetting is one direction that can be taken out."""
    parts = parts_of(0)
    original = deep(joined([parts.retain, parts.forget]), DENSE, 1)
    gold = tuple(deep(parts.retain, DENSE, 2 + k) for k in range(GOLD))
    case = Case("image", shallow(original, parts), parts, gold, original, recipe=DENSE, alike=True)
    return [each for _, group in run(case, choose(case, PLAIN)) for each in group]


def halved(store: Path) -> list[Finding]:
    """The attacks by shadows on a model of which half is left, beside shadows that unlearned in the same way."""
    parts = parts_of(0)
    original = fit(joined([parts.retain, parts.forget]), LEARNT, 1)
    gold = tuple(fit(parts.retain, LEARNT, 2 + k) for k in range(GOLD))
    model = unlearned(original, "image", parts, HALVING, Sources(recipe=LEARNT), 1).eval()
    case = _case(parts, model, gold, original, LEARNT, store, 0, HALVING)
    return [each for _, group in run(case, choose(case, SHADOWED)) for each in group]


def dense(samples: Samples, seed: int) -> Module:
    """A wide network with one hidden layer, trained on these rows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Sequential(Flatten(), Linear(16, 256), Tanh(), Linear(256, 3))
    trained(model, samples, class_nll, replace(DENSE, seed=seed))
    return model.eval()


def retrained(seed: int, store: Path) -> list[Finding]:
    """Every attack on one retrained model beside five others."""
    parts = parts_of(1 + seed)
    every = joined([parts.retain, parts.forget])
    models = [fit(parts.retain, BRIEF, 100 * seed + k) for k in range(1 + GOLD)]
    original = fit(every, BRIEF, 100 * seed + 99)
    case = _case(parts, models[0], tuple(models[1:]), original, BRIEF, store, seed, HALVING)
    found = [each for _, group in run(case, choose(case, (*PLAIN, *SHADOWED))) for each in group]
    margins = _gold_margins(case, 2 * SHADOWS)
    return [*found, klom_finding(margins[::2], margins[1::2], margins[::2], len(case.forget))]


def _gold_margins(case: Case, number: int) -> np.ndarray:
    assert case.shadows is not None
    return retrained_scores(case, case.shadows, joined([case.forget, case.heldout]), number)[0]


def _case(
    parts: Parts,
    model: Module,
    gold: tuple[Module, ...],
    original: Module,
    recipe: Recipe,
    store: Path,
    seed: int,
    how: Unlearning,
) -> Case:
    setup = Setup(store, original, how=how, number=SHADOWS)
    return Case("image", model, parts, gold, original, recipe=recipe, seed=seed, shadows=setup, alike=True)
