"""A run seen from outside: the points of its trajectory, its bar, and the last state whose losses were finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ofmu.cli.job import Job, Progress, gradient
from ofmu.cli.say import Bar
from ofmu.core import vectors
from ofmu.core.vectors import Vector
from ofmu.engine.loop import Diverged, Event
from ofmu.engine.measuring import Monitor
from ofmu.engine.prepare import Prepared
from ofmu.losses import BASE_LOSSES
from ofmu.report.model import Point
from ofmu.tasks import Kind

LOOKS = 40  # points of a trajectory, at most about
WATCHING = 0.2  # of the budget: what looking at the path may take beside it; fewer points are looked at then
MOST: dict[Kind, int] = {"image": 256, "text": 48}  # samples of each part at a look


@dataclass
class Watch:
    """Measures the run from outside and shows it."""

    job: Job
    prepared: Prepared
    progress: Progress
    bar: Bar
    params: Vector

    def __post_init__(self) -> None:
        self.good = vectors.copy_of(self.params)
        self.good_step = self.progress.snapshot["step"] if self.progress.snapshot else 0
        parts = self.job.parts
        most = MOST[self.job.kind]
        self.monitor = Monitor(parts.forget, parts.retain, parts.heldout, BASE_LOSSES[self.job.kind], most)
        seen = [min(len(part), most) for part in (parts.forget, parts.retain, parts.heldout) if part is not None]
        self.between = max((self.job.budget - self.prepared.cost) / LOOKS, sum(seen) / 3 / WATCHING)

    def event(self, event: Event) -> None:
        """Record one step, and a point of the trajectory when one is due."""
        progress = self.progress
        progress.cost = event.cost
        line = {"step": event.step, "cost": event.cost / gradient(self.job.kind), **event.log.numbers}
        progress.events.append(line | ({"ended": event.last} if event.last else {}))
        progress.ended = event.last
        if event.cost >= progress.due or event.last is not None:
            self.look(event.step)
            progress.due = event.cost + self.between
        self.show()

    def look(self, step: int) -> None:
        """Measure the losses now."""
        seen = self.job.processes.gather(self.monitor.look(self.job.module))[0]
        for name, value in seen.items():
            if not math.isfinite(value):
                raise Diverged(step, name.replace("_", " "))
        self.good, self.good_step = vectors.copy_of(self.params), step
        self.progress.points.append(self._point(step, seen))

    def _point(self, step: int, seen: Mapping[str, float]) -> Point:
        task = self.prepared.task
        target = None if task.targets is None else float(task.targets.per_sample.mean())
        cost = self.progress.cost / gradient(self.job.kind)
        return Point(
            step,
            cost,
            seen["forget_loss"],
            target,
            seen["retain_loss"],
            task.retain_level,
            seen.get("heldout_loss"),
        )

    def back_to_good(self, step: int) -> int:
        """Finite parameters may still have no finite loss: then go back to the last that had; its step."""
        seen = self.job.processes.gather(self.monitor.look(self.job.module))[0]
        if all(math.isfinite(value) for value in seen.values()):
            return step
        vectors.assign(self.params, self.good)
        return self.good_step

    def show(self) -> None:
        """Move the bar."""
        point = self.progress.points[-1]
        numbers = {"forget": point.forget_loss, "target": point.target, "retain": point.retain_loss}
        self.bar.show(self.progress.cost, self.job.budget, numbers)
