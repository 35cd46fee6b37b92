"""How near an estimate of "the loss had the sample never been seen" comes to the retrained model's losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from ...report.model import ScoreRow

Floats = NDArray[np.float64]
RANK, ERROR, BIAS, CONFIDENCE = "target rank", "target error", "target bias", "target PS"
HIGHER: Mapping[str, bool | None] = {RANK: True, ERROR: False, BIAS: None, CONFIDENCE: False}


def rank_correlation(tau: Floats, gold: Floats) -> float:
    """Spearman's rank correlation; ValueError where one of the two is constant, which has no ranks."""
    if len(np.unique(rankdata(tau))) < 2 or len(np.unique(rankdata(gold))) < 2:
        raise ValueError("all targets are equal: they have no ranks")
    return float(spearmanr(tau, gold).statistic)


def mean_error(tau: Floats, gold: Floats) -> float:
    """Mean |τ_i − ℓ_i| in nats."""
    return float(np.abs(tau - gold).mean())


def mean_bias(tau: Floats, gold: Floats) -> float:
    """Mean (τ_i − ℓ_i) in nats: below 0, too little is forgotten."""
    return float((tau - gold).mean())


def confidence_error(tau: Floats, gold: Floats) -> float:
    """100 × mean |e^−τ_i − e^−ℓ_i|: PS of a model that met every target; large losses hardly weigh in it."""
    return 100 * float(np.abs(np.exp(-tau) - np.exp(-gold)).mean())


METRICS: Mapping[str, Callable[[Floats, Floats], float]] = {
    RANK: rank_correlation,
    ERROR: mean_error,
    BIAS: mean_bias,
    CONFIDENCE: confidence_error,
}


@dataclass(frozen=True)
class Estimate:
    """The targets of one source, one number a sample, and what they took in sample-gradients and seconds."""

    tau: Floats
    cost: float
    seconds: float
    words: str


def target_rows(task: str, source: str, seed: int, tau: Floats, gold: Floats) -> list[ScoreRow]:
    """All metrics of a source; one that cannot be computed is missing, with the reason."""
    rows = []
    for metric, measure in METRICS.items():
        try:
            rows.append(ScoreRow(task, source, seed, metric, measure(tau, gold), len(tau), HIGHER[metric]))
        except ValueError as error:
            rows.append(ScoreRow(task, source, seed, metric, None, 0, HIGHER[metric], str(error)))
    return rows


def missing_rows(task: str, source: str, seed: int, why: str) -> list[ScoreRow]:
    """In place of the scores of a source that could not be asked."""
    return [ScoreRow(task, source, seed, metric, None, 0, higher, why) for metric, higher in HIGHER.items()]
