"""One method on one task, watched: the model it leaves, its path and its cost."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import Module

from ..engine.loop import Diverged, Event, unlearn
from ..engine.measure import Meter
from ..engine.measuring import Monitor
from ..engine.oracles import build_oracle
from ..engine.prepare import UNIT, Parts, Prepared
from ..report.model import Point
from ..tasks import Method

LOOKS = 6  # points of a trajectory, at most about


@dataclass(frozen=True)
class Budget:
    """What a run may spend: sample-gradients (preparation included) and steps.

    nearest: a run ends at the step whose end is nearest to `samples`; otherwise the step that exceeds it is
    finished, which favours methods of long steps by up to one step.
    """

    samples: float
    steps: int = 1_000_000
    nearest: bool = False

    def spent(self, before: float, now: float) -> bool:
        """Whether a run ends after a step that took its cost from `before` to `now`."""
        return now >= self.samples or (self.nearest and now + (now - before) / 2 > self.samples)


@dataclass(frozen=True)
class Run:
    """A finished run. cost and setup_cost in sample-gradients; seconds on the clock, cpu_seconds of the processor;
    ended: why it stopped, or how it failed. notes: how it was prepared, in sentences. peak_bytes: of the
    GPU's memory where `gpu`, else of the process's.
    """

    model: Module
    points: list[Point]
    cost: float
    setup_cost: float
    seconds: float
    peak_bytes: int | None
    ended: str
    failed: bool
    cpu_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    gpu: bool = False


def run_method(
    model: Module,
    prepared: Prepared,
    parts: Parts,
    method: Method,
    budget: Budget,
    *,
    autocast: torch.dtype | None = None,
    looks: int = LOOKS,
    watch: Callable[[Event], Any] | None = None,
    cosine: bool = False,
) -> Run:
    """Unlearn a copy of `model`; divergence ends the run with the last good parameters and is said in `ended`.

    So do watched losses that are no finite numbers, with the parameters that gave them.
    cosine: every point has cos(g_f, g_r) too, of fixed samples, outside the cost.
    """
    task = prepared.task
    model = copy.deepcopy(model)
    monitor = Monitor(parts.forget, parts.retain, parts.heldout, task.loss, most=64, cosine=cosine)
    points = [_point(0, 0.0, monitor.look(model), prepared)]
    prepared.begin(model)
    oracle, _ = build_oracle(model, task, method, autocast=autocast)
    oracle.cost = prepared.cost
    ended, failed, due, before = "no step was taken", False, oracle.cost, oracle.cost
    with Meter() as meter:
        try:
            for event in unlearn(task, method, oracle, budget.steps, budget=budget.samples):
                if watch is not None:
                    watch(event)
                last = event.last or ("the budget is spent" if budget.spent(before, event.cost) else None)
                if event.cost >= due or last is not None:
                    seen = monitor.look(model)
                    if not all(map(math.isfinite, seen.values())):
                        ended, failed = f"step {event.step}: it left losses that are no finite numbers", True
                        break
                    points.append(_point(event.step, event.cost, seen, prepared))
                    due = event.cost + (budget.samples - prepared.cost) / looks
                ended, before = last or ended, event.cost
                if last is not None:
                    break
        except Diverged as error:
            ended, failed = str(error), True
    usage = meter.usage
    device = device_of(model)
    spent = (oracle.cost, prepared.cost, usage.wall_seconds, usage.peak_on(device))
    on_gpu = device.type == "cuda"
    return Run(model, points, *spent, ended, failed, usage.cpu_seconds, prepared.notes, on_gpu)


def device_of(model: Module) -> torch.device:
    """Where a model computes: the device of its first parameter."""
    return next(model.parameters()).device


def _point(step: int, cost: float, seen: dict[str, float], prepared: Prepared) -> Point:
    task = prepared.task
    target = None if task.targets is None else float(task.targets.per_sample.mean())
    return Point(
        step,
        cost / UNIT[task.kind],
        seen["forget_loss"],
        target,
        seen["retain_loss"],
        task.retain_level,
        seen.get("heldout_loss"),
        seen.get("cosine"),
    )
