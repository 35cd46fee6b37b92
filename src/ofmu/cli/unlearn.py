"""`ofmu unlearn`: one request from files to a folder with the model and what proves it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch.nn import Module

from ofmu.cli.answers import join_answers, say
from ofmu.cli.finishing import finish
from ofmu.cli.interrupts import Pending, patient_signals
from ofmu.cli.kept_view import kept_look
from ofmu.cli.loading import check_alike, check_finite, files_of, model_path
from ofmu.cli.options import UnlearnOptions
from ofmu.cli.say import Bar, bar, note
from ofmu.cli.scoring import Scorer
from ofmu.cli.session import Between, Job, Progress, go_on, gradient, last_good, ready
from ofmu.cli.shortcut import cut_of, through
from ofmu.cli.writing import Result, write_result
from ofmu.engine.hashing import ids_fingerprint, model_fingerprint
from ofmu.engine.launched import ALONE, Parallel, Processes, chosen, joined
from ofmu.engine.loop import Diverged
from ofmu.engine.models import LoadedModel, load_model, save_model
from ofmu.engine.output import Output, held_for_all
from ofmu.engine.prepare import Prepared, Sources
from ofmu.engine.provenance import SCRATCH, Provenance, base_of, fresh_like, read_provenance, write_provenance
from ofmu.engine.requests import Files, Request, load_request
from ofmu.engine.shard import shard, whole_state
from ofmu.engine.targets_named import source_of
from ofmu.engine.trainable import apply_trainable, merge_adapter, parse_trainable
from ofmu.engine.training import Recipe
from ofmu.errors import UserError
from ofmu.methods import build_method, check_name
from ofmu.tasks import Kind, Method

SHARE: dict[Kind, float] = {"image": 0.4, "text": 0.8}  # of retraining: what a run may spend by default
LEAST = 100.0  # gradient-equivalents that any run may spend by default
ECHO = 1.0  # seconds within which a launcher repeats a signal that the terminal has sent already
WITHOUT = {"image": Recipe(epochs=30, lr=1e-3), "text": Recipe(epochs=10)}  # where nobody recorded the training


@dataclass(frozen=True)
class Given:
    """All that was loaded for one run."""

    options: UnlearnOptions
    processes: Processes
    parallel: Parallel
    loaded: LoadedModel
    request: Request
    provenance: Provenance | None
    retrain: LoadedModel | None
    method: Method


def unlearn(options: UnlearnOptions) -> int:
    """Run the request; see `UnlearnOptions`. Returns the exit code.

    Where a launcher started several processes, all of them come here and do the same; the first alone holds OUT,
    writes and speaks.
    """
    from ofmu.cli.gating import check_gate

    check_numbers(options)
    parallel = chosen(options.parallel)
    check_gate(options, parallel)
    with joined(parallel) as processes:
        return _unlearn(options, parallel, processes)


def _unlearn(options: UnlearnOptions, parallel: Parallel, processes: Processes) -> int:
    from ofmu.cli.gating import add_evidence, check_rows

    several = parallel != "none"
    files = files_of(options)
    with patient_signals(echo=ECHO if several else 0.0) as pending:
        out = Output(Path(options.out), overwrite=options.overwrite, resume=options.resume, sharded=several)
        with held_for_all(out, processes):
            with processes.together():
                given = load(options, files, parallel, processes)
                check_rows(given)
                out.require(_room(given))
            result = _run(given, out, pending)
            add_evidence(given, result)
            plain = _plain(given, result.loaded)
            processes.of_leader(lambda: _write(given, result, plain(), out))
    return finish(result, options, processes)


def _write(given: Given, result: Result, loaded: LoadedModel, out: Output) -> None:
    write_result(result, out.folder)
    loaded = merge_adapter(loaded) if given.options.merge else loaded
    (out.folder / "model").mkdir()
    save_model(loaded, out.folder / "model")
    if given.provenance is not None:
        write_provenance(out.folder / "model", given.provenance)


def _plain(given: Given, loaded: LoadedModel) -> Callable[[], LoadedModel]:
    """Called by all: how the first process gets the model that can be saved, put together if it is sharded."""
    if given.parallel != "fsdp2":
        return lambda: loaded
    whole = whole_state(loaded.module, given.processes)

    def together() -> LoadedModel:
        assert whole is not None  # this is the first process
        fresh = apply_trainable(_model(given.options), given.options.trainable, given.options.seed)
        fresh.module.load_state_dict(whole)
        return fresh

    return together


def _room(given: Given) -> int:
    """Bytes that a run needs at most: the model, and an old and a new checkpoint with two moments each."""
    weights = list(given.loaded.module.parameters())
    whole = sum(p.numel() * p.element_size() for p in weights)
    trained = sum(p.numel() * p.element_size() for p in weights if p.requires_grad)
    copies = 3 if given.options.gate_every is None else 4  # the best state is kept too
    return whole + 2 * copies * trained


def check_numbers(options: UnlearnOptions) -> None:
    """UserError for numbers and names that cannot be, before anything is loaded."""
    for name, value in (("--budget", options.budget), ("--lr", options.lr)):
        if value is not None and not value > 0:
            raise UserError(f"{name}: found {value}, expected a number above 0")
    for name, count in (
        ("--steps", options.steps),
        ("--checkpoint-every", options.checkpoint_every),
        ("--micro-batch", options.micro_batch),
        ("--gate-every", options.gate_every),
    ):
        if count is not None and count < 1:
            raise UserError(f"{name}: found {count}, expected at least 1")
    parse_trainable(options.trainable)
    with _as_mistake():
        check_name(options.method)


def method_of(name: str, kind: Kind, lr: float | None, width: int | None, adapter: bool = False) -> Method:
    """The method's preset; UserError for an unknown name, or a method that does not serve this kind."""
    with _as_mistake():
        return build_method(name, kind, lr=lr, width=width, adapter=adapter)


def check_targets(name: str | None, kind: Kind, method: Method) -> None:
    """UserError for a source of targets that there is not, or that the method would not use."""
    if name is None:
        return
    source_of(name, kind)
    if "targets" not in method.needs:
        raise UserError(f"--targets: found {name!r}, but the method uses no targets; leave it out")


@contextmanager
def _as_mistake() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(f"--method: {error}") from None


def _model(options: UnlearnOptions) -> LoadedModel:
    loaded = load_model(model_path(options.model))
    if hasattr(loaded.module, "peft_config") and not options.trainable.startswith("lora"):
        return replace(
            merge_adapter(loaded),
            notes=(*loaded.notes, "the model's adapter was merged into it, since --trainable is not lora:R"),
        )
    return loaded


def load(
    options: UnlearnOptions, files: Files, parallel: Parallel = "none", processes: Processes = ALONE
) -> Given:
    """Model, data and Retrain; every mistake in them is found here."""
    loaded = _model(options)
    for text in loaded.notes:
        note(text)
    check_finite(loaded.module, options.model)
    request = load_request(loaded, files, options.max_length)
    for text in request.notes:
        note(text)
    retrain = None
    if options.retrain is not None:
        retrain = load_model(model_path(options.retrain))
        check_alike(loaded, retrain, "--retrain")
    if parallel != "none":
        for model in (loaded, retrain):
            if model is not None:
                model.module.to(processes.device)
    width = getattr(getattr(loaded.module, "config", None), "hidden_size", None)
    method = method_of(
        options.method, loaded.kind, options.lr, width, adapter=options.trainable.startswith("lora")
    )
    check_targets(options.targets, loaded.kind, method)
    provenance = read_provenance(model_path(options.model))
    return Given(options, processes, parallel, loaded, request, provenance, retrain, method)


def _run(given: Given, out: Output, pending: Pending) -> Result:
    from ofmu.cli.keeping import back_to_best, keeper_of

    options, request, loaded = given.options, given.request, given.loaded
    job = _job(given)
    # what is sharded, or reaches into the model by a layer's name or for other texts, needs all of it
    whole = given.parallel != "none" or bool(job.method.needs & {"layer", "refusals"})
    cut = None
    if not whole and loaded.kind == "text" and "top" in options.trainable:
        loaded = apply_trainable(loaded, options.trainable, options.seed)
        job, cut = replace(job, module=loaded.module), cut_of(loaded, request)
    scorer = Scorer(request, cut)
    before = scorer.look(loaded.module)
    said = say(loaded.module, request) if options.show_forgotten else []
    gold = None if given.retrain is None else kept_look(scorer, given.retrain.module)
    note("estimating how unseen rows look to the model" if not out.resuming else "going on from the checkpoint")
    if cut is not None:
        job = through(cut, job)
    prepared, progress = ready(job, out)
    if cut is None:
        loaded = apply_trainable(loaded, options.trainable, options.seed)
        if given.parallel == "fsdp2":
            # logits that are views are fine: no loss of ours writes to them
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)
            shard(loaded.module, given.processes)
        job = replace(job, module=loaded.module)
    allowed = job.budget / gradient(job.kind)
    note(f"{options.method}: at most {allowed:.0f} gradient-equivalents (batches of {gradient(job.kind)})")
    keeper = keeper_of(given, loaded)
    with bar(options.method) as shown:
        _go(job, out, given, loaded, prepared, progress, shown, pending, keeper)
    back_to_best(progress, job.module)
    answers = []
    if options.show_forgotten:
        after_model, retrained = loaded.module, None if given.retrain is None else given.retrain.module
        answers = join_answers(request, said, say(after_model, request), say(retrained, request))
    after = scorer.look(loaded.module)
    return Result(
        options, loaded, request, job, prepared, progress, before, after, gold, given.provenance, answers
    )


def _go(
    job: Job,
    out: Output,
    given: Given,
    loaded: LoadedModel,
    prepared: Prepared,
    progress: Progress,
    shown: Bar,
    pending: Pending,
    keeper: Between | None,
) -> None:
    try:
        go_on(job, out, prepared, progress, shown, pending, keeper)
    except Diverged as error:
        folder, plain = last_good(out), _plain(given, loaded)
        folder.mkdir(exist_ok=True)
        given.processes.of_leader(lambda: save_model(plain(), folder))
        error.add_note(f"The last good model is in {folder}")
        raise


def _job(given: Given) -> Job:
    options, loaded, parts = given.options, given.loaded, given.request.parts
    budget = samples_allowed(options.budget, loaded.kind, len(parts.retain), given.provenance)
    two_loops = options.method.startswith("ofmu")
    recipe = given.provenance.recipe if given.provenance else WITHOUT[loaded.kind]
    identity = {
        "the model": model_fingerprint(loaded.module),
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
    if options.gate_every is not None:
        unseen = given.request.test if parts.heldout is None else parts.heldout
        identity["--gate-every"] = f"{options.gate_every}: {options.gate}, beside {options.retrain}"
        identity["the unseen rows of --gate"] = "none" if unseen is None else ids_fingerprint(unseen.ids)
    if given.parallel != "none":
        identity["--parallel"] = f"{given.parallel} on {given.processes.size} processes"
    if options.targets is not None:
        identity["--targets"] = options.targets
    if options.micro_batch is not None:
        identity["--micro-batch"] = str(options.micro_batch)
    return Job(
        loaded.module,
        loaded.kind,
        parts,
        given.method,
        _sources(given),
        options.seed,
        budget,
        options.steps or 1_000_000,
        identity,
        batch=None if two_loops or loaded.kind == "text" else recipe.batch,
        autocast=options.autocast,
        every=options.checkpoint_every,
        processes=given.processes,
        parallel=given.parallel,
        micro=options.micro_batch,
    )


def samples_allowed(budget: float | None, kind: Kind, retain: int, provenance: Provenance | None) -> float:
    """A budget in sample-gradients; by default a share of retraining on the retain set, and at least `LEAST`."""
    if budget is not None:
        return budget * gradient(kind)
    recipe = provenance.recipe if provenance else WITHOUT[kind]
    return max(SHARE[kind] * recipe.epochs * retain, LEAST * gradient(kind))


def _sources(given: Given) -> Sources:
    return replace(_estimated(given), targets=given.options.targets)


def _estimated(given: Given) -> Sources:
    """What the model's own record and the options say about unseen rows."""
    options, provenance, loaded = given.options, given.provenance, given.loaded
    recipe = None if provenance is None else provenance.recipe
    if loaded.kind == "image":
        if options.base is not None:
            raise UserError("--base: serves text models; for images give --heldout (or nothing)")
        return Sources(recipe=recipe)
    place = options.base or base_of(provenance)
    if place is not None and "targets" in given.method.needs:
        base = load_model(model_path(place))
        check_alike(loaded, base, "--base")
        base.module.to(next(loaded.module.parameters()).device)
        if options.base is None:
            note(f"base model: {place} (training.json says that training began there)")
        return Sources(base=base.module, recipe=recipe)
    if provenance is not None and provenance.init == SCRATCH:
        return Sources(fresh=partial(_fresh, loaded.module), recipe=recipe)
    return Sources(recipe=recipe)


def _fresh(like: Module, seed: int) -> Module:
    return fresh_like(like, seed).to(next(like.parameters()).device)
