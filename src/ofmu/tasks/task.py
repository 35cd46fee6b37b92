"""One unlearning request: what is forgotten, what is kept, and what is to be reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn import Module

from ..core.terms import Loss
from .samples import Samples
from .stream import Cursor, Stream

Kind = Literal["image", "text"]
# optional fields of a task, and where the run begins: "start", "head" (`engine.prepare`)
Need = Literal[
    "targets", "unseen", "confidence", "reference", "neutral", "forget_nll", "refusals", "layer", "start", "head"
]


@dataclass(frozen=True)
class Targets:
    """The loss each forget sample would have, had it never been seen: τ.

    values: one tensor per forget row, in the order of the forget samples: a scalar [] (per sample) or [m], the
    loss of each of its m answer tokens. source says in words how it was estimated; cost is what that took, in
    sample-gradients (one forward and backward pass of one sample).
    """

    values: list[Tensor]
    source: str
    cost: float = 0.0

    def __post_init__(self) -> None:
        for row, value in enumerate(self.values):
            if value.numel() == 0 or not bool(torch.isfinite(value).all()) or bool((value < 0).any()):
                raise ValueError(f"targets: row {row} has {value.tolist()}, expected finite losses ≥ 0")

    @cached_property
    def per_sample(self) -> Tensor:
        """float32 [n]: the mean target of every forget sample. Formed once."""
        return torch.stack([value.float().mean() for value in self.values])

    @cached_property
    def means(self) -> Tensor:
        """[n]: the same in the targets' own precision. Formed once."""
        return torch.stack([value.mean() for value in self.values])


@dataclass(frozen=True)
class Settled:
    """Nothing is left to forget at a start: why, and ‖θ‖ of the trained parameters there, by which it is known."""

    why: str
    size: float


@dataclass
class Task:
    """One unlearning request: the streams that a method may draw from, and what it must reach.

    loss: the base loss L(model, batch). kind picks a method's preset. targets: the unseen level of the forget
    samples (None for methods that need none). reference: the frozen original, for losses of the KL type. unseen:
    a frozen model that never saw the forget samples (the base model, or a short reference). confidence: what its
    logits are multiplied with to be as sure of wrong tokens as the original is on held-out text (1: as they are).
    neutral: held-out text, on which a model should stay as it was (None: there is none). forget_nll [n]: the
    original's mean loss of every forget sample, for losses of the NPO type. refusals: the forget questions, row
    by row, with an answer that declines, and refusal_nll [n] the original's mean loss of those, for losses of the
    DPO type. layer: the name of the module whose output representation methods steer. retain_level: the
    original's mean retain loss; unseen_level: its mean held-out loss (None where there is no held-out data);
    together they say when retention counts as repaired. settled: nothing is left to forget where the run begins,
    and why (None: something is). budget: what the run may spend in all, preparation included, in sample-gradients
    (None: nobody said). Batch sizes are in samples.
    """

    kind: Kind
    loss: Loss
    forget: Stream
    retain: Stream
    targets: Targets | None = None
    reference: Module | None = None
    unseen: Module | None = None
    confidence: float = 1.0
    neutral: Stream | None = None
    forget_nll: Tensor | None = None
    refusals: Samples | None = None
    refusal_nll: Tensor | None = None
    layer: str | None = None
    retain_level: float = 0.0
    unseen_level: float | None = None
    settled: Settled | None = None
    budget: float | None = None
    forget_batch: int = 8
    retain_batch: int = 8
    neutral_batch: int = 4

    def original_forget(self, who: str) -> Tensor:
        """`forget_nll`, or a ValueError that says who needs it."""
        if self.forget_nll is None:
            raise ValueError(f"{who}: task.forget_nll is None, expected the original's loss of each forget sample")
        return self.forget_nll

    def cursors(self) -> dict[str, Cursor]:
        """Where the streams stand, to be saved with a checkpoint."""
        streams = {"forget": self.forget, "retain": self.retain, "neutral": self.neutral}
        return {name: stream.cursor() for name, stream in streams.items() if stream is not None}

    def seek(self, cursors: Mapping[str, Cursor]) -> None:
        """Set the streams back to saved cursors."""
        self.forget.seek(cursors["forget"])
        self.retain.seek(cursors["retain"])
        if self.neutral is not None:
            self.neutral.seek(cursors["neutral"])
