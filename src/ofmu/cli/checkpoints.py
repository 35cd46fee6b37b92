"""Where a run stands, on disk: saved every few steps, read back only by the same command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch.nn import Module

from ofmu.cli.job import Job, Progress
from ofmu.core.backend import Backend
from ofmu.engine.checkpoint import load_state, save_state
from ofmu.engine.output import Output
from ofmu.engine.sharded_checkpoint import load_sharded, save_sharded
from ofmu.errors import UserError
from ofmu.report.model import Point


def save_progress(out: Output, job: Job, progress: Progress, diverged: str | None = None) -> None:
    """Write the checkpoint, a folder of shards where several processes share the run. diverged: how it failed."""
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


def load_progress(out: Output, job: Job) -> Progress:
    """Where an interrupted run stands; UserError if it was another one, or one that diverged."""
    alone = job.parallel == "none"
    saved = dict(load_state(out.checkpoint) if alone else load_sharded(out.checkpoint, job.processes))
    check_same(saved["identity"], job.identity)
    if saved["diverged"] is not None:
        raise UserError(
            f"--resume: the run diverged ({saved['diverged']}), and would again; start it anew with "
            "--overwrite and a lower --lr"
        )
    return _progress(saved["progress"])


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


def room(module: Module, copies: int = 3) -> int:
    """Bytes that a run needs at most: the model, and an old and a new checkpoint.

    copies: of what is trained, in a checkpoint: the parameters, and two moments of an optimizer; OFMU's ascents
    have as many again.
    """
    weights = list(module.parameters())
    trained = sum(p.numel() * p.element_size() for p in weights if p.requires_grad)
    return sum(p.numel() * p.element_size() for p in weights) + 2 * copies * trained
