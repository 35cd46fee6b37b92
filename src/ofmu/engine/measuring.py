"""Losses over whole data sets: what targets, monitors and metrics are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from ..core.terms import Loss
from ..losses import class_logits, token_nll
from ..tasks import Samples, batches
from .predictions import predictions


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """No gradients, and the module in evaluation mode: what is measured must not depend on dropout or batches."""
    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(before)


def sample_losses(model: Module, samples: Samples, loss: Loss, batch: int = 64) -> Tensor:
    """float32 [n]: each sample's mean loss, in the order of the data set."""
    if loss is token_nll:
        return torch.stack([values.mean() for values in answer_losses(model, [samples], batch)[0]])
    out = torch.empty(len(samples))
    with evaluating(model):
        for rows in batches(samples, batch):
            terms = loss(model, samples.batch(rows).to(_device(model)))
            out[rows] = terms.per_sample().float().cpu()
    return out


def token_losses(model: Module, samples: Samples, loss: Loss, batch: int = 32) -> list[Tensor]:
    """Per sample, float32 [m]: the loss of each of its answer tokens."""
    if loss is token_nll:
        return answer_losses(model, [samples], batch)[0]
    out: list[Tensor] = [torch.empty(0)] * len(samples)
    with evaluating(model):
        for rows in batches(samples, batch):
            terms = loss(model, samples.batch(rows).to(_device(model)))
            for i, row in enumerate(rows):
                out[row] = terms.values[i][terms.weights[i] > 0].float().cpu()
    return out


def answer_losses(
    model: Module, parts: Sequence[Samples], batch: int = 32, rows: Sequence[Sequence[int]] | None = None
) -> list[list[Tensor]]:
    """`token_losses` (by `token_nll`) of several data sets: what their texts begin with in common passes once.

    rows: of each, the texts that are measured (None: all); of the others nothing is known, [0].
    """
    out = [[torch.empty(0)] * len(samples) for samples in parts]
    with evaluating(model):
        for predicted in predictions(model, parts, batch, rows):
            for answer in predicted.answers:
                lost = F.cross_entropy(predicted.logits[answer.places], answer.tokens, reduction="none")
                out[answer.part][answer.row] = lost.float().cpu()
    return out


def image_logits(model: Module, samples: Samples, batch: int = 256) -> Tensor:
    """float32 [n, classes]."""
    with evaluating(model):
        parts = [
            class_logits(model, samples.batch(range(i, min(i + batch, len(samples)))).to(_device(model)))
            for i in range(0, len(samples), batch)
        ]
    return torch.cat(parts).float().cpu()


def _device(model: Module) -> torch.device:
    return next(model.parameters()).device


@dataclass(frozen=True)
class Monitor:
    """Watches a run from outside: mean losses on fixed samples, not counted as the method's cost.

    At most `most` retain and held-out samples are looked at, evenly spread, so that watching stays cheap. cosine:
    also cos(g_f, g_r), of the gradients on those samples in evaluation mode, but where one of them vanishes.
    """

    forget: Samples
    retain: Samples
    heldout: Samples | None
    loss: Loss
    most: int = 256
    cosine: bool = False

    def look(self, model: Module) -> dict[str, float]:
        """The mean losses now, by the names of the report's trajectory."""
        parts = {"forget_loss": self.forget, "retain_loss": self.retain}
        if self.heldout is not None:
            parts["heldout_loss"] = self.heldout
        if self.loss is token_nll:
            seen = self._answers(model, parts)
        else:
            seen = {name: self._mean(model, samples) for name, samples in parts.items()}
        if self.cosine and (found := self._cosine(model)) is not None:
            seen["cosine"] = found
        return seen

    def _answers(self, model: Module, parts: Mapping[str, Samples]) -> dict[str, float]:
        """Of texts: all parts in one pass."""
        chosen = [self._chosen(samples) for samples in parts.values()]
        found = answer_losses(model, list(parts.values()), rows=chosen)
        means = ([losses[row].mean() for row in rows] for losses, rows in zip(found, chosen, strict=True))
        return {name: float(torch.stack(values).mean()) for name, values in zip(parts, means, strict=True)}

    def _chosen(self, samples: Samples) -> Sequence[int]:
        n = len(samples)
        return range(n) if n <= self.most else [i * n // self.most for i in range(self.most)]

    def _cosine(self, model: Module) -> float | None:
        """cos(g_f, g_r); None where a gradient vanishes."""
        params = [p for p in model.parameters() if p.requires_grad]
        before = model.training
        model.eval()
        grads = []
        for samples in (self.forget, self.retain):
            batch = samples.batch(self._chosen(samples)).to(_device(model))
            grads.append(torch.autograd.grad(self.loss(model, batch).mean(), params))
        model.train(before)
        norms = [math.sqrt(sum(float((g * g).sum()) for g in grad)) for grad in grads]
        inner = sum(float((a * b).sum()) for a, b in zip(*grads, strict=True))
        return inner / (norms[0] * norms[1]) if min(norms) > 0 else None

    def _mean(self, model: Module, samples: Samples) -> float:
        chosen = self._chosen(samples)
        rows = sorted(chosen, key=samples.length)  # similar lengths together: little padding
        total = 0.0
        with evaluating(model):
            for start in range(0, len(rows), 64):
                batch = samples.batch(rows[start : start + 64]).to(_device(model))
                total += float(self.loss(model, batch).per_sample().sum())
        return total / len(rows)
