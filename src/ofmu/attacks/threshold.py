"""Membership inference by a threshold on the loss: needs neither Retrain nor training data but D_f.

Can the forget samples be told from data the model never saw? Source: Yeom et al., "Privacy risk in machine
learning" (2018); low false-positive rates: Carlini et al., "Membership inference attacks from first
principles" (2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, rankdata

from ofmu.attacks._checks import finite_vector, not_constant

Direction = Literal["remembered", "over-forgotten", "none"]


@dataclass(frozen=True)
class TprAtFpr:
    """True-positive rate at a false-positive rate of at most `fpr`, with its exact 95 % interval.

    tpr: share of members found, with low ≤ tpr ≤ high (Clopper–Pearson, for the threshold at hand); all None,
    and `missing` says why, when there are too few non-members to resolve `fpr`. observed_fpr: share of
    non-members above the threshold (≤ fpr).
    """

    fpr: float
    tpr: float | None
    low: float | None
    high: float | None
    observed_fpr: float | None
    n_members: int
    n_nonmembers: int
    missing: str | None = None


@dataclass(frozen=True)
class ThresholdAttack:
    """AUC of "a low loss means member" and what a two-sided attacker gains.

    auc: P(forget loss < held-out loss) + ½ P(equal), in [0, 1]; spread: its standard error (DeLong; None for
    one sample on a side). advantage: |auc − .5|, 0 is best. direction: "remembered" (auc > .5),
    "over-forgotten" (auc < .5: found by their high loss) or "none". low_loss and high_loss: the attack at a
    low false-positive rate, calling low or high losses members.
    """

    auc: float
    spread: float | None
    advantage: float
    direction: Direction
    low_loss: TprAtFpr
    high_loss: TprAtFpr
    n_forget: int
    n_heldout: int


def threshold_attack(forget_loss: ArrayLike, heldout_loss: ArrayLike, fpr: float = 0.01) -> ThresholdAttack:
    """Attack the forget samples' losses [n] with the losses [m] of held-out samples of the same distribution.

    Raises ValueError for nan, empty sets, losses that are all equal, and fpr outside (0, 1). There is no
    fallback value: an attack that cannot run is no evidence of privacy.
    """
    forget, heldout = finite_vector("forget_loss", forget_loss), finite_vector("heldout_loss", heldout_loss)
    not_constant("forget_loss and heldout_loss", np.concatenate([forget, heldout]))
    auc, spread = auc_with_error(-forget, -heldout)
    direction: Direction = "none" if auc == 0.5 else "remembered" if auc > 0.5 else "over-forgotten"
    return ThresholdAttack(
        auc,
        spread,
        abs(auc - 0.5),
        direction,
        tpr_at_fpr(-forget, -heldout, fpr),
        tpr_at_fpr(forget, heldout, fpr),
        len(forget),
        len(heldout),
    )


def auc_with_error(members: ArrayLike, nonmembers: ArrayLike) -> tuple[float, float | None]:
    """AUC = P(member's score > non-member's) + ½ P(equal), and its standard error (None for n or m = 1).

    members: scores [n], nonmembers: [m]; higher means "member". The error is that of DeLong et al. (1988):
    the variances of each sample's placement among the other side. Raises ValueError for nan or empty input.
    """
    ours, theirs = finite_vector("members", members), finite_vector("nonmembers", nonmembers)
    ranks = rankdata(np.concatenate([ours, theirs]))
    above = (ranks[: len(ours)] - rankdata(ours)) / len(theirs)  # share of non-members below each member
    below = 1 - (ranks[len(ours) :] - rankdata(theirs)) / len(ours)  # share of members above each non-member
    if min(len(ours), len(theirs)) == 1:
        return float(above.mean()), None
    error = math.sqrt(above.var(ddof=1) / len(ours) + below.var(ddof=1) / len(theirs))
    return float(above.mean()), error


def tpr_at_fpr(members: ArrayLike, nonmembers: ArrayLike, fpr: float = 0.01) -> TprAtFpr:
    """Share of members whose score lies above the threshold that lets at most fpr of the non-members pass.

    members: scores [n], nonmembers: [m]; higher means "member". The threshold is the (⌊fpr·m⌋ + 1)-th largest
    score of the non-members and must be exceeded, so that ties never raise the false-positive rate. With
    fewer than 1/fpr non-members (100 at 1 %) it is not resolvable and reported as missing. Raises ValueError
    for nan, empty input and fpr outside (0, 1).
    """
    ours, theirs = finite_vector("members", members), finite_vector("nonmembers", nonmembers)
    if not 0 < fpr < 1:
        raise ValueError(f"fpr: found {fpr}, expected a rate inside (0, 1), such as 0.01")
    allowed = math.floor(fpr * len(theirs) + 1e-9)  # .29 · 3000 is 869.99…
    if allowed == 0:
        why = f"not resolvable: {len(theirs)} non-members, at least {math.ceil(1 / fpr - 1e-9)} are needed"
        return TprAtFpr(fpr, None, None, None, None, len(ours), len(theirs), why)
    threshold = np.sort(theirs)[-allowed - 1]
    return _rate(fpr, ours > threshold, theirs > threshold)


def _rate(fpr: float, found: NDArray[np.bool_], mistaken: NDArray[np.bool_]) -> TprAtFpr:
    interval = binomtest(int(found.sum()), len(found)).proportion_ci(0.95, method="exact")
    low, high, tpr = float(interval.low), float(interval.high), float(found.mean())
    return TprAtFpr(fpr, tpr, low, high, float(mistaken.mean()), len(found), len(mistaken))
