"""Gates: limits that a run must keep, decided by attacks, in words that say what was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError
from .finding import Finding
from .plan import ATTACKS

NOTHING = 0.5  # the excess of a gate where no attack could have found anything
SIDE = 1.645  # standard errors to the upper end of a one-sided 95 % interval


@dataclass(frozen=True)
class Gate:
    """A group of attacks and its limit.

    limit: None: no attack of the group may detect a trace (5 %, corrected for all attacks of the run). A number:
    the leak |AUC − Retrain's AUC| (without Retrain |AUC − .5|) must be *shown* to be at most this, by the upper
    end of its one-sided 95 % interval: too few rows then miss the gate.
    """

    group: str
    limit: float | None = None


@dataclass(frozen=True)
class Outcome:
    """Whether one gate held, and why, as a sentence.

    excess: how far it was missed, in AUC; 0 where it held. With a limit: what the interval's upper end exceeds it
    by. Without: the largest leak that was detected, and `NOTHING` where nothing could be.
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
    """One gate, from the corrected findings of its group."""
    answered = [found for found in findings if found.model is not None]
    if not answered:
        why = "; ".join(f"{found.attack}: {found.missing}" for found in findings) or "it was not run"
        return Outcome(gate, False, f"{gate.group}: missed, since nothing could be tested ({why}).", NOTHING)
    if gate.limit is None:
        return _nothing_detected(gate, answered)
    ends = {found.attack: _upper(found) for found in answered}
    worst = max(ends, key=lambda name: ends[name])
    held = ends[worst] <= gate.limit
    words = f"the leak of {worst} is at most {ends[worst]:.3f} in AUC (95 %), the limit is {gate.limit:g}"
    excess = max(0.0, ends[worst] - gate.limit)
    return Outcome(gate, held, f"{gate.group}: {'held' if held else 'missed'}, {words}.", excess)


def _nothing_detected(gate: Gate, answered: Sequence[Finding]) -> Outcome:
    caught = [found for found in answered if found.verdict in ("remembered", "over-forgotten")]
    if caught:
        words = " ".join(f"{found.attack}: {found.words}" for found in caught)
        return Outcome(gate, False, f"{gate.group}: missed. {words}", max(abs(f.leak or 0.0) for f in caught))
    sharp = [found.smallest for found in answered if found.verdict != "blind" and found.smallest is not None]
    if not sharp:
        blind = "no attack of the group could have detected the original either, or too few rows were given"
        return Outcome(gate, False, f"{gate.group}: missed, since {blind}.", NOTHING)
    shown = f"no trace detected at power .8 for a leak of {max(sharp):.2f} in AUC"
    return Outcome(gate, True, f"{gate.group}: held, {shown}.")


def _upper(found: Finding) -> float:
    leak = 0.0 if found.leak is None else abs(found.leak)
    if found.against is not None:
        return leak + SIDE * found.against.error
    spread = None if found.model is None else found.model.spread
    return 0.5 if spread is None else leak + SIDE * spread
