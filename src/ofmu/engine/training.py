"""Ordinary training: a generator of progress, like the unlearning loop: the caller shows it, and may stop."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch.nn import Module

from ..core import vectors
from ..core.terms import Loss
from ..tasks import Samples, Stream
from .augment import crop_flip
from .loop import Diverged


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: recorded with it, so that a Retrain or a reference can be trained alike.

    rule: "adam", "adamw" (weight decay `decay`) or "sgd" (`decay` and `momentum`). schedule: "constant"; "linear":
    warm-up over the share `warmup` of the steps, constant until the share `hold`, then linear decay to 2 %;
    "steps": a tenth of the rate from each share in `drops` on. clip: gradient-norm clip. augment: crops and mirror
    images, anew for every batch (`augment.crop_flip`).
    """

    epochs: float = 50
    batch: int = 64
    lr: float = 2e-3
    rule: Literal["adam", "adamw", "sgd"] = "adam"
    decay: float = 0.0
    schedule: Literal["constant", "linear", "steps"] = "constant"
    warmup: float = 0.05
    hold: float = 0.6
    clip: float | None = None
    seed: int = 0
    autocast: bool = False
    momentum: float = 0.9
    drops: tuple[float, ...] = (0.5, 0.75)
    augment: bool = False

    def factor(self, step: int, total: int) -> float:
        """The learning rate of step 0 ≤ step < total, relative to `lr`."""
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "steps":
            return 0.1 ** sum(step >= drop * total for drop in self.drops)
        rise = (step + 1) / max(self.warmup * total, 1.0)
        fall = (total - step - 1) / max((1 - self.hold) * total, 1.0)
        return max(min(1.0, rise, fall), 0.02)


@dataclass(frozen=True)
class Progress:
    """step of total, the batch's mean loss, and the cost so far in sample-gradients."""

    step: int
    total: int
    loss: float
    cost: float
    _run: _Run | None = field(default=None, repr=False, compare=False)

    def snapshot(self) -> dict[str, Any]:
        """All that a training needs to go on exactly from here: plain data and tensors (copies)."""
        if self._run is None:
            raise ValueError("Progress.snapshot: this progress is of no training that runs")
        return {"step": self.step, "cost": self.cost, **self._run.snapshot()}


@dataclass(frozen=True)
class _Run:
    """What a training moves. Random numbers are drawn from (seed, step) alone, so they need no saving."""

    model: Module
    params: list[torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    stream: Stream

    def snapshot(self) -> dict[str, Any]:
        return {
            "parameters": vectors.copy_of(self.params),
            "buffers": vectors.copy_of(list(self.model.buffers())),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "cursor": self.stream.cursor(),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        vectors.assign(self.params, saved["parameters"])
        vectors.assign(list(self.model.buffers()), saved["buffers"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.stream.seek(saved["cursor"])


def training(
    model: Module,
    samples: Samples,
    loss: Loss,
    recipe: Recipe,
    *,
    resume: Mapping[str, Any] | None = None,
    stream: Stream | None = None,
) -> Iterator[Progress]:
    """Train the parameters of `model` that require gradients, in place; the module is left in evaluation mode.

    stream: another walk over the samples than the usual one; an epoch still is as many steps as all of them take.
    The seed decides the order of the samples and what dropout drops. resume: a snapshot of the same training to
    go on from; it ends with the same parameters bit for bit. Raises Diverged at a non-finite loss, with the
    parameters as they were before that step.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = _optimizer(recipe, params)
    stream = stream or Stream(samples, recipe.seed)
    total = max(1, round(recipe.epochs * math.ceil(len(samples) / recipe.batch)))
    device, cost, first = params[0].device, 0.0, 0
    cuda = [device] if device.type == "cuda" else []
    run = _Run(model, params, optimizer, stream)
    if resume is not None:
        run.restore(resume)
        cost, first = resume["cost"], resume["step"]
    try:
        for step in range(first, total):
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * recipe.factor(step, total)
            batch = stream.next(recipe.batch).to(device)
            model.train()  # again at every step: the caller may look at the model in between
            # dropout draws from (seed, step), whatever the caller draws between two steps
            with (
                torch.random.fork_rng(devices=cuda),
                torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.autocast),
            ):
                torch.manual_seed(recipe.seed * 1_000_003 + step)
                if recipe.augment:
                    batch = crop_flip(batch)
                terms = loss(model, batch)
                mean = terms.mean()
            stream.saw(batch.rows, terms.per_sample)
            value = float(mean.detach())
            if not math.isfinite(value):
                raise Diverged(step + 1, "the training loss")
            optimizer.zero_grad(set_to_none=True)
            mean.backward()
            if recipe.clip is not None:
                torch.nn.utils.clip_grad_norm_(params, recipe.clip)
            optimizer.step()
            cost += len(batch)
            yield Progress(step + 1, total, value, cost, run)
    finally:
        model.eval()


def _optimizer(recipe: Recipe, params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    fused = vectors.fusible(params)  # for small networks the plain optimiser takes a fifth of a step
    if recipe.rule == "adam":
        return torch.optim.Adam(params, lr=recipe.lr, fused=fused)
    if recipe.rule == "sgd":
        return torch.optim.SGD(params, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.decay)
    return torch.optim.AdamW(params, lr=recipe.lr, betas=(0.9, 0.98), weight_decay=recipe.decay, fused=fused)


def trained(model: Module, samples: Samples, loss: Loss, recipe: Recipe) -> float:
    """Train to the end in one call; returns the cost in sample-gradients."""
    cost = 0.0
    for progress in training(model, samples, loss, recipe):
        cost = progress.cost
    return cost
