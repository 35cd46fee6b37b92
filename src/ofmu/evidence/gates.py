"""Gates: limits that a run must keep, decided by attacks, in words that say what was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student

from ..errors import UserError
from .finding import Finding
from .plan import ATTACKS
from .statistics import LEVEL

NOTHING = 0.5  # the excess of a gate where no attack could have found anything, or one failed


@dataclass(frozen=True)
class Gate:
    """A group of attacks and its limit.

    limit: None: no attack of the group may detect a trace (5 %, corrected for all attacks of the run). A number:
    the leak |AUC − Retrain's AUC| (without Retrain |AUC − .5|) must be *shown* to be at most this, by the upper
    end of its one-sided 95 % interval: too few rows then miss the gate, and so does one Retrain alone where rows
    are not alike, since nothing then says how far another retraining would lie.
    """

    group: str
    limit: float | None = None


@dataclass(frozen=True)
class Outcome:
    """Whether one gate held, and why, as a sentence.

    excess: how far it was missed, in AUC; 0 where it held. With a limit: what the interval's upper end exceeds it
    by. Without: the largest leak that was detected. `NOTHING`, or more, where nothing could be detected or an
    attack failed.
    """

    gate: Gate
    held: bool
    words: str
    excess: float = 0.0


RULE = (
    "the fewest missed gates; of those the smallest largest excess over a limit (without a limit: the largest "
    "detected leak); of those the smallest loss on rows to keep; of those the first"
)


@dataclass(frozen=True, order=True)
class Standing:
    """How a state of a run does at the gates; the smallest is the best by `RULE`. excess: the largest."""

    missed: int
    excess: float
    retain_loss: float


def standing(outcomes: Sequence[Outcome], retain_loss: float) -> Standing:
    """The standing of a state; retain_loss: the mean on rows to keep, in nats."""
    missed = [outcome for outcome in outcomes if not outcome.held]
    return Standing(len(missed), max((outcome.excess for outcome in missed), default=0.0), retain_loss)


def parse_gates(text: str) -> list[Gate]:
    """`mia`, `mia,relearn=0.1`, …; UserError for an unknown attack, a limit that is none, and one named twice."""
    gates = []
    for part in text.split(","):
        name, equals, limit = (piece.strip() for piece in part.partition("="))
        if name not in ATTACKS:
            raise UserError(f"--gate: found {name!r}, expected some of {', '.join(ATTACKS)}")
        if equals and name == "klom":  # p is of a permutation test: it gives no interval for the leak's size
            raise UserError("--gate: found klom with a limit, which no interval shows; give klom alone")
        gates.append(Gate(name, _limit(name, limit) if equals else None))
    names = [gate.group for gate in gates]
    if len(set(names)) < len(names):
        raise UserError(f"--gate: found {text!r}, expected every attack once")
    return gates


def _limit(name: str, text: str) -> float:
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 < limit < 0.5:
        raise UserError(
            f"--gate: found the limit {text!r} for {name}, expected an AUC difference inside (0, .5), such as 0.1"
        )
    return limit


def decide(gate: Gate, findings: Sequence[Finding]) -> Outcome:
    """One gate, from the corrected findings of its group.

    Missed also where an attack of the group was tried and failed: what was not seen is not safe. One that could
    not be applied here (no adapter, no base model, …) is named and nothing more.
    """
    answered = [found for found in findings if found.model is not None]
    if not answered:
        why = _reasons(findings) or "it was not run"
        return _said(gate, _Answer(False, f"since nothing could be tested ({why})", NOTHING))
    answer = _nothing_detected(answered) if gate.limit is None else _within(gate.limit, answered)
    failed = [found for found in findings if found.failed]
    if failed:
        seen = "" if answer.held else f"; {answer.why}"
        answer = _Answer(False, f"since attacks failed ({_reasons(failed)}){seen}", max(answer.excess, NOTHING))
    absent = [found for found in findings if found.missing is not None and not found.failed]
    return _said(gate, answer, f" Not tested: {_reasons(absent)}." if absent else "")


@dataclass(frozen=True)
class _Answer:
    """An outcome without its gate; why: a clause without a full stop."""

    held: bool
    why: str
    excess: float = 0.0


BLIND = _Answer(False, "since no attack of the group could have detected the original either", NOTHING)
FEW = _Answer(
    False,
    "since too few rows were given: no attack of the group could have detected even the largest leak",
    NOTHING,
)


UNSHOWN = (
    "since one retrained model cannot show a limit: how far another retraining would lie is not known; say "
    "--alike if the rows were drawn at random from one pool, or give --retrain several times"
)


def _said(gate: Gate, answer: _Answer, more: str = "") -> Outcome:
    words = f"{gate.group}: {'held' if answer.held else 'missed'}, {answer.why}.{more}"
    return Outcome(gate, answer.held, words, answer.excess)


def _reasons(findings: Sequence[Finding]) -> str:
    return "; ".join(f"{found.attack}: {found.missing}" for found in findings)


def _within(limit: float, answered: Sequence[Finding]) -> _Answer:
    if all(found.verdict == "blind" for found in answered):
        return BLIND
    ends = {found.attack: _upper(found, limit) for found in answered}
    unsure = [name for name, end in ends.items() if end is None]
    if unsure:
        why = f"since too few rows were given to show a limit ({', '.join(unsure)})"
        return _Answer(False, why, NOTHING)
    shown = {name: end for name, end in ends.items() if end is not None}
    worst = max(shown, key=lambda name: shown[name])
    excess = max(0.0, shown[worst] - limit)
    if excess == 0 and any(found.against is not None and not found.against.whole for found in answered):
        return _Answer(False, UNSHOWN)
    why = f"the leak of {worst} is at most {shown[worst]:.3f} in AUC (95 %), the limit is {limit:g}"
    return _Answer(excess == 0, why, excess)


def _nothing_detected(answered: Sequence[Finding]) -> _Answer:
    caught = [found for found in answered if found.caught]
    if caught:
        why = "; ".join(f"{found.attack}: {found.words.removesuffix('.')}" for found in caught)
        return _Answer(False, why, max(abs(found.leak or 0.0) for found in caught))
    seeing = [found for found in answered if found.verdict != "blind"]
    sharp = [found.smallest for found in seeing if found.smallest is not None]
    if not sharp:
        return FEW if seeing else BLIND
    dull = [f.attack for f in answered if f.verdict == "blind" or f.smallest is None]
    rest = f"; {', '.join(dull)} could have detected nothing here" if dull else ""
    return _Answer(True, f"no trace detected at power .8 for a leak of {max(sharp):.2f} in AUC{rest}")


def _upper(found: Finding, limit: float) -> float | None:
    """The upper end of the one-sided 95 % interval of the leak's size; None where the rows give no interval.

    Where they give none, a leak that is itself above the limit is its own end.

    Of Student's t with no more degrees of freedom than the smaller side has rows, less one: DeLong's error is
    itself estimated from them. An error of 0 (all rows separate perfectly, in Retrain too) measures nothing.
    """
    if found.model is None:
        return None
    rows, leak = min(found.model.n_forget, found.model.n_heldout) - 1, abs(found.leak or 0.0)
    most, error, freedom = 0.5, found.model.spread, float(rows)
    if found.against is not None:
        most, error, freedom = 1.0, found.against.error, min(found.against.freedom, rows)
    if not error or freedom < 1:
        return leak if leak > limit else None
    return min(most, leak + float(student.isf(LEVEL, freedom)) * error)
