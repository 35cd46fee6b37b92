"""Evidence as the report's section, as score rows, as JSON; and the gates of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from ofmu.attacks import Difference, TprAtFpr, TwoSided
from ofmu.cli.say import Bar, bar
from ofmu.evidence.case import Case
from ofmu.evidence.finding import Finding
from ofmu.evidence.gates import RULE, Gate, Outcome, decide
from ofmu.evidence.outcome import Evidence, evidence_of
from ofmu.evidence.plan import Plan, run
from ofmu.report.evidence import EvidenceSection, State, Tested
from ofmu.report.model import ORIGINAL, RETRAIN, ScoreRow


def gather(case: Case, plan: Plan, gates: Sequence[Gate] = ()) -> tuple[Evidence, list[Outcome]]:
    """Run the plan with a bar, correct all findings together, and decide the gates."""
    with bar("attacks") as shown:
        if case.shadows is not None:
            watch = partial(_watched, shown)
            case = replace(case, shadows=replace(case.shadows, watch=watch))
        return decided(case, plan, gates, shown)


def decided(
    case: Case, plan: Plan, gates: Sequence[Gate], shown: Bar | None = None
) -> tuple[Evidence, list[Outcome]]:
    """The same, on a bar that is there already, or on none."""
    groups: dict[str, list[Finding]] = {}
    for name, found in run(case, plan):
        groups[name] = found
        if shown is not None:
            shown.show(len(groups), len(plan.chosen), {})
    evidence = evidence_of(case, plan, [found for group in groups.values() for found in group])
    rest, corrected = list(evidence.findings), {}
    for name, group in groups.items():
        corrected[name], rest = rest[: len(group)], rest[len(group) :]
    return evidence, [decide(gate, corrected.get(gate.group, [])) for gate in gates]


def _watched(shown: Bar, done: int, total: int) -> None:
    shown.show(done, total, {"shadows": done})


def section(
    evidence: Evidence, outcomes: Sequence[Outcome] = (), gated: Sequence[Mapping[str, Any]] = (), kept: int = 0
) -> EvidenceSection:
    """The page's section. gated: what gates said of states on the way; kept: the step of the one that was kept."""
    return EvidenceSection(
        evidence.verdict,
        evidence.before,
        [tested(found) for found in evidence.findings],
        evidence.untested,
        evidence.notes,
        [(outcome.held, outcome.words) for outcome in outcomes],
        RULE if gated else "",
        [_state(look, kept) for look in gated],
        evidence.retrains > 0,
    )


def _state(look: Mapping[str, Any], kept: int) -> State:
    numbers = (str(look["missed"]), f"{look['excess']:.3f}", f"{look['retain_loss']:.4g}")
    return State(str(look["step"]), *numbers, " ".join(look["words"]), look["step"] == kept)


def tested(found: Finding) -> Tested:
    """One line of the table."""
    verdict = found.verdict
    words = found.words.partition(": ")[2] if verdict == "not tested" else "; ".join(found.extra)
    return Tested(
        found.attack,
        found.question,
        {"blind": "says nothing here"}.get(verdict, verdict) + _power(found),
        _auc(found.model),
        (", ".join(_auc(each) for each in found.retrains) or "–") + _seeds(found.against),
        _auc(found.original),
        "–" if found.adjusted is None else f"{found.adjusted:.2g}",
        _rates(found.model) + "".join(f" Retrained: {_rates(each)}" for each in found.retrains[:1]),
        words,
        found.caught,
    )


def _power(found: Finding) -> str:
    if found.verdict != "not detected" or found.smallest is None:
        return ""
    return f" at power .8 for a leak of {found.smallest:.2f} in AUC"


def _auc(found: TwoSided | None) -> str:
    if found is None:
        return "–"
    return f"{found.auc:.2f}" + ("" if found.spread is None else f" ± {found.spread:.2f}")


def _seeds(found: Difference | None) -> str:
    """By how much retrained models differ: ± of each is over rows alone."""
    return "" if found is None or found.seeds is None else f" (sd over seeds {found.seeds:.3f})"


def _rates(found: TwoSided | None) -> str:
    if found is None:
        return "–"
    sides = (("remembered", found.remembered), ("over-forgotten", found.over_forgotten))
    return "; ".join(f"{name}: {', '.join(_rate(rate) for rate in rates)}" for name, rates in sides)


def short_rates(found: Finding) -> str:
    """For the terminal: what an attack that looks for memory finds at low false alarms, beside the first Retrain.

    Empty where no rate is resolvable.
    """
    if found.model is None:
        return ""
    gold = found.retrains[0].remembered if found.retrains else [None] * len(found.model.remembered)
    said = []
    for ours, theirs in zip(found.model.remembered, gold, strict=True):
        if ours.tpr is not None:
            beside = "" if theirs is None or theirs.tpr is None else f" (retrained {_share(theirs)})"
            said.append(f"{_share(ours)}{beside} at {ours.fpr:.1%} false alarms")
    return "finds " + ", ".join(said) if said else ""


def _rate(rate: TprAtFpr) -> str:
    return f"at {rate.fpr:.1%} not resolvable" if rate.tpr is None else f"{_share(rate)} at {rate.fpr:.1%}"


def _share(rate: TprAtFpr) -> str:
    """A rate that there is, with its exact interval."""
    return f"{rate.tpr:.1%} [{rate.low:.1%}, {rate.high:.1%}]"


def rows(task: str, name: str, seed: int, evidence: Evidence) -> list[ScoreRow]:
    """The AUC of every attack on every model, as scores that other commands read."""
    found = []
    for each in evidence.findings:
        metric = f"{each.attack}_attack_auc"
        found.append(_row(task, name, seed, metric, each.model, each.missing))
        if each.retrains:
            found.append(_row(task, RETRAIN, seed, metric, each.retrains[0], each.missing))
        if each.original is not None:
            found.append(_row(task, ORIGINAL, seed, metric, each.original, each.missing))
    return found


def _row(task: str, name: str, seed: int, metric: str, found: TwoSided | None, missing: str | None) -> ScoreRow:
    if found is None:
        return ScoreRow(task, name, seed, metric, None, 0, missing=missing or "not tested")
    return ScoreRow(task, name, seed, metric, found.auc, found.n_forget)


def _difference(found: Difference | None) -> dict[str, Any] | None:
    """As JSON, which knows no infinity: no degrees of freedom are those of the normal distribution."""
    if found is None:
        return None
    return {**asdict(found), "freedom": found.freedom if math.isfinite(found.freedom) else None}


def plain(evidence: Evidence, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All of it as JSON."""
    findings = [
        {
            **asdict(found),
            "against": _difference(found.against),
            "control": _difference(found.control),
            "p": found.p,
            "leak": found.leak,
            "smallest": found.smallest,
            "verdict": found.verdict,
        }
        for found in evidence.findings
    ]
    gates = [{**asdict(outcome.gate), "held": outcome.held, "words": outcome.words} for outcome in outcomes]
    return {
        "verdict": evidence.verdict,
        "power": list(evidence.before),
        "findings": findings,
        "left_out": evidence.left_out,
        "notes": list(evidence.notes),
        "gates": gates,
    }
