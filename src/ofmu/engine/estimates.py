"""What a task holds besides data: each field that a method needs is estimated once, and its cost counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import Module

from ..data.refusals import refusals
from ..tasks import Kind, Need, Samples
from .confidence import matched_confidence
from .ground import Ground, Search
from .head_start import HeadStart, head_start
from .measuring import sample_losses
from .targets import spread
from .targets_known import Known, Made, Source
from .targets_named import named_targets
from .upper import UpperSamples

RELEARNED = 0.5  # of what the model memorised of D_r: a reference that has less is too far behind to start from
ENOUGH = 0.4  # of a retraining: what a run on images may spend where nobody says
LEVEL_ROWS = 2048  # of the retain set: enough for its mean loss, whatever its size
START_ROWS = 512  # of retain and held-out set, on which a start is looked at
State = Mapping[str, Tensor]  # parameters and buffers, by name


@dataclass
class Estimates:
    """Asked for one after another, for one task; cost: what they took so far, in sample-gradients.

    needs: what the method asks for; of the rest nothing is made.
    """

    known: Known
    kind: Kind
    needs: frozenset[Need]
    cost: float = 0.0

    def head_start(self, budget: float | None, search: Search) -> HeadStart:
        """`engine.head_start`; an empty one where it is not needed, and for text."""
        if "head" not in self.needs or self.kind != "image":
            return HeadStart(0.0, ())
        known = self.known
        allowed = ENOUGH * known.recipe.epochs * len(known.retain) if budget is None else budget
        begun = head_start(Ground(known, allowed, search))
        self.cost += begun.cost
        return begun

    def targets(self, source: str | Source) -> Made:
        """Targets by the source of that name, or one's own, and the model without D_f that they were made with."""
        targets, reference = named_targets(source, self.kind, self.known)
        self.cost += targets.cost
        return targets, reference

    def confidence(self, reference: Module | None) -> float:
        """What the reference's logits are multiplied with (`engine.confidence`); 1 where nothing can say it."""
        heldout = self.known.heldout
        if "confidence" not in self.needs or reference is None or heldout is None:
            return 1.0
        factor, cost = matched_confidence(self.known.model, reference, heldout)
        self.cost += cost
        return factor

    def forget_nll(self) -> Tensor | None:
        """[n]: the original's loss of every forget sample."""
        return self._losses(self.known.forget) if "forget_nll" in self.needs else None

    def refusals(self) -> tuple[Samples, Tensor] | tuple[None, None]:
        """The forget questions with answers that decline, and the original's losses of those.

        They are seen as the forget samples are: whole, or by the upper part alone.
        """
        if "refusals" not in self.needs:
            return None, None
        forget = self.known.forget
        declined = forget.also(refusals(forget.samples)) if isinstance(forget, UpperSamples) else refusals(forget)
        return declined, self._losses(declined)

    def levels(self) -> tuple[float, float | None]:
        """The original's mean loss on retain and held-out data, which is not counted: every run is told them."""
        known = self.known
        retain = sample_losses(known.model, spread(known.retain, LEVEL_ROWS), known.loss).mean()
        if known.heldout is None:
            return float(retain), None
        return float(retain), float(sample_losses(known.model, known.heldout, known.loss).mean())

    def reference_start(self, reference: Module | None, retain_level: float, unseen: float | None) -> State | None:
        """The state of the reference that targets were made with, or None where it is no start.

        retain_level, unseen: the original's mean losses; their difference is what it memorised of D_r. The
        reference must be back at `RELEARNED` of it, and no layer frozen: one that was reset and stays frozen
        would never learn again.
        """
        known = self.known
        if not self.needs & {"start", "head"} or reference is None or known.heldout is None or unseen is None:
            return None
        memorised = unseen - retain_level
        if memorised <= 0 or not all(p.requires_grad for p in reference.parameters()):
            return None
        kept, held = spread(known.retain, START_ROWS), spread(known.heldout, START_ROWS)
        left = (
            sample_losses(reference, held, known.loss).mean() - sample_losses(reference, kept, known.loss).mean()
        )
        self.cost += (len(kept) + len(held)) / 3
        return state_of(reference) if float(left) >= RELEARNED * memorised else None

    def _losses(self, samples: Samples) -> Tensor:
        self.cost += len(samples) / 3
        return sample_losses(self.known.model, samples, self.known.loss)


def state_of(model: Module) -> State:
    """A copy of its parameters and buffers."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def trained_size(model: Module, state: State) -> float:
    """‖θ‖ of a state, over what is trained of `model`."""
    trained = (name for name, parameter in model.named_parameters() if parameter.requires_grad)
    return math.hypot(*(float(state[name].norm()) for name in trained))
