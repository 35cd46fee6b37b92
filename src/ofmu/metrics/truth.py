"""The truth ratio in all its published forms: how likely wrong answers are beside the true one.

A "loss" is the mean negative log-likelihood of an answer's tokens, in nats per token: P = exp(−loss). Sources:
Maini et al., "TOFU: a task of fictitious unlearning for LLMs" (2024), arXiv 2401.06121, and its two evaluation
scripts; Dorna et al., "OpenUnlearning" (2025), arXiv 2506.12618, and its code.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logsumexp

from ofmu.metrics._checks import Floats, finite, same_length, vector
from ofmu.metrics.score import Score, mean_score

TruthRatioForm = Literal[
    "geometric", "arithmetic", "tofu", "utility", "closeness", "share", "arithmetic share"
]  # fmt: skip


LARGEST = float(np.log(np.finfo(np.float64).max))  # the logarithm of the largest float


def truth_ratio(
    correct_avg_loss: ArrayLike, wrong_avg_loss: ArrayLike, form: TruthRatioForm = "geometric"
) -> Floats:
    """Truth ratio of each question, [n]: how likely wrong answers are beside the correct (paraphrased) one.

    correct_avg_loss: c [n], wrong_avg_loss: w [n, m], for m wrong ("perturbed") answers; w̄ = mean_j w_j. Where a
    question has no paraphrase (real authors, world facts), c is the answer's own loss. Published forms differ in
    the mean over wrong answers and in the direction:

    - "geometric": R = exp(c − w̄) = (Π_j P(wrong_j))^(1/m) / P(correct). Below 1: the model prefers the truth.
      What OpenUnlearning logs for each question (but for the 1e-10 that it adds to the denominator).
    - "arithmetic": A = mean_j exp(−w_j) / exp(−c) = mean_j P(wrong_j) / P(correct), equation 1 of the TOFU paper,
      and the older of its scripts (utils.py); never below "geometric".
    - "tofu": exp(w̄ − c) = 1/R, what TOFU's aggregation script gives to its Kolmogorov–Smirnov test; above 1: the
      model prefers the truth. The p-value is the same for "geometric".
    - "utility": max(0, 1 − R), the part of the model utility (both frameworks); higher is better.
    - "closeness": min(R, 1/R), TOFU's truth ratio of the forget set; 1: truth is not preferred.
    - "share": 1/(1 + R) = P(correct) / (P(correct) + (Π_j P(wrong_j))^(1/m)), OpenUnlearning's newer form: ½ where
      truth is not preferred, 1 where it is certain.
    - "arithmetic share": 1/(1 + A), the same with the arithmetic mean.

    Equal losses give 1, but 0 in "utility" and ½ in the shares. Raises ValueError for nan, negative losses, empty
    input, lengths that differ, an unknown form, and a ratio too large for a float.
    """
    correct, wrong = answer_losses(correct_avg_loss, wrong_avg_loss)
    if form not in get_args(TruthRatioForm):
        raise ValueError(f"form: found {form!r}, expected one of {', '.join(get_args(TruthRatioForm))}")
    log_ratio = _log_ratio(correct, wrong)
    if form.startswith("arithmetic"):
        log_ratio = correct + logsumexp(-wrong, axis=1) - np.log(wrong.shape[1])
    if form.endswith("share"):
        share: Floats = expit(-log_ratio)
        return share
    if form == "utility":
        return np.maximum(0.0, -np.expm1(np.minimum(log_ratio, 0.0))) + 0.0  # no −0
    if form == "closeness":
        return np.exp(-np.abs(log_ratio))
    with np.errstate(over="ignore"):  # reported as the error below
        return vector("truth ratio", np.exp(-log_ratio if form == "tofu" else log_ratio))


def ranked_truth_ratio(
    correct_avg_loss: ArrayLike, wrong_avg_loss: ArrayLike, form: Literal["geometric", "tofu"] = "geometric"
) -> Floats:
    """`truth_ratio` for a test of ranks, [n]: one too large for a float is the largest one, and no error.

    Where public scripts compute with an infinite ratio, ranks and so D and p are the same. Raises otherwise as
    `truth_ratio` does.
    """
    log_ratio = _log_ratio(*answer_losses(correct_avg_loss, wrong_avg_loss))
    found: Floats = np.exp(np.minimum(-log_ratio if form == "tofu" else log_ratio, LARGEST))
    return found


def _log_ratio(correct: Floats, wrong: Floats) -> Floats:
    log_ratio: Floats = correct - wrong.mean(axis=1)
    return log_ratio


def forget_truth_ratio(correct_avg_loss: ArrayLike, wrong_avg_loss: ArrayLike) -> Score:
    """FTR = mean_i min(R_i, 1/R_i) over the forget questions, in [0, 1]; the best is Retrain's.

    R as in `truth_ratio` (form "closeness"); TOFU's scripts call it the truth ratio of the forget set. A model
    that prefers wrong answers as strongly as another prefers the truth has the same FTR. Raises as `truth_ratio`
    does.
    """
    return mean_score(truth_ratio(correct_avg_loss, wrong_avg_loss, "closeness"), "", None)


def answer_losses(correct_avg_loss: ArrayLike, wrong_avg_loss: ArrayLike) -> tuple[Floats, Floats]:
    """The two as float64 [n] and [n, m]; ValueError unless finite, none negative, and of the same questions."""
    correct = vector("correct_avg_loss", correct_avg_loss, 0)
    wrong = finite("wrong_avg_loss", wrong_avg_loss, ndim=2)
    same_length("correct_avg_loss", correct, "wrong_avg_loss", wrong)
    vector("wrong_avg_loss", wrong.ravel(), 0)
    return correct, wrong
