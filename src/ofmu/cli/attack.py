"""`ofmu attack`: what an adversary can still get out of an unlearned model."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch.nn import Module

from ofmu.cli.attack_options import AttackOptions
from ofmu.cli.attack_probes import with_probes
from ofmu.cli.attack_shadows import with_shadows
from ofmu.cli.config import environment
from ofmu.cli.evidence import gather, plain, rows, section, short_rates, tested
from ofmu.cli.exits import DONE, GATE_MISSED
from ofmu.cli.job import gradient
from ofmu.cli.loading import check_finite, check_length, check_retrained, load_like, model_path, places_of
from ofmu.cli.places import another, folder_to_write
from ofmu.cli.say import note, print_json
from ofmu.engine.models import LoadedModel, load_model
from ofmu.engine.provenance import base_of, read_provenance
from ofmu.engine.requests import Files, Request, load_request
from ofmu.errors import UserError
from ofmu.evidence.case import Case
from ofmu.evidence.gates import Outcome, parse_gates
from ofmu.evidence.outcome import Evidence, before_words, narrow_words
from ofmu.evidence.plan import Plan, choose
from ofmu.report.model import Page, TaskSection
from ofmu.report.page import write_page
from ofmu.report.scores import write_scores
from ofmu.tasks import Kind

NAME = "Unlearned"
WRITTEN = ("evidence.json", "report.html")


def attack(options: AttackOptions) -> int:
    """Attack, print, and write; see `AttackOptions`. Returns the exit code."""
    gates = [] if options.gate is None else parse_gates(options.gate)
    asked = None if options.attacks is None else [name.strip() for name in options.attacks.split(",")]
    _check(options)
    out = None if options.out is None else folder_to_write(options.out, WRITTEN, options.overwrite)
    case = _case(options)
    budget = None if options.budget is None else options.budget * gradient(case.kind)
    plan = choose(case, asked, budget, [gate.group for gate in gates])
    narrow = narrow_words(gates, len(case.forget), len(case.heldout), len(case.retrains))
    for sentence in [*before_words(case), *narrow, _planned(plan, case.kind)]:
        note(f"beforehand: {sentence}")
    if not plan.chosen:
        raise UserError(f"--attacks, --budget: nothing is left to run ({_left_out(plan.left_out)})")
    evidence, outcomes = gather(case, plan, gates)
    code = GATE_MISSED if any(not outcome.held for outcome in outcomes) else DONE
    if options.json:
        print_json({"exit_code": code, **plain(evidence, outcomes)})
    else:
        _print(evidence, outcomes)
    if out is not None:
        _write(out, options, evidence, outcomes)
    return code


def _check(options: AttackOptions) -> None:
    """UserError for numbers that cannot be, before anything is loaded."""
    if options.budget is not None and not 0 < options.budget < math.inf:
        raise UserError(f"--budget: found {options.budget:g}, expected a number of gradients above 0")
    if options.seed < 0:
        raise UserError(f"--seed: found {options.seed}, expected 0 or more")
    check_length(options.max_length)


def _planned(plan: Plan, kind: Kind) -> str:
    shadows = "".join(f" ({number} shadows)" for number in set(plan.shadows.values()))
    cost = f"about {plan.cost / gradient(kind):,.0f} gradient-equivalents"
    left = f"; not run: {_left_out(plan.left_out)}" if plan.left_out else ""
    return f"{', '.join(plan.chosen) or 'nothing'}{shadows}, {cost}{left}"


def _left_out(left_out: dict[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in left_out.items())


def _case(options: AttackOptions) -> Case:
    files = Files(
        options.forget,
        options.retain,
        options.heldout,
        data=options.data,
        forget_ids=options.forget_ids,
        forget_where=options.forget_where,
        unrelated=options.unrelated,
    )
    if options.heldout is None:
        raise UserError(
            "--heldout: found none; give rows like the forgotten ones that no model was trained on: every attack "
            "compares with them"
        )
    loaded = load_model(model_path(options.model))
    check_finite(loaded.module, options.model)
    request = load_request(loaded, files, options.max_length)
    for text in (*loaded.notes, *request.notes):
        note(text)
    retrains = tuple(_like(loaded, place, "--retrain") for place in options.retrain)
    original = None if options.original is None else _like(loaded, options.original, "--original")
    check_retrained(retrains)
    trained = options.original or options.model
    case = case_of(loaded, request, retrains, original, trained, options.base, options.seed)
    case = replace(case, alike=options.alike, unrelated=request.unrelated)
    return with_probes(with_shadows(case, options), options.probes)


def case_of(
    loaded: LoadedModel,
    request: Request,
    retrains: Sequence[Module],
    original: Module | None,
    trained: str,
    base: str | None,
    seed: int,
) -> Case:
    """The case of these models; trained: the directory whose training.json says how the models were trained."""
    provenance = read_provenance(model_path(trained))
    place = base or base_of(provenance)
    if loaded.kind == "image" and base is not None:
        raise UserError("--base: serves text models")
    try:
        return Case(
            loaded.kind,
            loaded.module,
            request.parts,
            tuple(retrains),
            original,
            base=None if place is None or loaded.kind == "image" else _like(loaded, place, "--base"),
            encoder=request.encoder,
            recipe=None if provenance is None else provenance.recipe,
            seed=seed,
        )
    except ValueError as error:
        raise UserError(f"--forget, --heldout: {error}") from None


def _like(loaded: LoadedModel, place: str, name: str) -> Module:
    other = load_like(loaded, place, name)
    check_finite(other.module, place)
    return other.module


def _write(out: Path, options: AttackOptions, evidence: Evidence, outcomes: Sequence[Outcome]) -> None:
    task, shown = Path(options.forget or str(options.data)).stem, _without_names(options)
    scores_file, page_file = (out / name for name in WRITTEN)
    scores = rows(task, NAME, options.seed, evidence)
    write_scores(scores_file, scores, {"evidence": plain(evidence, outcomes)})
    page = Page(
        f"Attacks: {task}",
        {
            **places_of(options),
            "Unlearned model": options.model,
            "Original": options.original or "none given",
            "Retrained": ", ".join(options.retrain) or "none given",
            "Held out": str(options.heldout),
        },
        evidence.verdict,
        [TaskSection(task, evidence.rows, scores)],
        environment(),
        _command(shown),
        config=json.dumps(asdict(shown), indent=1, ensure_ascii=False),
        evidence=section(evidence, outcomes),
    )
    try:
        write_page(page_file, page)
    except UserError as error:
        note(f"report.html is left out: {error}")
    note(f"{out}: {', '.join(name for name in WRITTEN if (out / name).exists())}")


def _without_names(options: AttackOptions) -> AttackOptions:
    """The options as a page may print them: a value that picks the forgotten rows, such as a name, is left out."""
    where = options.forget_where
    return options if where is None else replace(options, forget_where=f"{where.split('=')[0]}=…")


def _command(options: AttackOptions) -> str:
    words = ["ofmu", "attack"]
    for name, value in asdict(replace(options, out=another(str(options.out)), overwrite=False)).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, list):
            words += [word for item in value for word in (flag, item)]
        elif value is True:
            words.append(flag)
        elif value is not None and value is not False and not (name == "seed" and value == 0):
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _print(evidence: Evidence, outcomes: Sequence[Outcome]) -> None:
    table = Table(box=None, padding=(0, 1))
    for name in ("attack", "AUC", "retrained", "original", "p (Holm)", "answer"):
        words = name in ("attack", "answer")
        table.add_column(name, justify="left" if words else "right", no_wrap=name not in ("retrained", "answer"))
    lines = [tested(found) for found in evidence.findings]
    for line in lines:
        table.add_row(line.attack, line.model, line.retrain, line.original, line.p, line.verdict)
    Console().print(table)
    for found, line in zip(evidence.findings, lines, strict=True):
        said = "; ".join(part for part in (short_rates(found), line.words) if part)
        if said and found.missing is None:  # the reason of those without an answer stands below
            print(f"{line.attack}: {said}")
    print("\n".join(evidence.verdict))
    for outcome in outcomes:
        print(f"Gate {outcome.words}")
    print("Not tested: " + (_left_out(evidence.untested) or "attacks that ofmu does not know") + ".")
    for sentence in evidence.notes:
        print(f"Note: {sentence}.")
