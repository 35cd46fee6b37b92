"""Metrics of an unlearned language model, from per-sample losses: the TOFU family and per-sample distances.

A "loss" is the mean negative log-likelihood of a sample's answer tokens, in nats per token, so that
exp(−loss) = P(answer | question)^(1/|answer|). Source of the TOFU metrics: Maini et al., "TOFU: a task of
fictitious unlearning for LLMs" (2024), and its evaluation scripts.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp
from scipy.stats import hmean, ks_2samp

from ofmu.metrics._checks import Floats, same_length, vector
from ofmu.metrics.score import STANDARD_ERROR, Score, bootstrap_groups, mean_score
from ofmu.metrics.truth import answer_losses

UTILITY_SETS = ("retain", "real_authors", "world_facts")
UTILITY_METRICS = ("probability", "rouge", "truth_ratio")
UTILITY_PARTS = tuple(f"{name}_{metric}" for name in UTILITY_SETS for metric in UTILITY_METRICS)


@dataclass(frozen=True)
class KSResult:
    """A two-sample Kolmogorov–Smirnov test: p in [0, 1], the statistic D, and both sample sizes.

    p takes few discrete values and falls with n at the same D: never compare it between different n.
    """

    p: float
    statistic: float
    n_unlearned: int
    n_retrained: int


def answer_probability(loss: ArrayLike) -> Floats:
    """Length-normalised probability exp(−loss) of each answer, [n]; ValueError for nan or a loss < 0."""
    probability: Floats = np.exp(-vector("loss", loss, 0))
    return probability


def normalised_probability(correct_avg_loss: ArrayLike, wrong_avg_loss: ArrayLike) -> Floats:
    """P(correct) / (P(correct) + Σ_j P(wrong_j)) of each question, [n] in [0, 1], with P = exp(−loss).

    correct_avg_loss: [n]; wrong_avg_loss: [n, m]. TOFU's probability for questions with options (real authors,
    world facts). OpenUnlearning adds 1e-10 to the denominator. Raises ValueError for nan, negative losses, empty
    input or lengths that differ.
    """
    correct, wrong = answer_losses(correct_avg_loss, wrong_avg_loss)
    total = logsumexp(-np.column_stack([correct, wrong]), axis=1)
    probability: Floats = np.exp(-correct - total)
    return probability


def forget_quality(unlearned: ArrayLike, retrained: ArrayLike) -> KSResult:
    """TOFU's forget quality: p of a two-sided KS test between two models' truth ratios on D_f.

    unlearned: [n], retrained: [m], each from `truth_ratio` in one and the same form; p is the same for R and
    1/R (the test sees ranks only). High p: not told apart from Retrain, which is no proof: a small n or a
    broken model may also give it, so read it beside the model utility. Raises ValueError for nan or no
    values.
    """
    ours, theirs = vector("unlearned", unlearned, 0), vector("retrained", retrained, 0)
    with warnings.catch_warnings():  # at D = 1/n the exact p may be 1 + rounding: scipy warns, and takes 1
        warnings.filterwarnings("ignore", "ks_2samp: Exact calculation unsuccessful", RuntimeWarning)
        test = ks_2samp(ours, theirs)
    return KSResult(float(test.pvalue), float(test.statistic), len(ours), len(theirs))


def model_utility(parts: Mapping[str, float]) -> Score:
    """TOFU's model utility: the harmonic mean 9 / Σ 1/part of nine means in [0, 1]; higher is better.

    parts: the names in `UTILITY_PARTS`: probability, rouge and truth_ratio (form "utility") of the sets
    retain, real_authors and world_facts. A part of exactly 0 gives 0, the limit of the harmonic mean, as in
    TOFU's scripts. Raises ValueError when a part is absent, unknown, nan or outside [0, 1]. n is the number
    of parts.
    """
    if set(parts) != set(UTILITY_PARTS):
        absent, unknown = sorted(set(UTILITY_PARTS) - set(parts)), sorted(set(parts) - set(UTILITY_PARTS))
        raise ValueError(f"parts: {absent} are absent and {unknown} unknown, expected {', '.join(UTILITY_PARTS)}")
    for name, value in parts.items():
        vector(f"parts[{name!r}]", [value], 0, 1)
    return Score(float(hmean(list(parts.values()))), len(parts), higher_is_better=True)


def per_sample_nll_error(loss: ArrayLike, retrain_loss: ArrayLike) -> Score:
    """Mean |loss_i − Retrain's loss_i| over the same forget samples, [n] each, in nats per token; 0 is best.

    Raises ValueError for nan, negative losses, empty input or lengths that differ.
    """
    ours, theirs = vector("loss", loss, 0), vector("retrain_loss", retrain_loss, 0)
    same_length("loss", ours, "retrain_loss", theirs)
    return mean_score(np.abs(ours - theirs), "nats/token", False)


def unseen_damage(probability: ArrayLike, original_probability: ArrayLike) -> Score:
    """Collateral damage 100 · (1 − mean p / mean p of the original model) on texts outside all training.

    probability, original_probability: [n] answer probabilities of the same texts. In % of the original's; best
    is 0 (beside a Retrain: its own), negative is likelier than before. The spread is the standard error of a
    ratio of paired means (linearised); the interval a bootstrap over texts, each with both its values (none where
    one was 0 before).
    Raises ValueError for nan, values outside [0, 1], lengths that differ and an original that is 0
    everywhere.
    """
    now = vector("probability", probability, 0, 1)
    before = vector("original_probability", original_probability, 0, 1)
    same_length("probability", now, "original_probability", before)
    if before.mean() == 0:
        raise ValueError("original_probability: found 0 everywhere, expected a positive mean to compare with")
    ratio, n = float(now.mean() / before.mean()), len(now)
    residual = (now - ratio * before) / before.mean()
    error = 100 * float(residual.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    kind = None if error is None else STANDARD_ERROR
    interval = None
    if n > 1 and before.min() > 0:
        pairs = np.column_stack([now, before])
        interval = bootstrap_groups([pairs], lambda drawn: 100 * (1 - _ratio_of_means(drawn[0])), 0)
    return Score(100 * (1 - ratio), n, error, kind, unit="%", interval=interval)


def _ratio_of_means(pairs: Floats) -> float:
    now, before = pairs.mean(axis=0)
    return float(now / before)
