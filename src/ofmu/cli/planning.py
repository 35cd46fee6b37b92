"""From what was given to a job: what it may spend, what identifies it, and what says how unseen rows look."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch.nn import Module

from ofmu.cli.budget import samples_allowed
from ofmu.cli.given import Given
from ofmu.cli.job import Job
from ofmu.cli.loading import load_like
from ofmu.cli.say import note
from ofmu.engine.hashing import ids_fingerprint, model_fingerprint
from ofmu.engine.prepare import UNRECORDED, Sources
from ofmu.engine.provenance import SCRATCH, base_of, fresh_like
from ofmu.errors import UserError


def job_of(given: Given) -> Job:
    """What is to be done with what was given."""
    options, loaded, parts = given.options, given.loaded, given.request.parts
    budget = samples_allowed(options.budget, loaded.kind, len(parts.retain), given.provenance)
    two_loops = options.method.startswith("ofmu")
    recipe = given.provenance.recipe if given.provenance else UNRECORDED[loaded.kind]
    return Job(
        loaded.module,
        loaded.kind,
        parts,
        given.method,
        replace(_sources(given), targets=options.targets),
        options.seed,
        budget,
        options.steps or 1_000_000,
        _identity(given, budget) | _more_identity(given),
        batch=None if two_loops or loaded.kind == "text" else recipe.batch,
        autocast=options.autocast,
        every=options.checkpoint_every,
        processes=given.processes,
        parallel=given.parallel,
        micro=options.micro_batch,
    )


def _identity(given: Given, budget: float) -> dict[str, str]:
    """All that decides the result of any run, in words."""
    options, parts = given.options, given.request.parts
    return {
        "the model": model_fingerprint(given.loaded.module),
        "the forget set": ids_fingerprint(parts.forget.ids),
        "the retain set": ids_fingerprint(parts.retain.ids),
        "the held-out set": "none" if parts.heldout is None else ids_fingerprint(parts.heldout.ids),
        "--base": str(options.base),
        "--trainable": options.trainable,
        "--method": f"{options.method}: {given.method}",
        "--seed": str(options.seed),
        "--budget": f"{budget:g}",
        "--steps": str(options.steps),
        "--autocast": str(options.autocast),
    }


def _more_identity(given: Given) -> dict[str, str]:
    """What decides it besides, of what not every run is told."""
    options, heldout = given.options, given.request.parts.heldout
    identity = {}
    if options.gate_every is not None:
        unseen = given.request.test if heldout is None else heldout
        beside = ", ".join(options.retrain) or "none"
        identity["--gate-every"] = f"{options.gate_every}: {options.gate}, beside {beside}"
        identity["the unseen rows of --gate"] = "none" if unseen is None else ids_fingerprint(unseen.ids)
    if given.parallel != "none":
        identity["--parallel"] = f"{given.parallel} on {given.processes.size} processes"
    if options.targets is not None:
        identity["--targets"] = options.targets
    if options.micro_batch is not None:
        identity["--micro-batch"] = str(options.micro_batch)
    return identity


def _sources(given: Given) -> Sources:
    """What the model's own record and the options say about unseen rows."""
    options, provenance, loaded = given.options, given.provenance, given.loaded
    recipe = None if provenance is None else provenance.recipe
    if loaded.kind == "image":
        if options.base is not None:
            raise UserError("--base: serves text models; for images give --heldout (or nothing)")
        return Sources(recipe=recipe)
    place = options.base or base_of(provenance)
    if place is not None and "targets" in given.method.needs:
        base = load_like(loaded, place, "--base")
        base.module.to(next(loaded.module.parameters()).device)
        if options.base is None:
            note(f"base model: {place} (training.json says that training began there)")
        return Sources(base=base.module, recipe=recipe)
    if provenance is not None and provenance.init == SCRATCH:
        return Sources(fresh=partial(_fresh, loaded.module), recipe=recipe)
    return Sources(recipe=recipe)


def _fresh(like: Module, seed: int) -> Module:
    return fresh_like(like, seed).to(next(like.parameters()).device)
