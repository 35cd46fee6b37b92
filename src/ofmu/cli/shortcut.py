"""A request on the last blocks of a text model alone: nothing that is asked for changes, only what is computed."""

from __future__ import annotations

from dataclasses import replace

from ofmu.cli.job import Job
from ofmu.engine.models import LoadedModel
from ofmu.engine.prepare import Parts
from ofmu.engine.requests import Request
from ofmu.engine.upper import Cut, cut_below


def cut_of(loaded: LoadedModel, request: Request) -> Cut | None:
    """Where a text model can be cut, of which the last blocks or an adapter on them are marked; else None."""
    parts = (request.parts.forget, request.parts.retain, request.parts.heldout, request.test)
    return cut_below(loaded.module, [samples for samples in parts if samples is not None])


def through(cut: Cut, job: Job) -> Job:
    """The same job for the upper part; unchanged where what says how unseen text looks has another lower part."""
    base, module = job.sources.base, cut.upper(job.module)
    upper_base = None if base is None else cut.upper(base)
    if module is None or job.sources.fresh is not None or (base is not None and upper_base is None):
        return job
    parts = job.parts
    kept = Parts(
        cut.samples(parts.forget),
        cut.samples(parts.retain),
        None if parts.heldout is None else cut.samples(parts.heldout),
    )
    return replace(job, module=module, parts=kept, sources=replace(job.sources, base=upper_base))
