"""The arithmetic of OFMU's two loops: directions, step lengths, the penalty's push, what counts as done."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..core import vectors
from ..core.inner import Inner, penalty_gradient
from ..core.oracle import Oracle
from ..core.terms import Loss
from ..core.vectors import Vector, combine
from ..tasks import Batch, Targets, Task

KEPT, NEW = 0.9, 0.1  # weights of the running mean of squared ascent gradients
HALVINGS = 3
NEAR = 0.6  # below this share of the target no step was ever seen to pass it: not worth a forward pass


def balanced_weight(beta: float, forget_grad: Vector, similarity_grad: Vector) -> float:
    """β‖g_f‖/‖∇cos‖, so that β is the share of the cosine in d; 0 where ∇cos vanishes."""
    length = vectors.length(similarity_grad)
    return beta * vectors.length(forget_grad) / length if length > 0 else 0.0


def averaged(direction: Vector, heading: Vector, kept: float, ascents: int) -> Vector:
    """The bias-corrected running mean of directions, updated in place; `ascents` counts this one."""
    vectors.toward_(heading, direction, 1 - kept)
    return vectors.scale(1 / (1 - kept**ascents), heading)


def adam_scaled(direction: Vector, grad: Vector, moments: Vector, ascents: int) -> Vector:
    """d/(√v̂ + 1e-6), v̂ the bias-corrected running mean of g_f², updated in place; `ascents` counts this one."""
    torch._foreach_mul_(moments, KEPT)
    torch._foreach_addcmul_(moments, grad, grad, value=NEW)
    return adam_divided(direction, moments, ascents)


def adam_divided(direction: Vector, moments: Vector, ascents: int) -> Vector:
    """d/(√v̂ + 1e-6), the moments as they are."""
    correction = 1 - KEPT**ascents
    return [d / ((m / correction).sqrt() + 1e-6) for d, m in zip(direction, moments, strict=True)]


def decorrelated(direction: Vector, harm: Vector, scaled: Vector) -> Vector:
    """D − ⟨d, h⟩/⟨Ph, h⟩ Ph where ⟨d, h⟩ > 0, else d: to first order it does not raise the loss of gradient h.

    h: harm; Ph: scaled, h in the direction's own scaling, so that what is taken away is its shortest equivalent.
    """
    along, across = float(vectors.dot(direction, harm)), float(vectors.dot(scaled, harm))
    return combine(1.0, direction, -along / across, scaled) if along > 0 and across > 0 else direction


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


def direction_cosine(a: Vector, b: Vector) -> float:
    """cos(a, b); 0 where either vanishes."""
    size = vectors.length(a) * vectors.length(b)
    return float(vectors.dot(a, b)) / size if size > 0 else 0.0


def lagrangian_push(
    oracle: Oracle, parts: Inner, beta: float, rho: float, multiplier: Vector, reach: float
) -> tuple[Vector, Vector]:
    """(∇²Φ (λ + 2ρ∇Φ), the next λ), of the constraint ∇Φ = 0 in the augmented Lagrangian."""
    phi = [x.detach() for x in parts.gradient(beta)]
    direction = combine(2 * rho, phi, 1.0, multiplier) if multiplier else vectors.scale(2 * rho, phi)
    push = vectors.scale(0.5, penalty_gradient(oracle, parts, beta, direction))
    most, length = reach * 2 * rho * vectors.length(phi), vectors.length(direction)
    return push, direction if length <= most else vectors.scale(most / length, direction)


def first(batch: Batch, most: int) -> Batch:
    """The first `most` samples of a batch: enough for a curvature term, at a fraction of its cost."""
    return batch if len(batch) <= most else batch[:most]


def mean_target(targets: Targets | None, rows: Sequence[int]) -> float | None:
    """Mean τ of these forget rows; None where there are no targets."""
    if targets is None:
        return None
    return float(targets.per_sample[list(rows)].mean())


def repaired_level(task: Task, slack: float) -> float:
    """L_r at which retention counts as repaired: the original's, plus `slack` of the way to the unseen level.

    The unseen level is the held-out loss, else the mean target, else there is no slack.
    """
    unseen = task.unseen_level
    if unseen is None:
        unseen = float(task.targets.per_sample.mean()) if task.targets is not None else task.retain_level
    return task.retain_level + slack * max(unseen - task.retain_level, 0.0)


def pace(cooling: float, begun: float, spent: float, budget: float | None) -> float:
    """What rates are multiplied by: 1, and over the last `cooling` of what `budget` left at `begun` down to 0."""
    if cooling == 0 or budget is None or budget <= begun:
        return 1.0
    left = (budget - spent) / (budget - begun)
    return min(1.0, max(left, 0.0) / cooling)
