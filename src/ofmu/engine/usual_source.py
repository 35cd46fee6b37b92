"""Which source of targets is taken where none is named."""

from __future__ import annotations

from ..errors import UserError
from ..tasks import Kind
from .targets_known import Known
from .targets_named import TUNED
from .targets_text import ShortReference

REFERENCE = 0.1  # of the budget: what tuning a copy of the base model may take
SCRATCH = 0.5  # of the budget: what training a new model may take; with less left, better targets are not reached
TRAINED = 0.25  # of the parameters: with fewer unlearning is cheap in memory, and a copy that trains all is not


def usual_source(kind: Kind, known: Known, recorded: bool, budget: float | None) -> str:
    """The name of the source, by what is known; recorded: the recipe is the model's own. budget: sample-gradients.

    Images: "reset", whose copy serves as a start too, and which the rounds' presets were settled with. "head"
    ranks forget samples better on small nets (benchmarks/results/targets.md), and is the default's own start.
    Text with a base model: "base-tuned" where there is held-out text, the recipe is recorded, `REFERENCE` of the
    budget pays for it, and unlearning trains no less than `TRAINED` of the model (who trains an adapter has no
    memory for all); else "base", which costs next to nothing. Without one: "reference", if `SCRATCH` of the budget
    pays for it or there is no held-out text; else "constant". Raises UserError where nothing will do.
    """
    if kind == "image":
        return "reset"
    held = known.heldout is not None
    if known.base is not None:
        share = _share(known, TUNED, budget)
        tuned = recorded and held and _trains_enough(known) and share is not None and share <= REFERENCE
        return "base-tuned" if tuned else "base"
    if known.fresh is not None and recorded:
        share = _share(known, ShortReference(), budget)
        if not held or share is None or share <= SCRATCH:
            return "reference"
    if held:
        return "constant"
    raise UserError(
        "targets: nothing says what an unseen text costs this model. Give --heldout (rows that it was never "
        "trained on) or --base (the model from before it was fine-tuned); rows split from its training data "
        "will not do, they were seen"
    )


def _share(known: Known, source: ShortReference, budget: float | None) -> float | None:
    """Of the budget, what training the reference takes; None where nobody said what may be spent."""
    return None if budget is None else known.short(source.share).epochs * len(known.retain) / budget


def _trains_enough(known: Known) -> bool:
    sizes = [(p.numel(), p.requires_grad) for p in known.model.parameters()]
    return sum(n for n, moves in sizes if moves) >= TRAINED * sum(n for n, _ in sizes)
