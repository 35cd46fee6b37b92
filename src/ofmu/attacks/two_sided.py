"""One attack's answer in full: AUC and low false-positive rates, on both sides, and beside the same on Retrain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import mannwhitneyu, rankdata
from scipy.stats import t as student

from ofmu.attacks._checks import Floats, finite_vector, not_constant
from ofmu.attacks.threshold import TprAtFpr, auc_with_error, tpr_at_fpr

RATES = (0.01, 0.001)


@dataclass(frozen=True)
class TwoSided:
    """What an attacker who orders samples by one score finds of D_f among held-out samples.

    auc: P(forget score > held-out score) + ½ P(equal); above .5 D_f is still remembered, below it is
    over-forgotten and so stands out as well. spread: DeLong's standard error (None for one sample on a side). p:
    two-sided Mann–Whitney test of auc = .5, valid where D_f and the held-out samples come from one distribution.
    remembered and over_forgotten: TPR at each of `RATES`, taking high or low scores for D_f; a rate that too few
    held-out samples resolve has no number but a reason.
    """

    auc: float
    spread: float | None
    p: float
    remembered: tuple[TprAtFpr, ...]
    over_forgotten: tuple[TprAtFpr, ...]
    n_forget: int
    n_heldout: int


@dataclass(frozen=True)
class Difference:
    """An attack's AUC on a model minus its mean AUC on retrained models, on the same samples.

    error: standard error of value: DeLong's for the drawing of samples and, where there are several retrained
    models and the samples are not known to be alike, what their seeds change. seeds: standard deviation of the
    retrained models' AUCs; None for one. p: two-sided, of "the model is one of the retrained ones"; of one
    retrained model, and samples that are not alike, it says nothing about another retraining; whole: False then.
    freedom: degrees of freedom of Student's t that value / error is compared with; infinite: normal distribution.
    """

    value: float
    error: float
    p: float
    retrains: int
    seeds: float | None
    freedom: float = math.inf
    whole: bool = True


def two_sided(
    forget: ArrayLike, heldout: ArrayLike, rates: tuple[float, ...] = RATES, *, flat: bool = False
) -> TwoSided:
    """Attack scores [n] of D_f and [m] of held-out samples; high means "was in the training data".

    flat: scores that are all equal are an answer, AUC .5: so of a model to compare with, such as a Retrain that
    nothing can be extracted from. Raises ValueError for nan, empty input, rates outside (0, 1), and scores that
    are all equal unless `flat`.
    """
    ours, theirs = finite_vector("forget", forget), finite_vector("heldout", heldout)
    both = np.concatenate([ours, theirs])
    if not flat:
        not_constant("forget and heldout", both)
    auc, spread = auc_with_error(ours, theirs)
    same = bool(both.min() == both.max())
    p = 1.0 if same else float(mannwhitneyu(ours, theirs, alternative="two-sided").pvalue)
    return TwoSided(
        auc,
        spread,
        p,
        tuple(tpr_at_fpr(ours, theirs, rate) for rate in rates),
        tuple(tpr_at_fpr(-ours, -theirs, rate) for rate in rates),
        len(ours),
        len(theirs),
    )


def auc_difference(
    forget: ArrayLike,
    heldout: ArrayLike,
    retrains: Sequence[tuple[ArrayLike, ArrayLike]],
    alike: bool = False,
) -> Difference:
    """AUC of a model's scores minus the mean of K retrained models', given as (forget, heldout) scores of each.

    Source: DeLong, DeLong & Clarke-Pearson (1988): with V the placements (share of the other side that a sample
    beats) and V' their mean over retrained models, var = var(V_f − V_f')/n + var(V_h − V_h')/m.

    alike: D_f and the held-out samples were drawn at random from one pool. Every model that saw neither then has
    an expected AUC of .5, seeds change nothing beyond the single samples that var counts, and p is of the normal
    distribution: simulated alarms at 5 % are 5 %.

    Otherwise, for K > 1, (1 + 1/K)·max(0, s² − d) is added: s² is the variance of the K AUCs, and d how much of
    it only comes from drawing samples, on which every model differs (DeLong's variance of V' around its mean;
    without it that part would count twice). p is then of Student's t with Welch–Satterthwaite degrees of freedom.
    A variance that cannot be negative is estimated too large where it is 0, by .27 var on average for K = 5:
    there alarms are 3 to 4 %, not 5 %. Where seeds do shift all scores, by a fifth of their spread, they are 15,
    13 and 7 % for K = 2, 3 and 5 (28 % if that were ignored): give 5 models or more. No test can do both without
    being told: one that keeps exactly 5 % whatever the seeds do is the t test of the K + 1 AUCs, which ignores
    what the samples say.

    p is never below the smallest that a permutation test of n + m labels could give, and is that where var is 0
    (all separate perfectly) and the AUCs differ. Raises ValueError for nan, lengths that differ, no retrained
    model, and fewer than two samples on a side.
    """
    ours, theirs = _placements(forget, heldout), [_placements(*pair) for pair in retrains]
    n, m = len(ours[0]), len(ours[1])
    if not theirs or {(len(f), len(h)) for f, h in theirs} != {(n, m)} or min(n, m) < 2:
        raise ValueError(
            f"forget, heldout: found {n} and {m} scores, and of Retrain {[(len(f), len(h)) for f, h in theirs]}, "
            "expected the same samples, at least two on each side"
        )
    gaps = [ours[side] - np.mean([pair[side] for pair in theirs], axis=0) for side in (0, 1)]
    value, k = float(gaps[0].mean()), len(theirs)
    drawn = _drawn(gaps[0], gaps[1])
    seeds = float(np.std([f.mean() for f, _ in theirs], ddof=1)) if k > 1 else None
    chance = 0.0 if seeds is None or alike else (1 + 1 / k) * max(0.0, seeds**2 - _own_draw(theirs))
    error, whole = math.sqrt(drawn + chance), k > 1 or alike
    smallest = min(1.0, 2 * math.exp(math.lgamma(n + 1) + math.lgamma(m + 1) - math.lgamma(n + m + 1)))
    if error > 1e-12:
        freedom = math.inf
        if chance > 0:
            freedom = error**4 * (k - 1) / chance**2
        p = max(float(2 * student.sf(abs(value) / error, freedom)), smallest)
        return Difference(value, error, p, k, seeds, freedom, whole)
    return Difference(value, 0.0, smallest if abs(value) > 1e-12 else 1.0, k, seeds, whole=whole)


def _drawn(forget: Floats, heldout: Floats) -> float:
    """DeLong's variance of a mean of placements, from drawing the samples."""
    return float(forget.var(ddof=1) / len(forget) + heldout.var(ddof=1) / len(heldout))


def _own_draw(models: Sequence[tuple[Floats, Floats]]) -> float:
    """How much of the variance of the models' AUCs is only that each treats these samples in its own way."""
    means = [np.mean([pair[side] for pair in models], axis=0) for side in (0, 1)]
    return sum(_drawn(f - means[0], h - means[1]) for f, h in models) / (len(models) - 1)


def _placements(forget: ArrayLike, heldout: ArrayLike) -> tuple[Floats, Floats]:
    """For each forget score the share of held-out scores below it (ties half); the reverse for held-out ones."""
    ours, theirs = finite_vector("forget", forget), finite_vector("heldout", heldout)
    ranks = rankdata(np.concatenate([ours, theirs]))
    above = (ranks[: len(ours)] - rankdata(ours)) / len(theirs)
    below = 1 - (ranks[len(ours) :] - rankdata(theirs)) / len(ours)
    return above, below
