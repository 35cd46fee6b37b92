"""One unlearning run that can be stopped at any moment: prepared once, saved every few steps, resumed exactly.

OUT.partial/prepared.safetensors holds what was estimated before the first step (targets and levels), so that a
resumed run has the very same task; OUT.partial/checkpoint.safetensors holds where the run stands.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.nn import Module

from ofmu.cli.interrupts import Pending
from ofmu.cli.say import Bar, note
from ofmu.core import vectors
from ofmu.core.backend import Backend
from ofmu.core.vectors import Vector
from ofmu.data.refusals import refusals
from ofmu.engine.checkpoint import load_state, save_state
from ofmu.engine.launched import ALONE, Parallel, Processes
from ofmu.engine.loop import Diverged, Event, unlearn
from ofmu.engine.measure import Meter
from ofmu.engine.measuring import Monitor
from ofmu.engine.oracles import build_oracle, curved
from ofmu.engine.output import Output
from ofmu.engine.prepare import UNIT, Parts, Prepared, Sources, frozen_copy, neutral_stream, prepare
from ofmu.engine.sharded_checkpoint import load_sharded, save_sharded
from ofmu.errors import UserError
from ofmu.losses import BASE_LOSSES
from ofmu.report.model import Point
from ofmu.tasks import Kind, Method, Settled, Stream, Targets, Task

LOOKS = 40  # points of a trajectory, at most about
WATCHING = 0.2  # of the budget: what looking at the path may take beside it; fewer points are looked at then
MOST: dict[Kind, int] = {"image": 256, "text": 48}  # samples of each part at a look
PREPARED = "prepared.safetensors"


@dataclass(frozen=True)
class Job:
    """What is to be done. identity: all that decides the result, in words; a resumed run must have the same.

    budget in sample-gradients, preparation included. batch: samples a batch (None: the method's preset). micro:
    most samples run at once. All of `processes` do the job together, every one calling what is here.
    """

    module: Module
    kind: Kind
    parts: Parts
    method: Method
    sources: Sources
    seed: int
    budget: float
    steps: int
    identity: Mapping[str, str]
    batch: int | None = None
    autocast: bool = False
    every: int = 10
    processes: Processes = ALONE
    parallel: Parallel = "none"
    micro: int | None = None


@dataclass
class Progress:
    """Where a run stands: all of it is in a checkpoint. due: the cost at which the next point is measured.

    gated: what gates said of states on the way; best: the state to be kept, by their rule (`cli.keeping`).

    backend: how derivatives are taken. What was chosen at the start counts for the whole run: on another
    machine, or with other memory free, the choice might be another one, and so would the numbers.
    """

    points: list[Point] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    cost: float = 0.0
    seconds: float = 0.0
    peak_bytes: int = 0
    due: float = 0.0
    ended: str | None = None
    snapshot: dict[str, Any] | None = None
    backend: Backend | None = None
    gated: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None


class Between(Protocol):
    """What is done between two steps, at some of them: it looks at the model and may write into `progress`."""

    def due(self, progress: Progress) -> bool:
        """Whether it is to be done after the last step of `progress`, and was not yet."""

    def look(self, progress: Progress, params: Vector) -> None:
        """Do it; the parameters and the random state are as before when it is done."""


def gradient(kind: Kind) -> int:
    """Samples in a gradient-equivalent: one forward and backward pass of a batch."""
    return UNIT[kind]


def ready(job: Job, out: Output) -> tuple[Prepared, Progress]:
    """The task and where the run stands: prepared now, or taken up from an interrupted run."""
    file = out.work / PREPARED
    if out.resuming:
        saved = _load(out, job)
        check_same(saved["identity"], job.identity)
        if saved["diverged"] is not None:
            raise UserError(
                f"--resume: the run diverged ({saved['diverged']}), and would again; start it anew with "
                "--overwrite and a lower --lr"
            )
        with job.processes.together():
            prepared = _restored(load_state(file), job)
        return prepared, _progress(saved["progress"])
    with Meter() as meter:
        prepared = prepare(
            job.module, job.kind, job.parts, job.method, job.sources, job.seed, batch=job.batch, budget=job.budget
        )
    usage = meter.usage
    for text in prepared.notes:
        note(text)
    if prepared.cost >= job.budget and prepared.layers is None:  # a head start fits itself to the budget
        raise UserError(
            f"--budget: the targets alone cost {prepared.cost / gradient(job.kind):.1f} gradient-equivalents, "
            f"found a budget of {job.budget / gradient(job.kind):g}; give more"
        )
    prepared = _alike(prepared, job)
    job.processes.of_leader(lambda: save_state(file, _plain_task(prepared, job)))
    progress = Progress(
        cost=prepared.cost, seconds=usage.wall_seconds, peak_bytes=usage.peak_bytes, due=prepared.cost
    )
    _save(out, job, progress)
    return prepared, progress


def go_on(
    job: Job,
    out: Output,
    prepared: Prepared,
    progress: Progress,
    bar: Bar,
    pending: Pending,
    between: Between | None = None,
) -> None:
    """Run to the end, moving `job.module` and `progress`; raises KeyboardInterrupt or Diverged after saving."""
    oracle, backend = build_oracle(
        job.module,
        prepared.task,
        job.method,
        backend=progress.backend,
        autocast=torch.bfloat16 if job.autocast else None,
        micro=job.micro,
        processes=job.processes,
        parallel=job.parallel,
    )
    progress.backend = backend
    if curved(job.method):
        note(str(backend))
    oracle.cost = progress.cost
    if progress.snapshot is not None:
        prepared.begin(job.module)  # for the buffers
        vectors.assign(oracle.params, progress.snapshot["parameters"])
    watch = _Watch(job, prepared, progress, bar, oracle.params)
    if not progress.points:
        watch.look(0)
    if progress.snapshot is None:
        prepared.begin(job.module)
    watch.show()
    if between is not None and between.due(progress):  # it was interrupted in the middle of this
        between.look(progress, oracle.params)
        _save(out, job, progress)
    if progress.ended is not None:
        return
    began, earlier, saved = time.perf_counter(), progress.seconds, 0
    pending.patient = True
    last: Event | None = None
    try:
        with Meter() as meter:
            for last in unlearn(
                prepared.task, job.method, oracle, job.steps, budget=job.budget, resume=progress.snapshot
            ):
                watch.event(last)
                progress.seconds = earlier + time.perf_counter() - began
                saved += 1
                asked = job.processes.any(pending.asked)
                due = between is not None and between.due(progress)
                if asked or due or last.last is not None or saved >= job.every:
                    progress.snapshot, saved = last.snapshot(), 0
                    _save(out, job, progress)
                if asked:
                    raise KeyboardInterrupt
                if between is not None and due:
                    began += _looked(between, progress, oracle.params, pending)
                    _save(out, job, progress)
        progress.peak_bytes = max(progress.peak_bytes, meter.usage.peak_bytes)
    except Diverged as error:
        step = watch.back_to_good(error.step - 1)
        progress.snapshot = {"parameters": vectors.copy_of(oracle.params), "step": step}
        _save(out, job, progress, diverged=f"step {error.step}: {error.what} is not a finite number")
        error.add_note(f"The last state whose losses are finite is that of step {step}; it is kept.")
        raise
    finally:
        pending.patient = False


def _looked(between: Between, progress: Progress, params: Vector, pending: Pending) -> float:
    """Look, which a signal may break off at once, since the state is saved; how many seconds it took."""
    start, pending.patient = time.perf_counter(), False
    between.look(progress, params)
    pending.patient = True
    return time.perf_counter() - start


@dataclass
class _Watch:
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


def _save(out: Output, job: Job, progress: Progress, diverged: str | None = None) -> None:
    plain = {
        **vars(progress),
        "points": [asdict(point) for point in progress.points],
        "backend": None if progress.backend is None else asdict(progress.backend),
    }
    state = {"identity": dict(job.identity), "progress": plain, "diverged": diverged}
    if job.parallel != "none":
        save_sharded(out.checkpoint, state, job.processes)
    else:
        save_state(out.checkpoint, state)


def _load(out: Output, job: Job) -> dict[str, Any]:
    found = load_state(out.checkpoint) if job.parallel == "none" else load_sharded(out.checkpoint, job.processes)
    return dict(found)


def _progress(saved: dict[str, Any]) -> Progress:
    points = [Point(**point) for point in saved["points"]]
    backend = None if saved.get("backend") is None else Backend(**saved["backend"])
    return Progress(**{**saved, "points": points, "backend": backend})


def check_same(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """UserError unless an interrupted run was given what this one is given."""
    for name in now:
        if before.get(name) != now[name]:
            raise UserError(
                f"--resume: {name} is {now[name]}, but the interrupted run had {before.get(name)}; give the same "
                "command, or start anew with --overwrite"
            )


def _plain_task(prepared: Prepared, job: Job) -> dict[str, Any]:
    task, targets = prepared.task, prepared.task.targets
    trained = task.unseen is not None and task.unseen is not job.sources.base
    return {
        "cost": prepared.cost,
        "targets": None if targets is None else asdict(targets),
        "forget_nll": task.forget_nll,
        "refusal_nll": task.refusal_nll,
        "layer": task.layer,
        "retain_level": task.retain_level,
        "unseen_level": task.unseen_level,
        "reference": task.reference is not None,
        "confidence": task.confidence,
        "neutral": task.neutral is not None,
        "base": task.unseen is not None and not trained,
        "unseen": _on_host(task.unseen) if task.unseen is not None and trained else None,
        "batches": (task.forget_batch, task.retain_batch),
        "settled": None if task.settled is None else asdict(task.settled),
        "start": None if prepared.start is None else dict(prepared.start),
        "layers": prepared.layers,
        "notes": prepared.notes,
    }


def _on_host(module: Module) -> dict[str, torch.Tensor]:
    return {name: value.cpu() for name, value in module.state_dict().items()}


def _alike(prepared: Prepared, job: Job) -> Prepared:
    """The first process's task for all: estimates of the same thing on two devices may differ in a bit."""
    if job.processes.size == 1:
        return prepared
    plain = job.processes.of_leader(lambda: _plain_task(prepared, job))
    return prepared if job.processes.leads else _restored(plain, job)


def _restored(saved: dict[str, Any], job: Job) -> Prepared:
    unseen = None
    if saved["unseen"] is not None:
        assert job.sources.fresh is not None  # it was trained from one
        unseen = job.sources.fresh(job.seed)
        unseen.load_state_dict(saved["unseen"])
        unseen.to(next(job.module.parameters()).device)
    elif saved["base"]:
        unseen = job.sources.base
    task = Task(
        job.kind,
        BASE_LOSSES[job.kind],
        Stream(job.parts.forget, 2 * job.seed + 1),
        Stream(job.parts.retain, 2 * job.seed + 2),
        targets=None if saved["targets"] is None else Targets(**saved["targets"]),
        reference=frozen_copy(job.module) if saved["reference"] else None,
        confidence=saved["confidence"],
        neutral=neutral_stream(job.parts, job.seed) if saved["neutral"] else None,
        unseen=None if unseen is None else unseen.eval().requires_grad_(False),
        forget_nll=saved["forget_nll"],
        refusals=None if saved["refusal_nll"] is None else refusals(job.parts.forget),
        refusal_nll=saved["refusal_nll"],
        layer=saved["layer"],
        retain_level=saved["retain_level"],
        unseen_level=saved["unseen_level"],
        settled=None if saved["settled"] is None else Settled(**saved["settled"]),
        forget_batch=saved["batches"][0],
        retain_batch=saved["batches"][1],
    )
    return Prepared(task, saved["cost"], saved["start"], saved["layers"], saved["notes"])


def last_good(out: Output) -> Path:
    """Where the model of a diverged run is kept."""
    return out.work / "last-good"
