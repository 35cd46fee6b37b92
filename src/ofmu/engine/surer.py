"""A short training leaves a top less sure of its answers than a full one would: its logits are scaled.

Labels do not change, confidences do, and with them what a membership attack and sample by sample distances see.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .confidence import sought
from .measuring import image_logits
from .reset import last_layers
from .targets import Rows
from .trial import Trial

LOOKED = 8  # samples on which the scaled layer is seen to scale the logits


def made_surer(trial: Trial) -> float | None:
    """Scale the logits of a trained top, in place, if it is less sure of held-out images than the original is.

    Returns the factor: 1 + `Search.surer` · (κ − 1), where κ makes the mean of the largest probability the
    original's; None where nothing was scaled: it is as sure already, there are no held-out images, or its last
    layer does not scale its logits. What it took joins `trial.tested`.
    """
    ground = trial.ground
    heldout, share = ground.known.heldout, ground.search.surer
    if heldout is None or not ground.present or not share:
        return None
    samples, rows = trial.unseen
    wanted = _surety(image_logits(ground.known.model, Rows(heldout, rows)))
    logits = image_logits(trial.top.module, samples)
    trial.tested += (1 / 3 + trial.top.look) * len(rows)
    factor = 1 + share * (sought(lambda by: _surety(by * logits) < wanted) - 1)
    if factor <= 1:
        return None
    few = Rows(samples, range(min(LOOKED, len(samples))))
    trial.tested += trial.top.look * len(few)
    return factor if _scaled(trial, factor, few, logits[: len(few)]) else None


def _surety(logits: Tensor) -> float:
    """Mean of the largest probability, of logits [n, classes]."""
    return float(logits.softmax(-1).amax(-1).mean())


@torch.no_grad()
def _scaled(trial: Trial, factor: float, samples: Rows, logits: Tensor) -> bool:
    """Whether the last module's parameters, times `factor`, scale the logits so; set back where they do not."""
    last = last_layers(trial.model, 1)[0][-1][1]
    before = [p.clone() for p in last.parameters()]
    for p in last.parameters():
        p.mul_(factor)
    after = image_logits(trial.top.module, samples)
    if torch.allclose(after, factor * logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max())):
        return True
    for p, was in zip(last.parameters(), before, strict=True):
        p.copy_(was)
    return False
