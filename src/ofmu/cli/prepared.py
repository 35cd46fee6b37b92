"""A prepared task as plain data, so that a resumed run, or another process, has the very same."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

from torch import Tensor
from torch.nn import Module

from ofmu.cli.job import Job
from ofmu.data.refusals import refusals
from ofmu.engine.prepare import Prepared, frozen_copy, neutral_stream, streams
from ofmu.losses import BASE_LOSSES
from ofmu.tasks import Settled, Targets, Task


def plain_task(prepared: Prepared, job: Job) -> dict[str, Any]:
    """What was estimated, as tensors, numbers and words; of models, only what was trained for the task."""
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
        "budget": task.budget,
        "start": None if prepared.start is None else dict(prepared.start),
        "layers": prepared.layers,
        "notes": prepared.notes,
    }


def _on_host(module: Module) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in module.state_dict().items()}


def alike(prepared: Prepared, job: Job) -> Prepared:
    """The first process's task for all: estimates of the same thing on two devices may differ in a bit."""
    if job.processes.size == 1:
        return prepared
    plain = job.processes.of_leader(lambda: plain_task(prepared, job))
    return prepared if job.processes.leads else restored(plain, job)


def restored(saved: dict[str, Any], job: Job) -> Prepared:
    """What `plain_task` made plain, with the streams at their beginnings."""
    unseen = _unseen(saved, job)
    task = Task(
        job.kind,
        BASE_LOSSES[job.kind],
        *streams(job.parts, job.seed),
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
        budget=saved["budget"],
        forget_batch=saved["batches"][0],
        retain_batch=saved["batches"][1],
    )
    return Prepared(task, saved["cost"], saved["start"], saved["layers"], saved["notes"])


def _unseen(saved: dict[str, Any], job: Job) -> Module | None:
    if saved["unseen"] is None:
        return job.sources.base if saved["base"] else None
    begun = job.sources.base if job.sources.fresh is None else job.sources.fresh(job.seed)
    assert begun is not None  # it was trained from one of them
    unseen = copy.deepcopy(begun)
    unseen.load_state_dict(saved["unseen"])
    return unseen.to(next(job.module.parameters()).device)
