"""`--gate`: attacks at the end of a run, on the model as it will be saved."""

from __future__ import annotations

from dataclasses import replace

from ofmu.cli.attack import case_of
from ofmu.cli.evidence import gather
from ofmu.cli.loading import model_path
from ofmu.cli.options import UnlearnOptions
from ofmu.cli.say import note
from ofmu.cli.unlearn import Given
from ofmu.cli.writing import Result
from ofmu.engine.launched import Parallel
from ofmu.engine.models import load_model
from ofmu.engine.trainable import merge_adapter
from ofmu.errors import UserError
from ofmu.evidence.case import copy_of
from ofmu.evidence.gates import parse_gates
from ofmu.evidence.plan import choose


def check_gate(options: UnlearnOptions, parallel: Parallel) -> None:
    """UserError for gates that cannot be decided, before anything is loaded."""
    if options.gate is None:
        return
    parse_gates(options.gate)
    if options.heldout is None and options.test is None:
        raise UserError("--gate: attacks compare with unseen rows, found neither --test nor --heldout; give one")
    if parallel != "none":
        raise UserError("--gate: found several processes, expected one; run ofmu attack on OUT afterwards")


def check_rows(given: Given) -> None:
    """UserError where there are too few rows to attack, before the run."""
    request = given.request
    unseen = request.test if request.test is not None else request.parts.heldout
    if given.options.gate is not None and (unseen is None or len(unseen) < 4 or len(request.parts.forget) < 2):
        found = 0 if unseen is None else len(unseen)
        raise UserError(
            f"--gate: found {len(request.parts.forget)} rows to forget and {found} unseen ones, expected at least "
            "2 and 4"
        )


def add_evidence(given: Given, result: Result) -> None:
    """Attack the result and decide the gates, in place; nothing where no gate was asked for.

    Unseen rows are those of --test where there are some: targets were made from the held-out ones.
    """
    options, request = given.options, given.request
    if options.gate is None:
        return
    gates = parse_gates(options.gate)
    unseen = request.test if request.test is not None else request.parts.heldout
    request = replace(request, parts=replace(request.parts, heldout=unseen))
    saved = result.loaded
    if options.merge and hasattr(saved.module, "peft_config"):
        saved = merge_adapter(replace(saved, module=copy_of(saved.module)))
    original = load_model(model_path(options.model)).module
    retrains = [] if given.retrain is None else [given.retrain.module]
    case = case_of(saved, request, retrains, original, options.model, options.base, options.seed)
    note(f"attacking the result: {', '.join(gate.group for gate in gates)}")
    result.evidence, result.outcomes = gather(case, choose(case, [gate.group for gate in gates]), gates)
    if request.test is None:
        note("the unseen rows are those that targets were made from; --test gives others")
