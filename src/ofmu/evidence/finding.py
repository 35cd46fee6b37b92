"""What one attack found of an unlearned model, beside the same attack on Retrain and on the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from ..attacks import Difference, TwoSided, auc_difference, two_sided
from ..metrics.score import Floats
from .statistics import LEVEL, POWER, detectable_auc, holm

Family = Literal["membership", "recovery", "inside", "elicitation"]
Verdict = Literal["remembered", "over-forgotten", "looks unlearned", "not detected", "blind", "not tested"]
DETECTED: tuple[Verdict, ...] = ("remembered", "over-forgotten", "looks unlearned")
Pair = tuple[Floats, Floats]  # an attack's scores of the forget rows and of the held-out rows; high for members


@dataclass(frozen=True)
class Finding:
    """One attack's answer.

    attack: its name; question: what it asks, in plain words. model, retrains, original: what it finds of each
    (original is the positive control: the model that still remembers). against: the model's AUC minus that of the
    retrained models. control: the original's. p: of "no leak", against Retrain where there is one, otherwise
    against an AUC of .5; adjusted: the same corrected for all attacks of the run (Holm), None before that. extra:
    further numbers in words. missing: why there is no answer; then all numbers are None. failed: it was tried and
    broke down, which is no sign of safety; otherwise a missing attack could not be applied here. one_sided: only a
    leak above 0 means something, and p is that of the one side. marks: a high score says "was unlearned", however
    far, and not "is remembered"; the original, which unlearned nothing, is no control of it. level: of this test;
    after correction `LEVEL` divided by the number of tests.
    """

    attack: str
    family: Family
    question: str
    model: TwoSided | None = None
    retrains: tuple[TwoSided, ...] = ()
    original: TwoSided | None = None
    against: Difference | None = None
    control: Difference | None = None
    adjusted: float | None = None
    extra: tuple[str, ...] = ()
    missing: str | None = None
    failed: bool = False
    one_sided: bool = False
    marks: bool = False
    level: float = LEVEL

    @property
    def p(self) -> float | None:
        """The p-value before correction; None where the attack gave no answer."""
        if self.model is None:
            return None
        both = self.model.p if self.against is None else self.against.p
        if not self.one_sided:
            return both
        return both / 2 if (self.leak or 0.0) > 0 else 1 - both / 2

    @property
    def leak(self) -> float | None:
        """AUC minus Retrain's, or minus .5 without one: above 0 remembered, below over-forgotten."""
        if self.model is None:
            return None
        return self.model.auc - 0.5 if self.against is None else self.against.value

    @property
    def smallest(self) -> float | None:
        """The smallest |leak| that this attack would have detected with power .8; None where not even .5 is.

        Against Retrain: (q + z_.8) standard errors, q the quantile of p's distribution at `level` (Student's with
        4 degrees of freedom: power .7 to .77); without: from the numbers of samples. After correction this is the
        power of Holm's first step, which holds whatever the other attacks find.
        """
        if self.model is None:
            return None
        both = 2 * self.level if self.one_sided else self.level  # of a test of both sides with the same upper end
        if self.against is not None:
            quantiles = float(student.isf(both / 2, self.against.freedom) + norm.isf(1 - POWER))
            least = quantiles * self.against.error
            return least if 0 < least <= 0.5 else None
        auc = detectable_auc(self.model.n_forget, self.model.n_heldout, level=both)
        return None if auc is None else auc - 0.5

    @property
    def verdict(self) -> Verdict:
        """What may be said at the 5 % level, after correction."""
        if self.model is None or self.leak is None or self.p is None:
            return "not tested"
        if (self.p if self.adjusted is None else self.adjusted) < LEVEL:
            if self.marks:
                return "looks unlearned"
            return "remembered" if self.leak > 0 else "over-forgotten"
        return "blind" if self._blind else "not detected"

    @property
    def caught(self) -> bool:
        """Whether the rows were told from unseen ones, after correction."""
        return self.verdict in DETECTED

    @property
    def _blind(self) -> bool:
        """Whether the attack does not even find the model that still remembers."""
        if self.original is None:
            return False
        p = self.original.p if self.control is None else self.control.p
        leak = self.original.auc - 0.5 if self.control is None else self.control.value
        return leak <= 0 or p / 2 >= LEVEL  # one-sided: a memory is above, whatever the attack looks for

    @property
    def words(self) -> str:
        """The verdict as a sentence that says no more than was tested."""
        if self.missing is not None:
            return f"Not tested: {self.missing}."
        beside = "a retrained model" if self.against is not None else "chance"
        size = f"AUC {self._number('model')}, {beside} {self._beside}"
        if self.verdict == "remembered":
            return f"Detected: the forgotten rows are still remembered ({size})."
        if self.verdict == "over-forgotten":
            return f"Detected: the forgotten rows stand out by being forgotten too well ({size})."
        if self.verdict == "looks unlearned":
            return f"Detected: the forgotten rows look unlearned rather than never seen ({size})."
        if self.verdict == "blind":
            return f"Says nothing here: the attack does not find the original model's memory either ({size})."
        if self.smallest is None:
            return f"Not detected, at no power: not even a leak of .5 is known to be detectable ({size})."
        return f"Not detected at power {POWER:g} for a leak of {self.smallest:.2f} in AUC ({size})."

    def _number(self, which: str) -> str:
        found: TwoSided | None = getattr(self, which)
        if found is None:
            return "–"
        return f"{found.auc:.3f}" + ("" if found.spread is None else f" ± {found.spread:.3f}")

    @property
    def _beside(self) -> str:
        aucs = [found.auc for found in self.retrains]
        return "0.500" if not aucs else f"{sum(aucs) / len(aucs):.3f}"


def judged(
    finding: Finding, ours: Pair, gold: Sequence[Pair], before: Pair | None, alike: bool = False
) -> Finding:
    """A finding from the scores of the model, of the retrained models and of the original.

    alike: whether the forget and the held-out rows were drawn from one pool (`auc_difference`).

    A score that is the same for every row of the model orders none: that is no answer, but no failure either
    (nothing left to extract looks so).
    """
    try:
        return replace(
            finding,
            model=two_sided(*ours),
            retrains=tuple(two_sided(*pair, flat=True) for pair in gold),
            original=None if before is None else two_sided(*before, flat=True),
            against=auc_difference(*ours, gold, alike) if gold else None,
            control=auc_difference(*before, gold, alike) if gold and before is not None else None,
        )
    except ValueError as error:
        scores = np.concatenate([np.ravel(side) for side in ours])
        flat = scores.size > 0 and bool((scores == scores[0]).all())
        return replace(finding, missing=str(error), failed=not flat)


def corrected(findings: Sequence[Finding]) -> list[Finding]:
    """All findings of a run with their p-values corrected for having made so many tests (Holm).

    level: of each, `LEVEL` by the number of tests, Bonferroni's and that of Holm's first step.
    """
    p = {str(i): found.p for i, found in enumerate(findings)}
    adjusted = holm({name: value for name, value in p.items() if value is not None})
    level = LEVEL / max(1, len(adjusted))
    return [replace(found, adjusted=adjusted.get(str(i)), level=level) for i, found in enumerate(findings)]
