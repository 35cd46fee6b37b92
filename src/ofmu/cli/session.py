"""One unlearning run that can be stopped at any moment: prepared once, saved every few steps, resumed exactly.

OUT.partial/prepared.safetensors holds what was estimated before the first step (targets and levels), so that a
resumed run has the very same task; OUT.partial/checkpoint.safetensors holds where the run stands.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from ofmu.cli.checkpoints import load_progress, save_progress
from ofmu.cli.interrupts import Pending
from ofmu.cli.job import Between, Job, Progress, gradient
from ofmu.cli.prepared import alike, plain_task, restored
from ofmu.cli.say import Bar, note
from ofmu.cli.watching import Watch
from ofmu.core import vectors
from ofmu.core.oracle import Oracle, TorchOracle
from ofmu.engine.checkpoint import load_state, save_state
from ofmu.engine.loop import Diverged, Event, unlearn
from ofmu.engine.measure import Meter
from ofmu.engine.oracles import build_oracle, curved
from ofmu.engine.output import Output
from ofmu.engine.prepare import Prepared, prepare
from ofmu.errors import UserError
from ofmu.tasks import Task

PREPARED = "prepared.safetensors"


def ready(job: Job, out: Output) -> tuple[Prepared, Progress]:
    """The task and where the run stands: prepared now, or taken up from an interrupted run."""
    if out.resuming:
        progress = load_progress(out, job)
        with job.processes.together():
            return restored(load_state(out.work / PREPARED), job), progress
    with Meter() as meter:
        prepared = prepare(
            job.module, job.kind, job.parts, job.method, job.sources, job.seed, batch=job.batch, budget=job.budget
        )
    usage = meter.usage
    for text in prepared.notes:
        note(text)
    _check_affordable(prepared, job)
    prepared = alike(prepared, job)
    job.processes.of_leader(lambda: save_state(out.work / PREPARED, plain_task(prepared, job)))
    progress = Progress(
        cost=prepared.cost, seconds=usage.wall_seconds, peak_bytes=usage.peak_bytes, due=prepared.cost
    )
    save_progress(out, job, progress)
    return prepared, progress


def _check_affordable(prepared: Prepared, job: Job) -> None:
    if prepared.cost >= job.budget and prepared.layers is None:  # a head start fits itself to the budget
        raise UserError(
            f"--budget: the targets alone cost {prepared.cost / gradient(job.kind):.1f} gradient-equivalents, "
            f"found a budget of {job.budget / gradient(job.kind):g}; give more"
        )


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
    oracle = _oracle(job, prepared, progress)
    if curved(job.method):
        note(str(progress.backend))
    watch = _begun(job, prepared, progress, bar, oracle)
    steps = _Steps(job, out, progress, watch, pending, between)
    if between is not None and between.due(progress):  # it was interrupted in the middle of this
        between.look(progress, oracle.params)
        save_progress(out, job, progress)
    if progress.ended is not None:
        return
    pending.patient = True
    try:
        steps.take(
            unlearn(prepared.task, job.method, oracle, job.steps, budget=job.budget, resume=progress.snapshot)
        )
    except Diverged as error:
        step = watch.back_to_good(error.step - 1)
        progress.snapshot = {"parameters": vectors.copy_of(oracle.params), "step": step}
        save_progress(out, job, progress, diverged=f"step {error.step}: {error.what} is not a finite number")
        error.add_note(f"The last state whose losses are finite is that of step {step}; it is kept.")
        raise
    finally:
        pending.patient = False


def missed(job: Job, prepared: Prepared, progress: Progress) -> list[str]:
    """What the method asks for and does not find of `job.module`, in sentences; not counted as the run's cost."""
    if not isinstance(job.method, Asking):
        return []
    return job.method.missed(prepared.task, _oracle(job, prepared, progress))


def _oracle(job: Job, prepared: Prepared, progress: Progress) -> TorchOracle:
    """The derivatives, taken as when the run began, and their cost so far."""
    oracle, progress.backend = build_oracle(
        job.module,
        prepared.task,
        job.method,
        backend=progress.backend,
        autocast=torch.bfloat16 if job.autocast else None,
        micro=job.micro,
        processes=job.processes,
        parallel=job.parallel,
    )
    oracle.cost = progress.cost
    return oracle


def _begun(job: Job, prepared: Prepared, progress: Progress, bar: Bar, oracle: TorchOracle) -> Watch:
    """Set the model to where the run stands, or to its start once the original was looked at."""
    if progress.snapshot is not None:
        prepared.begin(job.module)  # for the buffers
        vectors.assign(oracle.params, progress.snapshot["parameters"])
    watch = Watch(job, prepared, progress, bar, oracle.params)
    if not progress.points:
        watch.look(0)
    if progress.snapshot is None:
        prepared.begin(job.module)
    watch.show()
    return watch


@runtime_checkable
class Asking(Protocol):
    """A method that can say what of its exit rule a model misses."""

    def missed(self, task: Task, oracle: Oracle) -> list[str]:
        """In sentences; empty where all holds."""


@dataclass
class _Steps:
    """The steps of a run: each is watched, saved where that is due, and the last one where a signal came."""

    job: Job
    out: Output
    progress: Progress
    watch: Watch
    pending: Pending
    between: Between | None

    def take(self, events: Iterable[Event]) -> None:
        """Until the run ends; raises KeyboardInterrupt after saving."""
        self.began, self.earlier, self.unsaved = time.perf_counter(), self.progress.seconds, 0
        with Meter() as meter:
            for event in events:
                self._after(event)
        self.progress.peak_bytes = max(self.progress.peak_bytes, meter.usage.peak_bytes)

    def _after(self, event: Event) -> None:
        progress, between = self.progress, self.between
        self.watch.event(event)
        progress.seconds = self.earlier + time.perf_counter() - self.began
        self.unsaved += 1
        asked = self.job.processes.any(self.pending.asked)
        due = between is not None and between.due(progress)
        if asked or due or event.last is not None or self.unsaved >= self.job.every:
            progress.snapshot, self.unsaved = event.snapshot(), 0
            save_progress(self.out, self.job, progress)
        if asked:
            raise KeyboardInterrupt
        if between is not None and due:
            self._look(between)
            save_progress(self.out, self.job, progress)

    def _look(self, between: Between) -> None:
        """Look, which a signal may break off at once, since the state is saved; the run's time leaves it out."""
        start, self.pending.patient = time.perf_counter(), False
        between.look(self.progress, self.watch.params)
        self.pending.patient = True
        self.began += time.perf_counter() - start
