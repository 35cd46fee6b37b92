"""`--gate`: attacks at the end of a run, on the model as it will be saved."""

from __future__ import annotations

from dataclasses import replace

from ofmu.cli.attack import case_of
from ofmu.cli.evidence import gather
from ofmu.cli.given import Given
from ofmu.cli.loading import model_path
from ofmu.cli.options import UnlearnOptions
from ofmu.cli.result import Result
from ofmu.cli.say import note
from ofmu.engine.launched import Parallel
from ofmu.engine.models import LoadedModel, load_model
from ofmu.engine.trainable import merge_adapter
from ofmu.errors import UserError
from ofmu.evidence.case import MOST, Case, copy_of, some
from ofmu.evidence.gates import parse_gates
from ofmu.evidence.outcome import narrow_words, power_words, seed_words
from ofmu.evidence.plan import ATTACKS, choose
from ofmu.tasks import Samples


def check_gate(options: UnlearnOptions, parallel: Parallel) -> None:
    """UserError for gates that cannot be decided, before anything is loaded."""
    if options.gate is None:
        if options.gate_every is not None:
            raise UserError("--gate-every: says how often gates are decided, found no --gate; give one")
        if options.alike:
            raise UserError("--alike: says how the attacks of gates compare, found no --gate; give one")
        return
    shadows = [gate.group for gate in parse_gates(options.gate) if ATTACKS[gate.group].trains]
    if shadows:
        raise UserError(
            f"--gate: found {', '.join(shadows)}, which train shadow models, expected attacks without; run ofmu "
            "attack with that --gate on OUT afterwards"
        )
    if options.heldout is None and options.test is None:
        raise UserError("--gate: attacks compare with unseen rows, found neither --test nor --heldout; give one")
    if parallel != "none":
        raise UserError("--gate: found several processes, expected one; run ofmu attack on OUT afterwards")


def check_rows(given: Given) -> None:
    """UserError for gates that do not serve this kind of model, and too few rows to attack, before the run."""
    request, kind = given.request, given.loaded.kind
    gates = [] if given.options.gate is None else parse_gates(given.options.gate)
    unfit = [gate.group for gate in gates if kind not in ATTACKS[gate.group].kinds]
    if unfit:
        fit = [name for name, attack in ATTACKS.items() if kind in attack.kinds and not attack.trains]
        raise UserError(
            f"--gate: found {', '.join(unfit)} and a model for {kind}, expected some of {', '.join(fit)}"
        )
    unseen = request.test if request.test is not None else request.parts.heldout
    if given.options.gate is not None and (unseen is None or len(unseen) < 4 or len(request.parts.forget) < 2):
        found = 0 if unseen is None else len(unseen)
        raise UserError(
            f"--gate: found {len(request.parts.forget)} rows to forget and {found} unseen ones, expected at least "
            "2 and 4"
        )


def say_beforehand(given: Given) -> None:
    """What gates can show with the rows and retrained models of this run; nothing where no gate was asked for."""
    options, request = given.options, given.request
    if options.gate is None:
        return
    unseen = request.test if request.test is not None else request.parts.heldout
    assert unseen is not None  # `check_rows` has seen to it
    forget, heldout = (len(some(part, MOST)) for part in (request.parts.forget, unseen))
    retrains = len(given.retrains)
    narrow = narrow_words(parse_gates(options.gate), forget, heldout, retrains)
    for sentence in [*power_words(forget, heldout), *seed_words(retrains), *narrow]:
        note(f"beforehand: {sentence}")


def add_evidence(given: Given, result: Result) -> None:
    """Attack the result and decide the gates, in place; nothing where no gate was asked for.

    Unseen rows are those of --test where there are some: targets were made from the held-out ones.
    """
    options, request = given.options, given.request
    if options.gate is None:
        return
    gates = parse_gates(options.gate)
    unseen = request.test if request.test is not None else request.parts.heldout
    assert unseen is not None  # `check_rows` has seen to it
    case = case_for(given, as_saved(options, result.loaded), unseen)
    note(f"attacking the result: {', '.join(gate.group for gate in gates)}")
    evidence, result.outcomes = gather(case, choose(case, [gate.group for gate in gates]), gates)
    if request.test is None:
        note("the unseen rows are those that targets were made from; --test gives others")
    if len(result.progress.gated) > 1:
        evidence = replace(evidence, notes=(*evidence.notes, _chosen(given, len(result.progress.gated))))
    result.evidence = evidence


def _chosen(given: Given, states: int) -> str:
    told = f"the best of {states} states was kept by the same gates, on the same forgotten rows"
    if given.request.test is None or given.request.parts.heldout is None:
        return f"{told} and the same unseen ones, which favours it (with --heldout and --test others judge)"
    return f"{told}, which favours it; the unseen rows that it is judged by here chose nothing"


def as_saved(options: UnlearnOptions, loaded: LoadedModel) -> LoadedModel:
    """The model as OUT will hold it: with its adapter merged where that is asked for."""
    if options.merge and hasattr(loaded.module, "peft_config"):
        return merge_adapter(replace(loaded, module=copy_of(loaded.module)))
    return loaded


def case_for(given: Given, loaded: LoadedModel, unseen: Samples) -> Case:
    """The case of a model of this run, compared with these unseen rows."""
    options, request = given.options, given.request
    request = replace(request, parts=replace(request.parts, heldout=unseen))
    original = load_model(model_path(options.model)).module
    retrains = [retrain.module for retrain in given.retrains]
    case = case_of(loaded, request, retrains, original, options.model, options.base, options.seed)
    return replace(case, alike=options.alike)
