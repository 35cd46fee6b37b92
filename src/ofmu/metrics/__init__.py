"""Numbers about a model: pure functions of arrays, each with its formula, unit, direction and source."""

from ofmu.metrics.agreement import agreement, kl_to_retrain, retrain_floor
from ofmu.metrics.choices import choice_accuracy, chosen_correctly, general_damage
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
from ofmu.metrics.difficulty import Memorisation, fold_gap, memorisation_score
from ofmu.metrics.fluency import perplexity, repeated_ngrams, repetition_rate
from ofmu.metrics.margins import KLoM, klom, margins, normal_klom
from ofmu.metrics.membership import (
    gradient_norm,
    min_k,
    min_k_plus_plus,
    privleak,
    reference_score,
    zlib_ratio,
)
from ofmu.metrics.memorisation import exact_memorization, extraction_strength
from ofmu.metrics.relearning import relearn_time
from ofmu.metrics.rouge import knowledge_rouge, rouge_l_f1, rouge_l_recall, verbatim_rouge
from ofmu.metrics.score import (
    Score,
    aggregate,
    bootstrap,
    bootstrap_groups,
    mean_and_spread,
    mean_interval,
    mean_score,
)
from ofmu.metrics.text import (
    UTILITY_PARTS,
    KSResult,
    answer_probability,
    forget_quality,
    model_utility,
    normalised_probability,
    per_sample_nll_error,
    unseen_damage,
)
from ofmu.metrics.truth import TruthRatioForm, forget_truth_ratio, truth_ratio
from ofmu.metrics.tug import tug_of_war, tug_of_war_mia

__all__ = [
    "GAP_PARTS",
    "KLoM",
    "KSResult",
    "Memorisation",
    "Score",
    "TruthRatioForm",
    "UTILITY_PARTS",
    "aggregate",
    "agreement",
    "answer_probability",
    "average_gap",
    "bootstrap",
    "bootstrap_groups",
    "choice_accuracy",
    "chosen_correctly",
    "confidences",
    "exact_memorization",
    "extraction_strength",
    "fold_gap",
    "forget_quality",
    "forget_truth_ratio",
    "general_damage",
    "gradient_norm",
    "kl_to_retrain",
    "klom",
    "knowledge_rouge",
    "margins",
    "mean_and_spread",
    "mean_interval",
    "mean_score",
    "memorisation_score",
    "min_k",
    "min_k_plus_plus",
    "model_utility",
    "normal_klom",
    "normalised_probability",
    "per_sample_confidence_gap",
    "per_sample_nll_error",
    "perplexity",
    "privleak",
    "reference_free",
    "reference_score",
    "relearn_time",
    "repeated_ngrams",
    "repetition_rate",
    "retain_accuracy",
    "retrain_floor",
    "rouge_l_f1",
    "rouge_l_recall",
    "test_accuracy",
    "truth_ratio",
    "tug_of_war",
    "tug_of_war_mia",
    "unlearning_accuracy",
    "unseen_damage",
    "verbatim_rouge",
    "wasserstein_confidence",
    "zlib_ratio",
]
