"""A finished run of attacks: what it found, and in words what these numbers of rows can show at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .case import Case
from .finding import Finding, corrected
from .gates import Gate
from .plan import Plan
from .statistics import (
    POWER,
    detectable_auc,
    detectable_shift,
    detectable_tpr,
    models_needed,
    samples_needed,
)

FPR = (0.01, 0.001)
SMALL = 0.55  # an AUC that is worth knowing of
SHIFT = 1.0  # standard deviations between seeds


@dataclass(frozen=True)
class Evidence:
    """A finished run: findings corrected for their number, what was left out, and what was known beforehand.

    forget, heldout: rows that attacks looked at; asked, unseen: those that there are.
    """

    findings: tuple[Finding, ...]
    left_out: dict[str, str]
    before: tuple[str, ...]
    forget: int
    heldout: int
    retrains: int
    original: bool
    asked: int
    unseen: int
    notes: tuple[str, ...] = field(default=())

    @property
    def detected(self) -> list[Finding]:
        """The findings that say something is left, or stands out."""
        return [found for found in self.findings if found.caught]

    @property
    def untested(self) -> dict[str, str]:
        """Attacks that were left out, and those that were tried and gave no answer, with the reason."""
        silent = {found.attack: found.missing for found in self.findings if found.missing is not None}
        return {**self.left_out, **silent}

    @property
    def rows(self) -> str:
        """How many rows the request is about, and how many of them attacks looked at."""
        looked, seen = (
            "" if at == of else f" ({at:,} of them attacked)"
            for at, of in ((self.forget, self.asked), (self.heldout, self.unseen))
        )
        forgotten = f"{self.asked:,} rows were to be forgotten{looked}"
        return f"{forgotten}; {self.unseen:,} unseen rows{seen} are compared with them."

    @property
    def verdict(self) -> list[str]:
        """The run in two or three sentences that say no more than was tested."""
        names = {
            verdict: [found.attack for found in self.findings if found.verdict == verdict]
            for verdict in ("not detected", "blind")
        }
        failed = [found.attack for found in self.findings if found.failed]
        tested = len(names["not detected"]) + len(self.detected)
        said = [
            f"{len(self.detected)} of {tested} attacks that gave an answer found a trace (5 % for all together)."
            if tested
            else "No attack gave an answer: this run says nothing about what is left."
        ]
        said += [f"{found.attack}: {found.words}" for found in self.detected]
        if tested and not self.detected:
            said.append(
                f"{self._power} That is not proof of absence: smaller traces, and other attacks, were not tested."
            )
        if names["blind"]:
            blind = ", ".join(names["blind"])
            said.append(f"Not even the original model is caught by {blind}: they say nothing here.")
        if failed:
            said.append(f"Tried and failed: {', '.join(failed)}.")
        return said

    @property
    def _power(self) -> str:
        """What the attacks that detected nothing would have detected."""
        silent = [found for found in self.findings if found.verdict == "not detected"]
        sharp = [found.smallest for found in silent if found.smallest is not None]
        if not sharp:
            return "Not detected, at no power: not even a leak of .5 is known to be detectable with so few rows."
        ends = f"{min(sharp):.2f}" + (
            f" to {max(sharp):.2f}, by attack," if max(sharp) - min(sharp) > 0.01 else ""
        )
        blunt = len(silent) - len(sharp)
        rest = f"; {blunt} of them at no power" if blunt else ""
        return f"Not detected at power {POWER:g} for leaks of {ends} in AUC{rest}."


def evidence_of(case: Case, plan: Plan, findings: Sequence[Finding]) -> Evidence:
    """The findings of a run, corrected."""
    assert case.parts.heldout is not None  # `Case` has seen to it
    return Evidence(
        tuple(corrected(findings)),
        dict(plan.left_out),
        tuple(before_words(case)),
        len(case.forget),
        len(case.heldout),
        len(case.retrains),
        case.original is not None,
        len(case.parts.forget),
        len(case.parts.heldout),
        (*_notes(case), *_probe_notes(case, plan)),
    )


def before_words(case: Case) -> list[str]:
    """What these rows and retrained models can show at all: said before a run."""
    return [*power_words(len(case.forget), len(case.heldout)), *seed_words(len(case.retrains))]


def narrow_words(gates: Sequence[Gate], forget: int, heldout: int, retrains: int) -> list[str]:
    """Which gates have a limit below what these numbers of rows detect: they may be missed with nothing left."""
    auc = detectable_auc(forget, heldout)
    least = 0.5 if auc is None else auc - 0.5
    said = "no leak" if auc is None else f"a leak of {least:.3f} in AUC and more"
    paired = "; beside retrained models, on the same rows, smaller ones are often seen" if retrains else ""
    return [
        f"the gate {gate.group}={gate.limit:g} can hardly be shown to hold: {forget} forgotten and {heldout} "
        f"held-out rows detect {said} with power {POWER:g}{paired}"
        for gate in gates
        if gate.limit is not None and gate.limit < least
    ]


def power_words(forget: int, heldout: int) -> list[str]:
    """What these numbers of rows can show at all."""
    auc = detectable_auc(forget, heldout)
    rows = f"{forget} forgotten and {heldout} held-out rows"
    said = [
        f"{rows} detect no leak with power {POWER:g}"
        if auc is None
        else f"{rows} detect an AUC of {auc:.3f} or more (or {1 - auc:.3f} or less) with power {POWER:g}, "
        "in one test at the 5 % level"
    ]
    if auc is None or auc > SMALL:
        said.append(
            f"to detect an AUC of {SMALL:g} would take {samples_needed(SMALL):,} forgotten rows and as many "
            "held-out ones, and more for several attacks together"
        )
    for fpr in FPR:
        if heldout < 1 / fpr:
            said.append(
                f"a false-positive rate of {fpr:.1%} is not resolvable: it takes {1 / fpr:.0f} held-out rows"
            )
            continue
        rate = detectable_tpr(fpr, forget)
        if rate is not None:
            said.append(
                f"at a false-positive rate of {fpr:.1%}, finding {rate:.1%} of the forgotten rows is detectable, "
                "the threshold taken as known"
            )
    return said


def seed_words(retrains: int) -> list[str]:
    """What one unlearned model beside so many retrained ones shows of a shift that seeds alone could make."""
    if retrains < 2:
        return []
    return [
        f"one model beside {retrains} retrained ones shows a shift of all rows together from "
        f"{detectable_shift(1, retrains):.1f} standard deviations of their seeds (power {POWER:g}, 5 %); "
        f"one of {SHIFT:g} takes {models_needed(SHIFT)} models of either kind"
    ]


def _probe_notes(case: Case, plan: Plan) -> list[str]:
    if "inside" not in plan.chosen or len(case.retrains) != 1:
        return []
    return [
        "probes beside one retrained model raise false alarms about two to three times as often as said: they are "
        "fitted on the labels that they are asked for; several retrained models settle it"
    ]


def _notes(case: Case) -> list[str]:
    if not case.retrains:
        return ["no retrained model was given: forgotten and held-out rows may differ by themselves"]
    if case.alike:
        return ["forgotten and held-out rows were said to be drawn at random from one pool: p relies on it"]
    if len(case.retrains) == 1:
        return [
            "one retrained model: how far two of them differ by their seeds is not known, and not in the errors"
        ]
    if len(case.retrains) < 5:
        return [
            f"{len(case.retrains)} retrained models: if seeds shift them as a whole, which they do not where "
            "forgotten and unseen rows are of one kind, false alarms are more frequent than said; five or more "
            "settle it"
        ]
    return [
        "if forgotten and held-out rows were drawn at random from one pool, the tests are more careful than they "
        "say (false alarms of 3 to 4 % at 5 %); say so (--alike) for what they can show in full"
    ]
