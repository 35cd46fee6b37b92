"""The arithmetic of OFMU's two loops: directions, step lengths, the penalty's push, what counts as done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..core import vectors
from ..core.inner import inner, penalty_gradient
from ..core.oracle import Oracle
from ..core.terms import Loss
from ..core.vectors import Vector
from ..tasks import Batch, Targets, Task

KEPT, NEW = 0.9, 0.1  # weights of the running mean of squared ascent gradients
HALVINGS = 3
NEAR = 0.6  # below this share of the target no step was ever seen to pass it: not worth a forward pass


def balanced_weight(beta: float, forget_grad: Vector, similarity_grad: Vector) -> float:
    """β‖g_f‖/‖∇cos‖, so that β is the share of the cosine in d; 0 where ∇cos vanishes."""
    length = vectors.length(similarity_grad)
    return beta * vectors.length(forget_grad) / length if length > 0 else 0.0


def adam_scaled(direction: Vector, grad: Vector, moments: Vector, ascents: int) -> Vector:
    """d/(√v̂ + 1e-6), v̂ the bias-corrected running mean of g_f², updated in place; `ascents` counts this one."""
    torch._foreach_mul_(moments, KEPT)
    torch._foreach_addcmul_(moments, grad, grad, value=NEW)
    correction = 1 - KEPT**ascents
    return [d / ((m / correction).sqrt() + 1e-6) for d, m in zip(direction, moments, strict=True)]


def step_length(radius: float, value: float, target: float | None, slope: float) -> float:
    """min(radius, (τ − L_f)/slope), slope = g_f·d̂: never beyond where the linear model meets the target (Polyak).

    The radius alone where there is no target, or d does not ascend L_f.
    """
    if target is None or slope <= 0:
        return radius
    return min(radius, (target - value) / slope)


def halve_overshoot(
    oracle: Oracle, loss: Loss, batch: Batch, most: float, alpha: float, direction: Vector
) -> None:
    """Undo half of θ ← θ + αd, at most three times over, while the batch's mean loss is above `most`."""
    for _ in range(HALVINGS):
        if float(oracle.values(loss, batch).mean()) <= most:
            return
        alpha /= 2
        oracle.move(-alpha, direction)


def stationarity_push(
    oracle: Oracle,
    forget: tuple[Loss, Batch],
    retain: tuple[Loss, Batch],
    weigh: Callable[[Vector, Vector], float],
) -> tuple[Vector, float]:
    """(∇‖∇Φ‖², ‖∇Φ‖) with β = weigh(g_f, ∇cos); zero where there is no cosine (every target reached)."""
    try:
        parts = inner(oracle, forget, retain, again=True)
        beta = weigh(parts.forget_grad, parts.similarity_grad)
        return penalty_gradient(oracle, parts, beta), vectors.length(parts.gradient(beta))
    except ZeroDivisionError:
        return vectors.zeros_like(oracle.params), 0.0


def first(batch: Batch, most: int) -> Batch:
    """The first `most` samples of a batch: enough for a curvature term, at a fraction of its cost."""
    return batch if len(batch) <= most else batch[:most]


def mean_target(targets: Targets | None, rows: Sequence[int]) -> float | None:
    """Mean τ of these forget rows; None where there are no targets."""
    if targets is None:
        return None
    means: list[Tensor] = [targets.values[row].float().mean() for row in rows]
    return float(torch.stack(means).mean())


def repaired_level(task: Task, slack: float) -> float:
    """L_r at which retention counts as repaired: the original's, plus `slack` of the way to the unseen level.

    The unseen level is the held-out loss, else the mean target, else there is no slack.
    """
    unseen = task.unseen_level
    if unseen is None:
        unseen = float(task.targets.per_sample.mean()) if task.targets is not None else task.retain_level
    return task.retain_level + slack * max(unseen - task.retain_level, 0.0)


def mean_over_forget(task: Task, oracle: Oracle, loss: Loss) -> float:
    """The mean of `loss` over the whole forget set, without a gradient."""
    samples, total = task.forget.samples, 0.0
    for start in range(0, len(samples), task.forget_batch):
        batch = samples.batch(range(start, min(start + task.forget_batch, len(samples))))
        total += float(oracle.values(loss, batch).per_sample().sum())
    return total / len(samples)
