"""Metrics of an unlearned classifier: accuracies, and its distance to the model retrained without D_f.

Everything is in points (0 to 100). "outputs" are logits [n, c] or predicted classes [n].
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax
from scipy.stats import wasserstein_distance

from ofmu.metrics._checks import Floats, classes, finite, same_length, vector
from ofmu.metrics.score import Score, mean_score

GAP_PARTS = ("UA", "RA", "TA", "MIA")


def confidences(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """True-label confidence softmax(logits_i)[labels_i] of every sample, float64 [n].

    logits: [n, c]; labels: [n] in 0 … c − 1. Raises ValueError for nan, empty input, lengths that differ and
    labels that no logit belongs to.
    """
    scores, truth = finite("logits", logits, ndim=2), classes("labels", labels)
    same_length("logits", scores, "labels", truth)
    if truth.max() >= scores.shape[1]:
        raise ValueError(
            f"labels: found class {truth.max()}, expected less than logits' {scores.shape[1]} classes"
        )
    confidence: Floats = np.exp(log_softmax(scores, axis=1)[np.arange(len(truth)), truth])
    return confidence


def unlearning_accuracy(outputs: ArrayLike, labels: ArrayLike) -> Score:
    """UA = 100 · (1 − accuracy on D_f). Best is nearest to Retrain's: neither high nor low is good in itself.

    Raises ValueError as `confidences` does. Source: Jia et al., "Model sparsity can simplify machine
    unlearning" (2023).
    """
    return mean_score(100.0 * ~_correct(outputs, labels), "points", None)


def retain_accuracy(outputs: ArrayLike, labels: ArrayLike) -> Score:
    """RA = 100 · accuracy on D_r, the training samples that stay. Raises ValueError as `confidences` does."""
    return mean_score(100.0 * _correct(outputs, labels), "points", True)


def test_accuracy(outputs: ArrayLike, labels: ArrayLike) -> Score:
    """TA = 100 · accuracy on the test set (forgetting a class: the test set without that class).

    Raises ValueError as `confidences` does.
    """
    return mean_score(100.0 * _correct(outputs, labels), "points", True)


test_accuracy.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it by its name


def average_gap(scores: Mapping[str, Score | float], retrain: Mapping[str, Score | float]) -> Score:
    """Average gap to Retrain: mean |scores[k] − retrain[k]| over k in UA, RA, TA, MIA, in points; 0 is best.

    n is the number of parts (4). Missing when one of the eight numbers is. Raises ValueError when a part is
    not given at all. Source: Fan et al., "SalUn" (2024). Always read it beside W1 and PS: on random
    forgetting an untouched model may already have a small gap.
    """
    differences = []
    for part in GAP_PARTS:
        values: list[float] = []
        for name, given in (("scores", scores), ("retrain", retrain)):
            if part not in given:
                raise ValueError(f"{name}: found {sorted(given)}, expected all of {', '.join(GAP_PARTS)}")
            score = given[part]
            value = score.value if isinstance(score, Score) else score
            if value is None:
                why = f"{part} of {name} is missing: {getattr(score, 'missing', None)}"
                return Score(None, len(GAP_PARTS), higher_is_better=False, unit="points", missing=why)
            values.append(value)
        differences.append(abs(np.subtract(*vector(part, values))))
    return Score(float(np.mean(differences)), len(GAP_PARTS), higher_is_better=False, unit="points")


def wasserstein_confidence(forget: ArrayLike, retrain: ArrayLike) -> Score:
    """W1 = 100 × the Wasserstein-1 distance between the forget samples' true-label confidences and Retrain's.

    forget, retrain: [n] and [m] confidences in [0, 1], as sets: their order does not count. For n = m,
    W1 = 100 · mean |sorted(forget) − sorted(retrain)|. 0 is best. No spread: resampling a distance moves it
    away from 0; compare it with the W1 of a second retraining instead, and aggregate over seeds. Raises
    ValueError for nan, empty input or values that are no probabilities.
    """
    ours, theirs = vector("forget", forget, 0, 1), vector("retrain", retrain, 0, 1)
    return Score(100 * float(wasserstein_distance(ours, theirs)), len(ours), higher_is_better=False, unit="points")


def per_sample_confidence_gap(forget: ArrayLike, retrain: ArrayLike) -> Score:
    """PS = 100 · mean |conf_i − conf_i of Retrain| over the same forget samples in the same order; ≥ W1.

    It sees what set-wise distances hide: a model with Retrain's confidences on the wrong samples. 0 is best,
    but two retrainings differ too: report that floor beside it. Raises ValueError as
    `wasserstein_confidence` does, and when the lengths differ.
    """
    ours, theirs = vector("forget", forget, 0, 1), vector("retrain", retrain, 0, 1)
    same_length("forget", ours, "retrain", theirs)
    return mean_score(100 * np.abs(ours - theirs), "points", False)


def _correct(outputs: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    truth = classes("labels", labels)
    found = np.asarray(outputs)
    predicted = finite("outputs", found, ndim=2).argmax(axis=1) if found.ndim != 1 else classes("outputs", found)
    same_length("outputs", predicted, "labels", truth)
    right: NDArray[np.bool_] = predicted == truth
    return right
