"""From a model and its data to a task: what a method needs is estimated here, and its cost is counted."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import Module

from ..core.terms import Loss
from ..data.refusals import refusals
from ..errors import UserError
from ..losses import BASE_LOSSES
from ..tasks import Kind, Method, Samples, Settled, Stream, Targets, Task
from .confidence import matched_confidence
from .head_start import HeadStart, head_start
from .measuring import sample_losses
from .steered import steered_layer
from .targets import (
    absent_targets,
    base_token_targets,
    constant_token_targets,
    labels_of,
    reference_targets,
    short_token_targets,
    with_absent_labels,
)
from .targets_known import Known
from .targets_named import named_targets
from .training import Recipe
from .trial import Ground, Search
from .upper import UpperSamples

UNIT: dict[Kind, int] = {"image": 256, "text": 16}  # samples in a gradient-equivalent, where nothing else is said
RELEARNED = 0.5  # of what the model memorised of D_r: a reference that has less is too far behind to start from
UNKNOWN = Recipe(epochs=30, lr=1e-3)  # how an image model is taken to have been trained where nobody says
ENOUGH = 0.4  # of a retraining: what a run on images may spend where nobody says
SHARE = {"image": 0.1, "text": 0.2}  # of the recipe's epochs: how long a short reference is trained


@dataclass(frozen=True)
class Parts:
    """The data of one request. heldout: data the model was never trained on; never the set a table reports."""

    forget: Samples
    retain: Samples
    heldout: Samples | None = None


@dataclass(frozen=True)
class Sources:
    """What, besides the data, can say how an unseen sample looks.

    base: the model from before fine-tuning (text). fresh: makes an untrained model of this architecture from a
    seed. recipe: how the model was trained. For images a recipe alone will do: the last layers are reset. targets:
    the name of a source of targets (`targets_named`); None: the default, by what else is given.
    """

    base: Module | None = None
    fresh: Callable[[int], Module] | None = None
    recipe: Recipe | None = None
    targets: str | None = None


@dataclass(frozen=True)
class Prepared:
    """A task with what it cost to prepare, in sample-gradients.

    start: the state (parameters and buffers, by name) that the run begins with; None: the model as it is. It is
    that of a head start (`engine.head_start`; layers: how many it reset), or the short image reference's, if
    held-out data show that it has learned at least half of D_r again; a start that is further behind costs more
    repair than it spares ascent. notes: what was chosen and why, in sentences.
    """

    task: Task
    cost: float
    start: Mapping[str, Tensor] | None = None
    layers: int | None = None
    notes: tuple[str, ...] = ()

    def begin(self, model: Module) -> None:
        """Set `model` to the start, in place."""
        if self.start is not None:
            model.load_state_dict(self.start)


def prepare(
    model: Module,
    kind: Kind,
    parts: Parts,
    method: Method,
    sources: Sources,
    seed: int,
    *,
    batch: int | None = None,
    base_loss: Loss | None = None,
    budget: float | None = None,
    search: Search | None = None,
) -> Prepared:
    """The task of unlearning `parts.forget` from `model` with `method`; only what the method needs is made.

    batch: samples a batch of both streams (None: `batch_sizes`). base_loss: the loss of this kind, such as the
    usual one at another precision (None: `BASE_LOSSES`). budget: what the run may spend in all, in
    sample-gradients, this preparation included: a head start fits itself to it (None: `ENOUGH` of a retraining).
    search: how a head start is found (None:
    `Search()`); there is none where `sources` names targets. Raises UserError where targets are needed and nothing
    that is given can say what an unseen sample costs.
    """
    loss, needs = base_loss or BASE_LOSSES[kind], method.needs
    for module in (model, sources.base):
        if module is not None:
            module.eval()
    nll, targets, trained_here, cost = None, None, None, 0.0
    begun = HeadStart(0.0, ())
    if "head" in needs and kind == "image" and sources.targets is None:  # a head start makes its own targets
        begun = head_start(_ground(model, parts, loss, sources.recipe or UNKNOWN, seed, budget, search))
        cost, targets = begun.cost, begun.targets
    if "targets" in needs and begun.targets is None and begun.settled is None:
        targets, trained_here = _targets(model, kind, loss, parts, sources, seed)
        cost += targets.cost
    confidence = 1.0
    if "confidence" in needs and trained_here is not None and parts.heldout is not None:
        confidence, looked = matched_confidence(model, trained_here, parts.heldout)
        cost += looked
    if "forget_nll" in needs:
        nll = sample_losses(model, parts.forget, loss)
        cost += len(parts.forget) / 3
    declined, declined_nll = None, None
    if "refusals" in needs:
        declined = _declined(parts.forget)
        declined_nll = sample_losses(model, declined, loss)
        cost += len(declined) / 3
    level = float(sample_losses(model, _some(parts.retain), loss).mean())
    above = None if parts.heldout is None else float(sample_losses(model, parts.heldout, loss).mean())
    forget_batch, retain_batch = (batch, batch) if batch is not None else batch_sizes(kind, len(parts.retain))
    task = Task(
        kind,
        loss,
        Stream(parts.forget, 2 * seed + 1),
        Stream(parts.retain, 2 * seed + 2),
        targets=targets,
        reference=frozen_copy(model) if "reference" in needs else None,
        unseen=trained_here if "unseen" in needs else None,
        confidence=confidence,
        neutral=neutral_stream(parts, seed) if "neutral" in needs else None,
        forget_nll=nll,
        refusals=declined,
        refusal_nll=declined_nll,
        layer=steered_layer(model) if "layer" in needs else None,
        retain_level=level,
        unseen_level=above,
        settled=None if begun.settled is None else Settled(begun.settled, _size(model, begun.state or {})),
        forget_batch=forget_batch,
        retain_batch=retain_batch,
    )
    start = begun.state
    if start is None and needs & {"start", "head"} and trained_here is not None and above is not None:
        start, looked = _start(trained_here, parts, loss, above - level)
        cost += looked
    return Prepared(task, cost, start, begun.layers, begun.notes)


def _size(model: Module, state: Mapping[str, Tensor]) -> float:
    """‖θ‖ of a start, over what is trained of `model`."""
    trained = (name for name, parameter in model.named_parameters() if parameter.requires_grad)
    return math.hypot(*(float(state[name].norm()) for name in trained))


def _ground(
    model: Module,
    parts: Parts,
    loss: Loss,
    recipe: Recipe,
    seed: int,
    budget: float | None,
    search: Search | None,
) -> Ground:
    allowed = ENOUGH * recipe.epochs * len(parts.retain) if budget is None else budget
    return Ground(
        model, parts.forget, parts.retain, parts.heldout, loss, recipe, seed, allowed, search or Search()
    )


def neutral_stream(parts: Parts, seed: int) -> Stream | None:
    """Held-out rows as text on which the model should stay as it was; None where there are none."""
    return None if parts.heldout is None else Stream(parts.heldout, 2 * seed + 4)


def _declined(forget: Samples) -> Samples:
    """The forget questions with refusals, seen as the forget samples are: whole, or by the upper part alone."""
    return forget.also(refusals(forget.samples)) if isinstance(forget, UpperSamples) else refusals(forget)


def _start(
    reference: Module, parts: Parts, loss: Loss, memorised: float
) -> tuple[Mapping[str, Tensor] | None, float]:
    """The reference's state, or None where it is no start; and what it took to look.

    memorised: how far the original's loss on D_r is below that on held-out data. The reference must be back at
    `RELEARNED` of it, and no layer frozen: one that was reset and stays frozen would never learn again.
    """
    assert parts.heldout is not None
    if memorised <= 0 or not all(p.requires_grad for p in reference.parameters()):
        return None, 0.0
    kept, unseen = _some(parts.retain, 512), _some(parts.heldout, 512)
    relearned = sample_losses(reference, unseen, loss).mean() - sample_losses(reference, kept, loss).mean()
    looked = (len(kept) + len(unseen)) / 3
    if float(relearned) < RELEARNED * memorised:
        return None, looked
    return {name: value.detach().clone() for name, value in reference.state_dict().items()}, looked


def batch_sizes(kind: Kind, retained: int) -> tuple[int, int]:
    """Samples a batch of (forget, retain) for two-loop methods.

    Images: 64, and of a small retain set a sixteenth, but at least 16: rounds are short and many, and their cost
    must be small beside an epoch.
    """
    return (8, 16) if kind == "text" else (64, min(64, max(16, retained // 16)))


def frozen_copy(model: Module) -> Module:
    """A copy in evaluation mode whose parameters take no gradient."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def _some(samples: Samples, most: int = 2048) -> Samples:
    """At most `most` samples, evenly spread: enough for a mean loss of a retain set of any size."""
    from .targets import Rows

    n = len(samples)
    return samples if n <= most else Rows(samples, [i * n // most for i in range(most)])


def _targets(
    model: Module, kind: Kind, loss: Loss, parts: Parts, sources: Sources, seed: int
) -> tuple[Targets, Module | None]:
    if sources.targets is not None:
        recipe = sources.recipe or (UNKNOWN if kind == "image" else Recipe(epochs=10))
        data = parts.forget, parts.retain, parts.heldout
        known = Known(model, *data, loss, recipe, seed, sources.fresh, sources.base)
        return named_targets(sources.targets, kind, known)
    if kind == "image":
        return _image_targets(model, loss, parts, sources.recipe or UNKNOWN, seed)
    return _text_targets(model, loss, parts, sources, seed)


def _image_targets(
    model: Module, loss: Loss, parts: Parts, recipe: Recipe, seed: int
) -> tuple[Targets, Module | None]:
    forget_labels, retain_labels = labels_of(parts.forget), labels_of(parts.retain)
    if not set(forget_labels.tolist()) & set(retain_labels.tolist()):
        return absent_targets(len(parts.forget)), None
    recipe = replace(recipe, seed=seed)
    targets, reference = reference_targets(
        model, parts.forget, parts.retain, parts.heldout, loss, recipe, share=SHARE["image"]
    )
    return with_absent_labels(targets, forget_labels, retain_labels), reference


def _text_targets(
    model: Module, loss: Loss, parts: Parts, sources: Sources, seed: int
) -> tuple[Targets, Module | None]:
    if sources.base is not None:
        base = sources.base.requires_grad_(False)
        return base_token_targets(model, base, parts.forget, parts.heldout, loss), base
    if sources.fresh is not None and sources.recipe is not None:
        epochs = max(1.0, round(sources.recipe.epochs * SHARE["text"]))
        recipe = replace(sources.recipe, epochs=epochs, seed=seed + 7)
        data = parts.forget, parts.retain, parts.heldout
        return short_token_targets(model, sources.fresh, *data, loss, recipe)
    if parts.heldout is not None:
        return constant_token_targets(model, parts.forget, parts.heldout, loss), None
    raise UserError(
        "targets: nothing says what an unseen text costs this model. Give --heldout (rows that it was never "
        "trained on) or --base (the model from before it was fine-tuned); rows split from its training data "
        "will not do, they were seen"
    )
