"""RMIA: how much more a model likes a sample than reference models do, compared with other people's samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from ofmu.attacks._checks import Floats, finite_vector


def rmia(
    target: ArrayLike,
    references: ArrayLike,
    population: ArrayLike,
    population_references: ArrayLike,
    *,
    a: float = 0.3,
    gamma: float = 2.0,
) -> Floats:
    """Share of population samples z with [p(x|θ)/p(x)] / [p(z|θ)/p(z)] ≥ γ, [n], in [0, 1]; high for members.

    All 0 where no x's ratio is γ times that of any z: the attack then orders no rows, though their ratios differ.

    target: log p(x|θ) of the attacked model, [n]; references: the same under k ≥ 1 models that never saw x, [k,
    n]; population [m] and population_references [k, m]: of samples z outside all training data (not those that
    the attack is scored on). p(x) = ½((1 + a)·mean_k p(x|θ_k) + 1 − a) estimates the mean over models with and
    without x from those without: a in [0, 1], 1 where training on x changes little; choose it on reference
    models. z is treated exactly as x: a public implementation leaves the correction out for z, which moves
    non-members from .52 to .61. Threat model: outputs, population data, and a few models trained on it. Cost: k
    trainings (1 to 4 suffice), one pass each. Source: Zarifzadeh, Liu & Shokri, "Low-cost high-power membership
    inference attacks" (2024), equations 3 to 5 and algorithm 2 (offline). Raises ValueError for nan, positive
    log-probabilities, shapes that do not fit, a outside [0, 1] and γ ≤ 0.
    """
    if not 0 <= a <= 1 or not gamma > 0:
        raise ValueError(f"a, gamma: found {a} and {gamma}, expected a in [0, 1] and gamma above 0")
    ours = _log_ratio("target", target, references, a)
    theirs = np.sort(_log_ratio("population", population, population_references, a))
    # the number of z whose ratio is at most ours / γ
    return np.searchsorted(theirs, ours - np.log(gamma) + 1e-12, side="right") / len(theirs)


def _log_ratio(name: str, log_p: ArrayLike, references: ArrayLike, a: float) -> Floats:
    values, others = finite_vector(name, log_p), np.asarray(references, dtype=np.float64)
    if others.ndim != 2 or others.shape[1:] != values.shape or not len(others) or not np.isfinite(others).all():
        raise ValueError(f"references of {name}: found {others.shape}, expected finite [k, {len(values)}], k ≥ 1")
    if max(values.max(), others.max()) > 1e-6:
        raise ValueError(f"{name}: found log-probabilities above 0; give −loss, not losses")
    mean = logsumexp(others, axis=0) - np.log(len(others))
    rest = np.log((1 - a) / 2) if a < 1 else -np.inf
    return np.asarray(values - np.logaddexp(np.log((1 + a) / 2) + mean, rest))
