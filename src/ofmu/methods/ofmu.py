"""OFMU: forget first, then repair (Asif & Mohammadi Amiri, arXiv 2509.22483).

    inner, T times   θ ← θ + η ∇Φ(θ),            Φ = L_f − β cos(∇L_f, ∇L_r)
    outer, once      θ ← θ − η' (g_r + ρ_k ∇‖∇Φ‖²),   which descends F = L_r + ρ_k ‖∇Φ‖²

`OFMU.paper()` is exactly that. It does not work as printed: cross-entropy has no maximum to stop at, near a
minimum ∇cos and the penalty are orders of magnitude longer than the loss gradients, and one repair step per
ascent is not enough. The defaults are the same two loops with one safeguard for each of these.
"""

from __future__ import annotations

import dataclasses
import math
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from ..core import vectors
from ..core.inner import Inner, between, linearized, penalty_gradient
from ..core.oracle import Evaluation, Known, Linearization, Oracle
from ..core.schedule import Lagrangian, Memory
from ..core.similarity import Nothing
from ..core.terms import Loss
from ..core.vectors import Vector, combine, dot
from ..losses import KLToReference
from ..tasks import Batch, Task
from .ascent import (
    NEAR,
    adam_divided,
    adam_scaled,
    averaged,
    balanced_weight,
    decorrelated,
    direction_cosine,
    first,
    halve_overshoot,
    lagrangian_push,
    mean_target,
    pace,
    repaired_level,
    step_length,
)
from .base import Log
from .exit_rule import forgotten, missed
from .ofmu_fields import OFMUFields, OFMUState

__all__ = ["OFMU", "OFMUState"]
# fields that are younger than stored runs, and what they were then
LATER = {"stationary": None, "lookahead": 1.0, "brief": None, "momentum": 0.0, "brake": None, "cooling": 0.0}


@dataclass(frozen=True)
class OFMU(OFMUFields):
    """The two loops; `OFMUFields` has the hyper-parameters, the safeguards and the presets."""

    def __repr__(self) -> str:
        """Every field, but those of `LATER` where they are not set: runs are stored under this text."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        said = {name: value for name, value in values.items() if name not in LATER or value != LATER[name]}
        return f"OFMU({', '.join(f'{name}={value!r}' for name, value in said.items())})"

    def init(self, task: Task, oracle: Oracle) -> OFMUState:
        """A fresh optimiser, the size of θ₀, and what the ascents average, from zero."""
        moments = vectors.zeros_like(oracle.params) if self.scaling == "adam" else []
        heading = vectors.zeros_like(oracle.params) if self.momentum else []
        size = vectors.length(oracle.params)
        optimizer = self.outer.build(oracle.params)
        return OFMUState(optimizer, size, moments=moments, heading=heading, begun=oracle.cost)

    def step(self, task: Task, oracle: Oracle, state: OFMUState) -> tuple[OFMUState, Log]:
        """One outer iteration: ascend Φ up to T times, then descend L_r (penalty first) until repaired.

        None is made where the start has left nothing to forget (`task.settled`); ValueError for a model that is
        not at that start.
        """
        if self.start == "head" and task.settled is not None:
            if not math.isclose(state.size, task.settled.size, rel_tol=1e-4):
                raise ValueError(
                    "model: it is not at the start that was prepared; call Prepared.begin(model) first"
                )
            return state, Log(done=True, why=task.settled.why)
        return self.within(task)._round(task, oracle, state)

    def _round(self, task: Task, oracle: Oracle, state: OFMUState) -> tuple[OFMUState, Log]:
        """One outer iteration from where θ is."""
        state.pace = pace(self.cooling, state.begun, oracle.cost, task.budget)
        strained = self.brake is not None and state.retain_loss > repaired_level(task, self.brake)
        began = [] if strained or self.lookahead == 1 else vectors.copy_of(oracle.params)
        numbers, batch = ({"ascents": 0.0}, None) if strained else self._ascend(task, oracle, state)
        settled = batch is None and not strained and (state.repaired or not self.settled)
        if settled and self._holds(task, oracle, state):
            return state, Log(numbers, done=True)
        level = None if self.slack is None else repaired_level(task, self.slack)
        numbers |= self._descend(task, oracle, state, batch, level)
        if began and numbers["ascents"] < self.inner_steps:
            vectors.toward_(oracle.params, began, 1 - self.lookahead)
        kept = numbers["retain_objective"]
        state = replace(state, round=state.round + 1, repaired=level is None or kept <= level, retain_loss=kept)
        length = numbers.get("stationarity", math.inf)
        if self.stationary is not None and length <= self.stationary:
            return state, Log(numbers, done=True, why=f"stationary: ‖∇Φ‖ = {length:.3g} ≤ {self.stationary:g}")
        return state, Log(numbers)

    # inner loop

    def _ascend(self, task: Task, oracle: Oracle, state: OFMUState) -> tuple[dict[str, float], Batch | None]:
        """Up to T ascent steps; returns the numbers to log and the last batch that was still below target."""
        loss = self.forget.bind(task)
        last, numbers = None, {"ascents": 0.0}
        for _ in range(self.inner_steps):
            batch = task.forget.next(task.forget_batch)
            point, line = self._look(oracle, state, loss, batch)
            target = mean_target(task.targets, batch.rows.tolist())
            numbers["forget_objective"] = point.value
            if self.hold is not None and target is not None and point.value >= self.hold * target:
                continue
            grad = point.grad()  # before any probe: differences move the parameters that its graph saved
            direction = self._direction(task, oracle, state, (loss, batch), grad, line)
            reach = vectors.length(direction)
            if reach == 0.0:
                continue
            looks = target is not None and (self.scaling != "fixed" or self.overshoot is not None)
            slope = float(dot(grad, direction)) / reach if looks else 0.0  # nobody else asks for it
            length = self._length(oracle, state, reach, point.value, target, slope)
            oracle.move(length / reach, direction)
            if self.overshoot is not None and target is not None and point.value + length * slope > NEAR * target:
                halve_overshoot(oracle, task.loss, batch, self.overshoot * target, length / reach, direction)
            last = batch
            numbers["ascents"] += 1
        return numbers, last

    def _look(
        self, oracle: Oracle, state: OFMUState, loss: Loss, batch: Batch
    ) -> tuple[Evaluation, Linearization | None]:
        """L_f here; with its curvature where ∇Sim is due on the same samples, which then shares the gradient."""
        if self.beta == 0 or self._reusable(state) or len(batch) > self.curvature_batch:
            return oracle.evaluate(loss, batch), None
        line = oracle.linearize(loss, batch, slot="forget")
        return Known(line.value, line.grad), line

    def _direction(
        self,
        task: Task,
        oracle: Oracle,
        state: OFMUState,
        forget: tuple[Loss, Batch],
        grad: Vector,
        line: Linearization | None,
    ) -> Vector:
        """D, the ascent direction, from the forget gradient."""
        direction = grad
        if self.beta != 0:
            pull = self._pull(task, oracle, state, forget, line)
            if pull is not None:
                direction = combine(1.0, grad, -self._weight(grad, pull), pull)
        state.ascents += 1
        if self.momentum:
            direction = averaged(direction, state.heading, self.momentum, state.ascents)
        if self.scaling == "adam":
            direction = adam_scaled(direction, grad, state.moments, state.ascents)
        return self._projected(task, oracle, state, direction) if self.project else direction

    def _projected(self, task: Task, oracle: Oracle, state: OFMUState, direction: Vector) -> Vector:
        """The direction without what, to first order, would raise the outer loss."""
        _, harm = oracle.grad(self.retain.bind(task), task.retain.next(task.forget_batch))
        harm = self._with_neutral(task, oracle, harm, {})
        scaled = adam_divided(harm, state.moments, state.ascents) if self.scaling == "adam" else harm
        return decorrelated(direction, harm, scaled)

    def _with_neutral(self, task: Task, oracle: Oracle, grad: Vector, numbers: dict[str, float]) -> Vector:
        """The retain gradient with λ ∇KL on held-out text added."""
        if self.neutral == 0 or task.neutral is None:
            return grad
        batch = task.neutral.next(task.neutral_batch)
        numbers["neutral_objective"], drift = oracle.grad(KLToReference().bind(task), batch)
        return combine(1.0, grad, self.neutral, drift)

    def _reusable(self, state: OFMUState) -> bool:
        return state.lazy and bool(state.pull) and state.age < self.refresh

    def _pull(
        self,
        task: Task,
        oracle: Oracle,
        state: OFMUState,
        forget: tuple[Loss, Batch],
        line: Linearization | None,
    ) -> Vector | None:
        """∇Sim, fresh or recent; None where one gradient vanishes: there is no angle to change."""
        if self._reusable(state):
            state.age += 1
            return state.pull
        few = self.curvature_batch
        retain = self.retain.bind(task), task.retain.next(min(few, task.retain_batch))
        try:
            f = line or oracle.linearize(forget[0], first(forget[1], few), slot="forget")
            r = oracle.linearize(*retain, slot="retain", light=oracle.streamed)
            pull = between(oracle, f, r, self.similarity, self._known_weight).similarity_grad
        except ZeroDivisionError:
            return None
        if self.refresh > 1 and state.lazy:
            state.lazy = not state.pull or direction_cosine(pull, state.pull) >= self.drift
            state.pull, state.age = (pull, 1) if state.lazy else ([], 0)
        return pull

    @property
    def _known_weight(self) -> float | None:
        """β, where it does not follow from ∇Sim."""
        return None if self.balanced else self.beta

    def _weight(self, forget_grad: Vector, similarity_grad: Vector) -> float:
        return balanced_weight(self.beta, forget_grad, similarity_grad) if self.balanced else self.beta

    def _length(
        self, oracle: Oracle, state: OFMUState, reach: float, value: float, target: float | None, slope: float
    ) -> float:
        """How far to go along d̂: the fixed rate, or the trust radius cut at the Polyak length."""
        rate = self.rate * state.pace * self.priority.factors(state.round)[0]
        if self.scaling == "fixed":
            return rate * reach
        if self.scaling == "raw":
            radius = rate * state.size
        else:
            radius = rate * self.outer.lr * math.sqrt(sum(p.numel() for p in oracle.params))
        return step_length(radius, value, target, slope)

    # outer loop

    def _descend(
        self, task: Task, oracle: Oracle, state: OFMUState, forget_batch: Batch | None, level: float | None
    ) -> dict[str, float]:
        """The penalised outer step, then repair: retain steps until L_r is back at its level."""
        loss = self.retain.bind(task)
        fewest, most = self.repair
        average = math.nan
        numbers: dict[str, float] = {}
        for j in range(most):
            batch = task.retain.next(task.retain_batch)
            parts, point = None, None
            if j == 0 and forget_batch is not None and self.penalty is not None:
                parts = self._parts(task, oracle, forget_batch, (loss, batch))
            if parts is not None and len(batch) <= self.curvature_batch:
                value, grad = parts.retain_value, [g.detach() for g in parts.retain_grad]
            else:
                point = oracle.evaluate(loss, batch)
                value = point.value
            average = value if j == 0 else self.memory * average + (1 - self.memory) * value
            numbers |= {"retain_objective": average, "repairs": float(j)}
            if j >= fewest and (level is None or average <= level):
                break
            if point is not None:
                grad = point.grad()
            grad = self._with_neutral(task, oracle, grad, numbers)
            if parts is not None:
                grad, numbers["stationarity"] = self._penalised(oracle, state, parts, grad)
            factor = state.pace * self.priority.factors(state.round)[1]
            self.outer.apply(state.optimizer, oracle.params, grad, factor)
            numbers["repairs"] = float(j + 1)
        return numbers

    def _parts(self, task: Task, oracle: Oracle, forget_batch: Batch, retain: tuple[Loss, Batch]) -> Inner:
        """∇Φ's parts, to be differentiated again; where a gradient vanishes Φ is L_f, without a similarity."""
        few = self.curvature_batch
        forget = self.forget.bind(task), first(forget_batch, few)
        pair = linearized(oracle, forget, (retain[0], first(retain[1], few)), again=True)
        with suppress(ZeroDivisionError):
            measure = self.similarity if self.beta != 0 else Nothing()
            return between(oracle, *pair, measure, self._known_weight)
        return between(oracle, *pair, Nothing())

    def _penalised(self, oracle: Oracle, state: OFMUState, parts: Inner, grad: Vector) -> tuple[Vector, float]:
        """(g_r with the penalty's push added, ‖∇Φ‖); no push where ∇Φ is lost in rounding beside g_r."""
        assert self.penalty is not None  # else there are no parts
        beta = self._weight(parts.forget_grad, parts.similarity_grad)
        stationarity = vectors.length(parts.gradient(beta))
        if stationarity <= torch.finfo(oracle.params[0].dtype).eps * vectors.length(parts.retain_grad):
            return grad, stationarity
        memory = self.penalty.observe(Memory(state.growths, state.mark), stationarity)
        state.growths, state.mark = memory.growths, memory.last
        if isinstance(self.penalty, Lagrangian):
            rho = self.penalty.weight(state.round, 0.0, 0.0, memory)
            push, state.multiplier = lagrangian_push(
                oracle, parts, beta, rho, state.multiplier, self.penalty.reach
            )
            return combine(1.0, grad, 1.0, push), stationarity
        push = penalty_gradient(oracle, parts, beta)
        rho = self.penalty.weight(state.round, vectors.length(grad), vectors.length(push), memory)
        return combine(1.0, grad, rho, push), stationarity

    def _holds(self, task: Task, oracle: Oracle, state: OFMUState) -> bool:
        """The exit rule: the target holds on the whole forget set, after repair, after enough iterations."""
        if self.rounds is None or state.round < self.rounds:
            return False
        asked = forgotten(self, task, oracle)
        return asked is not None and asked[0] >= asked[1]

    def missed(self, task: Task, oracle: Oracle) -> list[str]:
        """What a finished run has not reached, in sentences (`exit_rule.missed`)."""
        return missed(self, task, oracle)
