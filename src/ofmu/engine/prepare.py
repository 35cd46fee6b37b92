"""From a model and its data to a task: what a method needs is estimated here, and its cost is counted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import Module

from ..core.terms import Loss
from ..losses import BASE_LOSSES
from ..tasks import Kind, Method, Samples, Settled, Stream, Targets, Task
from .estimates import Estimates, trained_size
from .ground import Search
from .head_start import HeadStart
from .steered import steered_layer
from .targets_known import Known, Source
from .training import Recipe
from .usual_source import usual_source

UNIT: dict[Kind, int] = {"image": 256, "text": 16}  # samples in a gradient-equivalent, where nothing else is said
# how a model is taken to have been trained where nobody says
UNRECORDED: dict[Kind, Recipe] = {"image": Recipe(epochs=30, lr=1e-3), "text": Recipe(epochs=10)}


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
    the name of a source of targets (`targets_named`), or one's own; None: the default, by what else is given.
    alternatives: the forget questions with false answers, as many to each, row after row (text), for the source
    of that name.
    """

    base: Module | None = None
    fresh: Callable[[int], Module] | None = None
    recipe: Recipe | None = None
    targets: str | Source | None = None
    alternatives: Samples | None = None


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
    needs, loss = method.needs, base_loss or BASE_LOSSES[kind]
    made = Estimates(_known(model, kind, parts, sources, loss, seed), kind, needs)
    begun, targets, reference = _to_reach(made, sources, budget, search or Search())
    confidence, nll = made.confidence(reference), made.forget_nll()
    declined, declined_nll = made.refusals()
    level, above = made.levels()
    forget_batch, retain_batch = (batch, batch) if batch is not None else batch_sizes(kind, len(parts.retain))
    forget, retain = streams(parts, seed)
    task = Task(
        kind,
        loss,
        forget,
        retain,
        targets=targets,
        reference=frozen_copy(model) if "reference" in needs else None,
        unseen=reference if "unseen" in needs else None,
        confidence=confidence,
        neutral=neutral_stream(parts, seed) if "neutral" in needs else None,
        forget_nll=nll,
        refusals=declined,
        refusal_nll=declined_nll,
        layer=steered_layer(model) if "layer" in needs else None,
        retain_level=level,
        unseen_level=above,
        settled=None if begun.settled is None else Settled(begun.settled, trained_size(model, begun.state or {})),
        budget=budget,
        forget_batch=forget_batch,
        retain_batch=retain_batch,
    )
    start = begun.state if begun.state is not None else made.reference_start(reference, level, above)
    return Prepared(task, made.cost, start, begun.layers, begun.notes)


def _known(model: Module, kind: Kind, parts: Parts, sources: Sources, loss: Loss, seed: int) -> Known:
    """What estimates may look at, the models in evaluation mode."""
    for module in (model, sources.base):
        if module is not None:
            module.eval()
    data = parts.forget, parts.retain, parts.heldout
    recipe, more = sources.recipe or UNRECORDED[kind], (sources.fresh, sources.base, sources.alternatives)
    return Known(model, *data, loss, recipe, seed, *more)


def _to_reach(
    made: Estimates, sources: Sources, budget: float | None, search: Search
) -> tuple[HeadStart, Targets | None, Module | None]:
    """(the head start, the targets, the model that never saw D_f which they were made with), each if there is one.

    A head start makes targets of its own, or finds that nothing is left: it is none where targets are named.
    """
    if sources.targets is None:
        begun = made.head_start(budget, search)
    else:
        told = "no head start, which has targets of its own: others were asked for"
        begun = HeadStart(0.0, (told,) if "head" in made.needs else ())
    if "targets" not in made.needs or begun.targets is not None or begun.settled is not None:
        return begun, begun.targets, None
    name = sources.targets or usual_source(made.kind, made.known, sources.recipe is not None, budget)
    return begun, *made.targets(name)


def streams(parts: Parts, seed: int) -> tuple[Stream, Stream]:
    """The walks over forget and retain set."""
    return Stream(parts.forget, 2 * seed + 1), Stream(parts.retain, 2 * seed + 2)


def neutral_stream(parts: Parts, seed: int) -> Stream | None:
    """Held-out rows as text on which the model should stay as it was; None where there are none."""
    return None if parts.heldout is None else Stream(parts.heldout, 2 * seed + 4)


def batch_sizes(kind: Kind, retained: int) -> tuple[int, int]:
    """Samples a batch of (forget, retain) for two-loop methods.

    Images: 64, and of a small retain set a sixteenth, but at least 16: rounds are short and many, and their cost
    must be small beside an epoch.
    """
    return (8, 16) if kind == "text" else (64, min(64, max(16, retained // 16)))


def frozen_copy(model: Module) -> Module:
    """A copy in evaluation mode whose parameters take no gradient."""
    return copy.deepcopy(model).eval().requires_grad_(False)
