"""`ofmu unlearn`: one request from files to a folder with the model and what proves it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ofmu.cli.answers import join_answers, say
from ofmu.cli.checkpoints import room
from ofmu.cli.finishing import finish
from ofmu.cli.gating import add_evidence, check_gate, check_rows, say_beforehand
from ofmu.cli.given import Given, check_numbers, load, model_of
from ofmu.cli.interrupts import Pending, patient_signals
from ofmu.cli.job import Job, gradient
from ofmu.cli.keeping import back_to_best, keeper_of
from ofmu.cli.kept_view import kept_look
from ofmu.cli.loading import files_of
from ofmu.cli.options import UnlearnOptions
from ofmu.cli.planning import job_of
from ofmu.cli.result import Result
from ofmu.cli.say import bar, note
from ofmu.cli.scoring import Scorer
from ofmu.cli.session import go_on, missed, ready
from ofmu.cli.shortcut import cut_of, through
from ofmu.cli.writing import write_result
from ofmu.engine.launched import Parallel, Processes, chosen, joined
from ofmu.engine.loop import Diverged
from ofmu.engine.models import LoadedModel, save_model
from ofmu.engine.output import Output, held_for_all
from ofmu.engine.provenance import write_provenance
from ofmu.engine.shard import shard, whole_state
from ofmu.engine.trainable import apply_trainable, merge_adapter
from ofmu.engine.upper import Cut

ECHO = 1.0  # seconds within which a launcher repeats a signal that the terminal has sent already


def unlearn(options: UnlearnOptions) -> int:
    """Run the request; see `UnlearnOptions`. Returns the exit code.

    Where a launcher started several processes, all of them come here and do the same; the first alone holds OUT,
    writes and speaks.
    """
    check_numbers(options)
    parallel = chosen(options.parallel)
    check_gate(options, parallel)
    with joined(parallel) as processes:
        return _unlearn(options, parallel, processes)


def _unlearn(options: UnlearnOptions, parallel: Parallel, processes: Processes) -> int:
    several = parallel != "none"
    files = files_of(options)
    with patient_signals(echo=ECHO if several else 0.0) as pending:
        out = Output(Path(options.out), overwrite=options.overwrite, resume=options.resume, sharded=several)
        with held_for_all(out, processes):
            with processes.together():
                given = load(options, files, parallel, processes)
                check_rows(given)
                say_beforehand(given)
                copies = 5 if options.gate_every is None else 6  # the best state is kept too
                out.require(room(given.loaded.module, copies))
            result = _run(given, out, pending)
            add_evidence(given, result)
            plain = _plain(given, result.loaded)
            processes.of_leader(lambda: _write(given, result, plain(), out))
    return finish(result, options, processes)


def _run(given: Given, out: Output, pending: Pending) -> Result:
    options, request, retrain = given.options, given.request, given.retrain
    loaded, job, cut = _through_the_top(given)
    scorer = Scorer(request, cut)
    before = scorer.look(loaded.module)
    said = say(loaded.module, request) if options.show_forgotten else []
    gold = None if retrain is None else kept_look(scorer, retrain.module)
    note("estimating how unseen rows look to the model" if not out.resuming else "going on from the checkpoint")
    if cut is not None:
        job = through(cut, job)
    prepared, progress = ready(job, out)
    if cut is None:
        loaded = _made_trainable(given, loaded)
        job = replace(job, module=loaded.module)
    allowed = job.budget / gradient(job.kind)
    note(f"{options.method}: at most {allowed:.3g} gradient-equivalents (batches of {gradient(job.kind)})")
    keeper = keeper_of(given, loaded)
    with bar(options.method) as shown, _last_good_kept(given, loaded, out):
        go_on(job, out, prepared, progress, shown, pending, keeper)
    back_to_best(progress, job.module)
    answers = []
    if options.show_forgotten:
        ours, theirs = loaded.module, None if retrain is None else retrain.module
        answers = join_answers(request, said, say(ours, request), say(theirs, request))
    after, short = scorer.look(loaded.module), missed(job, prepared, progress)
    seen = before, after, gold
    return Result(options, loaded, request, job, prepared, progress, *seen, given.provenance, answers, short)


def _through_the_top(given: Given) -> tuple[LoadedModel, Job, Cut | None]:
    """The model, what is to be done with it, and where it can be cut: then it is made trainable already."""
    loaded, job = given.loaded, job_of(given)
    # what is sharded, or reaches into the model by a layer's name or for other texts, needs all of it
    whole = given.parallel != "none" or bool(job.method.needs & {"layer", "refusals"})
    if whole or loaded.kind != "text" or "top" not in given.options.trainable:
        return loaded, job, None
    loaded = apply_trainable(loaded, given.options.trainable, given.options.seed)
    return loaded, replace(job, module=loaded.module), cut_of(loaded, given.request)


def _made_trainable(given: Given, loaded: LoadedModel) -> LoadedModel:
    loaded = apply_trainable(loaded, given.options.trainable, given.options.seed)
    if given.parallel == "fsdp2":
        # logits that are views are fine: no loss of ours writes to them
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)
        shard(loaded.module, given.processes)
    return loaded


@contextmanager
def _last_good_kept(given: Given, loaded: LoadedModel, out: Output) -> Iterator[None]:
    """A run that diverges leaves the last model whose losses were finite."""
    try:
        yield
    except Diverged as error:
        folder, plain = out.last_good, _plain(given, loaded)
        folder.mkdir(exist_ok=True)
        given.processes.of_leader(lambda: save_model(plain(), folder))
        error.add_note(f"The last good model is in {folder}")
        if given.options.method == "ofmu-paper" or not given.options.method.startswith("ofmu"):
            error.add_note("Another way: --method ofmu, whose forget loss is bounded.")
        raise


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
        fresh = apply_trainable(model_of(given.options), given.options.trainable, given.options.seed)
        fresh.module.load_state_dict(whole)
        return fresh

    return together
