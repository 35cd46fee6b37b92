"""OFMU: forget first, then repair (Asif & Mohammadi Amiri, arXiv 2509.22483).

    inner, T times   θ ← θ + η ∇Φ(θ),            Φ = L_f − β cos(∇L_f, ∇L_r)
    outer, once      θ ← θ − η' (g_r + ρ_k ∇‖∇Φ‖²),   which descends F = L_r + ρ_k ‖∇Φ‖²

`OFMU.paper()` is exactly that. It does not work as printed: cross-entropy has no maximum to stop at, near a
minimum ∇cos and the penalty are orders of magnitude longer than the loss gradients, and one repair step per
ascent is not enough. The defaults are the same two loops with one safeguard for each of these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from ..core import vectors
from ..core.inner import inner, penalty_gradient
from ..core.oracle import Evaluation, Oracle
from ..core.schedule import Geometric, Relative
from ..core.terms import Loss
from ..core.vectors import Vector, combine, dot, scale
from ..losses import NLL, Bounded, Objective
from ..tasks import Batch, Task
from .base import Descent, Log


@dataclass
class OFMUState:
    """round: outer iterations done. size: ‖θ₀‖. moments: running mean of squared ascent gradients (scaling =
    "adam"), over `ascents` steps.
    """

    optimizer: torch.optim.Optimizer
    size: float
    round: int = 0
    ascents: int = 0
    moments: Vector = field(default_factory=list)


@dataclass(frozen=True)
class OFMU:
    """The hyper-parameters; each safeguard is a field, and says why it is there.

    forget: what is ascended. Bounded at the unseen level, Φ has a maximum (cross-entropy has none, and its
        saturation passes for stationarity: a destroyed model).
    beta, balanced: weight of the cosine. Balanced, β is relative: d = g_f − β (‖g_f‖/‖∇cos‖) ∇cos, since near a
        minimum ‖∇cos‖ is hundreds of times ‖g_f‖.
    inner_steps: T, at most; fewer once the target holds.
    scaling, rate: "fixed": η = rate (printed). "raw": a step of length ≤ rate · ‖θ₀‖ along d. "adam": d is
        divided by the root of its running mean square, and a step is ≤ rate · (outer lr) · √(#parameters): language
        models need it, one raw step of useful length breaks them. "raw" and "adam" never step beyond where the
        linear model meets the target (Polyak): length ≤ (mean τ − L_f)/(g_f · d̂).
    overshoot: after a step that may have passed the target, halve it while the batch's loss exceeds overshoot ·
        mean τ (None: never).
    hold: the target holds where L_f ≥ hold · mean τ; such a batch is not ascended (None: always ascend).
    penalty: ρ_k; relative to ‖g_r‖, as a fixed one is either nothing or ruin. Only the first outer step after an
        ascent carries it; the repair steps that follow descend L_r alone. None: no stationarity term.
    outer: the outer optimiser, its gradient clipped.
    repair: (fewest, most) outer steps per iteration: one, as printed, collapses.
    slack: repair ends when L_r (averaged with memory `memory`) is back at the original's level plus slack · (unseen
        level − that level). None: always the fewest steps.
    rounds: fewest outer iterations before the exit rule (target holds after repair) is asked. None: no exit.
    """

    forget: Objective = field(default_factory=Bounded)
    retain: Objective = field(default_factory=NLL)
    beta: float = 0.1
    curvature_batch: int = 32
    balanced: bool = True
    inner_steps: int = 5
    scaling: Literal["fixed", "raw", "adam"] = "raw"
    rate: float = 0.01
    overshoot: float | None = None
    hold: float | None = 0.9
    penalty: Geometric | Relative | None = field(default_factory=Relative)
    outer: Descent = field(default_factory=lambda: Descent("sgd", 0.3, clip=0.3))
    repair: tuple[int, int] = (5, 60)
    slack: float | None = 0.05
    memory: float = 0.5
    rounds: int | None = 3

    def __post_init__(self) -> None:
        if self.balanced and not 0 <= self.beta < 1:
            raise ValueError(f"OFMU: balanced beta is {self.beta}, expected 0 ≤ β < 1 (else d may not ascend L_f)")
        if not 1 <= self.repair[0] <= self.repair[1]:
            raise ValueError(f"OFMU: repair is {self.repair}, expected 1 ≤ fewest ≤ most")

    @classmethod
    def paper(
        cls,
        *,
        beta: float = 0.1,
        inner_steps: int = 5,
        inner_lr: float = 1e-2,
        outer_lr: float = 1e-2,
        rho: float = 0.01,
        growth: float = 1.1,
    ) -> OFMU:
        """The printed algorithm: unbounded L_f, fixed steps, one outer step, ρ_k = ρ·γ^k, no exit before K."""
        return cls(
            forget=NLL(),
            beta=beta,
            balanced=False,
            inner_steps=inner_steps,
            scaling="fixed",
            rate=inner_lr,
            hold=None,
            penalty=Geometric(rho, growth),
            outer=Descent("sgd", outer_lr),
            repair=(1, 1),
            slack=None,
            rounds=None,
        )

    @classmethod
    def text(cls, lr: float) -> OFMU:
        """The language preset: a bound per answer token, a gate per sample, Adam-scaled ascent.

        β = 0 and no stationarity term by measurement: under Adam's scaling the cosine reduced none of the
        retain damage at three times the cost. `lr` is the outer AdamW's.
        """
        return cls(
            forget=Bounded("token", gate=True),
            beta=0.0,
            inner_steps=8,
            scaling="adam",
            rate=0.3,
            overshoot=1.25,
            hold=0.9,
            penalty=None,
            outer=Descent("adamw", lr, clip=1.0),
            repair=(1, 8),
            slack=0.006,
            memory=0.0,
            rounds=1,
        )

    def init(self, task: Task, oracle: Oracle) -> OFMUState:
        """A fresh optimiser, and the size of θ₀."""
        moments = vectors.zeros_like(oracle.params) if self.scaling == "adam" else []
        size = vectors.length(oracle.params)
        return OFMUState(self.outer.build(oracle.params), size, moments=moments)

    def step(self, task: Task, oracle: Oracle, state: OFMUState) -> tuple[OFMUState, Log]:
        """One outer iteration: ascend Φ up to T times, then descend L_r (with the penalty first) until repaired."""
        numbers, batch = self._ascend(task, oracle, state)
        if batch is None and self._holds(task, oracle, state):
            return state, Log(numbers, done=True)
        numbers |= self._descend(task, oracle, state, batch)
        return replace(state, round=state.round + 1), Log(numbers)

    # inner loop

    def _ascend(self, task: Task, oracle: Oracle, state: OFMUState) -> tuple[dict[str, float], Batch | None]:
        """Up to T ascent steps; returns the numbers to log and the last batch that was still below target."""
        loss = self.forget.bind(task)
        last, numbers = None, {"ascents": 0.0}
        for _ in range(self.inner_steps):
            batch = task.forget.next(task.forget_batch)
            point = oracle.evaluate(loss, batch)
            target = _mean_target(task, batch)
            numbers["forget_objective"] = point.value
            if self.hold is not None and target is not None and point.value >= self.hold * target:
                continue
            grad, direction = self._direction(task, oracle, state, (loss, batch), point)
            reach = vectors.length(direction)
            if reach == 0.0:
                continue
            length = self._length(oracle, state, point.value, target, grad, direction, reach)
            oracle.move(length / reach, direction)
            if self.overshoot is not None and target is not None:
                slope = float(dot(grad, direction)) / reach
                self._halve(task, oracle, batch, target, point.value + length * slope, length / reach, direction)
            last = batch
            numbers["ascents"] += 1
        return numbers, last

    def _direction(
        self, task: Task, oracle: Oracle, state: OFMUState, forget: tuple[Loss, Batch], point: Evaluation
    ) -> tuple[Vector, Vector]:
        """(g_f, d): the forget gradient and the ascent direction, a vector of its own."""
        if self.beta == 0:
            grad = point.grad()
            direction = grad
        else:
            few = self.curvature_batch
            retain = self.retain.bind(task), task.retain.next(min(few, task.retain_batch))
            try:
                parts = inner(oracle, (forget[0], _some(forget[1], few)), retain)
            except ZeroDivisionError:  # one gradient vanishes: there is no angle between them to change
                grad = point.grad()
                direction = grad
            else:
                grad = point.grad()
                weight = self._weight(grad, parts.similarity_grad)
                direction = combine(1.0, grad, -weight, parts.similarity_grad)
        if self.scaling != "adam":
            return grad, direction
        state.ascents += 1
        torch._foreach_mul_(state.moments, 0.9)
        torch._foreach_addcmul_(state.moments, grad, grad, value=0.1)
        correction = 1 - 0.9**state.ascents
        return grad, [d / ((m / correction).sqrt() + 1e-6) for d, m in zip(direction, state.moments, strict=True)]

    def _weight(self, forget_grad: Vector, similarity_grad: Vector) -> float:
        """β, or β‖g_f‖/‖∇cos‖ where balanced."""
        if not self.balanced:
            return self.beta
        length = vectors.length(similarity_grad)
        return self.beta * vectors.length(forget_grad) / length if length > 0 else 0.0

    def _length(
        self,
        oracle: Oracle,
        state: OFMUState,
        value: float,
        target: float | None,
        grad: Vector,
        direction: Vector,
        reach: float,
    ) -> float:
        """How far to go along d: the fixed rate, or the trust radius cut at the Polyak length."""
        if self.scaling == "fixed":
            return self.rate * reach
        if self.scaling == "raw":
            radius = self.rate * state.size
        else:
            radius = self.rate * self.outer.lr * math.sqrt(sum(p.numel() for p in oracle.params))
        slope = float(dot(grad, direction)) / reach
        if target is None or slope <= 0:
            return radius
        return min(radius, (target - value) / slope)

    def _halve(
        self,
        task: Task,
        oracle: Oracle,
        batch: Batch,
        target: float,
        predicted: float,
        alpha: float,
        direction: Vector,
    ) -> None:
        """Step back by halves, at most three times, while the batch's own loss is beyond overshoot · target."""
        assert self.overshoot is not None
        if predicted <= 0.6 * target:
            return
        for _ in range(3):
            if float(oracle.values(task.loss, batch).mean()) <= self.overshoot * target:
                return
            alpha /= 2
            oracle.move(-alpha, direction)

    # outer loop

    def _descend(
        self, task: Task, oracle: Oracle, state: OFMUState, forget_batch: Batch | None
    ) -> dict[str, float]:
        """The penalised outer step, then repair: retain steps until L_r is back at its level."""
        loss, level = self.retain.bind(task), self._repaired_level(task)
        fewest, most = self.repair
        average, numbers = math.nan, {}
        for j in range(most):
            batch = task.retain.next(task.retain_batch)
            point = oracle.evaluate(loss, batch)
            average = point.value if j == 0 else self.memory * average + (1 - self.memory) * point.value
            numbers = numbers | {"retain_objective": average, "repairs": float(j)}
            if j >= fewest and (level is None or average <= level):
                break
            grad = point.grad()
            if j == 0 and forget_batch is not None and self.penalty is not None:
                push, stationarity = self._penalty(
                    task,
                    oracle,
                    state,
                    _some(forget_batch, self.curvature_batch),
                    (loss, _some(batch, self.curvature_batch)),
                    grad,
                )
                grad = combine(1.0, grad, 1.0, push)
                numbers["stationarity"] = stationarity
            self.outer.apply(state.optimizer, oracle.params, grad)
            numbers["repairs"] = float(j + 1)
        return numbers

    def _repaired_level(self, task: Task) -> float | None:
        if self.slack is None:
            return None
        unseen = task.unseen_level
        if unseen is None:
            unseen = float(task.targets.per_sample.mean()) if task.targets is not None else task.retain_level
        return task.retain_level + self.slack * max(unseen - task.retain_level, 0.0)

    def _penalty(
        self,
        task: Task,
        oracle: Oracle,
        state: OFMUState,
        forget_batch: Batch,
        retain: tuple[Loss, Any],
        retain_grad: Vector,
    ) -> tuple[Vector, float]:
        """(ρ_k ∇‖∇Φ‖², ‖∇Φ‖) at the current parameters; zero where Φ is flat (every target reached)."""
        assert self.penalty is not None
        forget = self.forget.bind(task), forget_batch
        try:
            parts = inner(oracle, forget, retain)
            beta = self._weight(parts.forget_grad, parts.similarity_grad) if self.beta > 0 else 0.0
            phi = parts.gradient(beta)
            push = penalty_gradient(oracle, forget, retain, beta, phi)
        except ZeroDivisionError:
            return vectors.zeros_like(oracle.params), 0.0
        rho = self.penalty.weight(state.round, vectors.length(retain_grad), vectors.length(push))
        return scale(rho, push), vectors.length(phi)

    def _holds(self, task: Task, oracle: Oracle, state: OFMUState) -> bool:
        """The exit rule: the target holds on the whole forget set, after repair, after enough iterations."""
        if self.rounds is None or self.hold is None or task.targets is None or state.round < self.rounds:
            return False
        loss, samples = self.forget.bind(task), task.forget.samples
        total = 0.0
        for start in range(0, len(samples), task.forget_batch):
            batch = samples.batch(range(start, min(start + task.forget_batch, len(samples))))
            total += float(oracle.values(loss, batch).per_sample().sum())
        return total / len(samples) >= self.hold * float(task.targets.per_sample.mean())


def _some(batch: Batch, most: int) -> Batch:
    """The first `most` samples of a batch: enough for a curvature term, at a fraction of its cost."""
    if len(batch) <= most:
        return batch
    inputs = {name: value[:most] for name, value in batch.inputs.items()}
    return Batch(batch.rows[:most], inputs, batch.labels[:most])


def _mean_target(task: Task, batch: Batch) -> float | None:
    if task.targets is None:
        return None
    return float(torch.stack([task.targets.values[row].float().mean() for row in batch.rows.tolist()]).mean())
