"""Numbers about a model: pure functions of arrays, each with its formula, unit, direction and source."""

from ofmu.metrics.classification import (
    GAP_PARTS,
    average_gap,
    confidences,
    per_sample_confidence_gap,
    retain_accuracy,
    test_accuracy,
    unlearning_accuracy,
    wasserstein_confidence,
)
from ofmu.metrics.compare import reference_free
from ofmu.metrics.score import Score, aggregate, bootstrap, mean_and_spread, mean_score
from ofmu.metrics.text import (
    UTILITY_PARTS,
    KSResult,
    TruthRatioForm,
    answer_probability,
    forget_quality,
    model_utility,
    normalised_probability,
    per_sample_nll_error,
    rouge_l_recall,
    truth_ratio,
    unseen_damage,
)

__all__ = [
    "GAP_PARTS",
    "KSResult",
    "Score",
    "TruthRatioForm",
    "UTILITY_PARTS",
    "aggregate",
    "answer_probability",
    "average_gap",
    "bootstrap",
    "confidences",
    "forget_quality",
    "mean_and_spread",
    "mean_score",
    "model_utility",
    "normalised_probability",
    "per_sample_confidence_gap",
    "per_sample_nll_error",
    "reference_free",
    "retain_accuracy",
    "rouge_l_recall",
    "test_accuracy",
    "truth_ratio",
    "unlearning_accuracy",
    "unseen_damage",
    "wasserstein_confidence",
]
