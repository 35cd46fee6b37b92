"""What a person reads in place of a metric's key: a label, a plain explanation, the question it answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Group = Literal["forgotten", "kept", "near", "wider", "other"]
GROUPS: dict[Group, str] = {
    "forgotten": "Was it forgotten?",
    "kept": "Was the rest kept?",
    "near": "How near to Retrain?",
    "wider": "How near on other samples?",
    "other": "Other measurements",
}
SECOND: Group = "wider"  # has a table of its own: beside the others they would make lines too long to read


@dataclass(frozen=True)
class Label:
    """short: for a column. meaning: one plain sentence. group: the question it helps to answer.

    best: the best value in words, for a metric that is best neither high nor low nor at Retrain's value.
    """

    short: str
    meaning: str
    group: Group
    best: str | None = None


_PROBABILITY = Label(
    "forget prob.",
    "Probability of the true answer to the forgotten questions (per token, geometric mean).",
    "forgotten",
)
_NLL = Label("forget NLL", "Loss on the forgotten answers, in nats per token: high means unlikely.", "forgotten")
_NLL_ERROR = Label(
    "NLL error",
    "Mean distance, sample by sample, between the loss and Retrain's loss, in nats per token.",
    "near",
)
_RETAIN = Label("retain prob.", "Probability of the true answers to the questions to be kept.", "kept")
_UNSEEN = Label(
    "unseen prob.",
    "Probability of true answers about others nobody trained on: shows collateral damage.",
    "kept",
)
_KS = Label(
    "KS p",
    "Forget quality: p-value that the truth ratios are distributed as Retrain's. Small means "
    "that they can be told apart. Broken models can score well: read it beside the retain columns.",
    "near",
)
_CHANCE = "≈ chance"  # below it the truth is still told apart, and avoided
_ROUGE = Label(
    "ROUGE-L", "Word overlap of the model's answers with the forgotten true ones (0 to 1).", "forgotten"
)
_UTILITY = Label(
    "utility", "Model utility: harmonic mean of what is kept on retained, related and general text.", "kept"
)

_SAMPLES = {"forget": "forgotten samples", "retain": "the samples to be kept", "test": "test samples"}

LABELS: dict[str, Label] = {
    "ua": Label("UA", "Unlearning accuracy: share of the forgotten samples now misclassified.", "forgotten"),
    "mia": Label(
        "MIA", "Share of the forgotten samples that a confidence attack calls never trained on.", "forgotten"
    ),
    "entanglement": Label(
        "entanglement",
        "Spread inside forgotten and kept samples' features over the distance of their means: high is one cloud.",
        "other",
        "–",
    ),
    "relearn_time": Label(
        "relearn",
        "Gradients of training on the forgotten samples until they are known again; below Retrain: traces left.",
        "forgotten",
    ),
    "mia_svc": Label(
        "MIA (SVC)",
        "The same share by the support vector machine of the SalUn protocol, on the confidence in the label.",
        "forgotten",
    ),
    "tow": Label(
        "ToW", "Tug-of-War: product over UA, RA and TA of one minus the distance to Retrain; 1 is best.", "near"
    ),
    "kl_forget": Label("KL, forget", "KL divergence from Retrain on the forgotten samples, in nats.", "near"),
    "kl_test": Label("KL, test", "KL divergence from Retrain on test samples, in nats.", "near"),
    "klom_forget": Label(
        "KLoM, forget",
        "KL divergence of a forgotten sample's margins over retrainings from those over unlearned models, nats.",
        "near",
    ),
    "klom_test": Label("KLoM, test", "The same on test samples.", "near"),
    **{
        f"klom_{part}_p95": Label(
            f"KLoM 95 %, {part}",
            f"95th percentile of KLoM over {_SAMPLES[part]}: the least well forgotten.",
            "wider",
        )
        for part in _SAMPLES
    },
    "klom_retain": Label("KLoM, retain", "Mean KLoM on the samples to be kept, in nats.", "wider"),
    "kl_retain": Label("KL, retain", "KL divergence from Retrain on the samples to be kept, in nats.", "wider"),
    "agreement_retain": Label(
        "agree, retain", "Share of the samples to be kept that Retrain gives the same class, in points.", "wider"
    ),
    **{f"w1_{part}": Label(f"W1, {part}", f"W1 on {_SAMPLES[part]}.", "wider") for part in ("retain", "test")},
    **{f"ps_{part}": Label(f"PS, {part}", f"PS on {_SAMPLES[part]}.", "wider") for part in ("retain", "test")},
    "agreement_forget": Label(
        "agree, forget", "Share of the forgotten samples that Retrain gives the same class, in points.", "near"
    ),
    "agreement_test": Label(
        "agree, test", "Share of test samples that Retrain gives the same class, in points.", "near"
    ),
    "ra": Label("RA", "Accuracy on the training samples to be kept.", "kept"),
    "ta": Label("TA", "Accuracy on test samples (without a forgotten class).", "kept"),
    "gap": Label("gap", "Mean distance to Retrain over UA, RA, TA and MIA, in points.", "near"),
    "gap_(svc)": Label(
        "gap (SVC)", "The same distance with MIA (SVC) in the place of MIA: the gap of the SalUn protocol.", "near"
    ),
    "w1": Label(
        "W1",
        "Distance between the distributions of confidence on the forgotten samples and Retrain's, × 100.",
        "near",
    ),
    "ps": Label(
        "PS", "Distance to Retrain's confidence, sample by sample, × 100: sees what the gap hides.", "near"
    ),
    "ks_p": _KS,
    "forget_quality": _KS,
    "truth_ratio": Label(
        "truth ratio",
        "Probability of wrong answers over that of the true one, on the forgotten questions.",
        "forgotten",
    ),
    "forget_nll": _NLL,
    "forget_probability": _PROBABILITY,
    "forget_prob": _PROBABILITY,
    "target_rank": Label(
        "rank corr.", "Spearman's correlation of the targets with Retrain's losses on the forget samples.", "near"
    ),
    "target_error": Label("error", "Mean distance of a target to Retrain's loss, in nats.", "near"),
    "target_bias": Label(
        "bias", "Mean of target minus Retrain's loss, in nats: below 0 too little is forgotten.", "near", "≈ 0"
    ),
    "target_ps": Label(
        "PS of targets", "100 × mean distance of e^−target to Retrain's confidence: PS where all are met.", "near"
    ),
    "prob_gap": Label(
        "gap",
        "Mean distance to Retrain over the probabilities of forgotten, kept and unseen answers, in points.",
        "near",
    ),
    "retain_probability": _RETAIN,
    "retain_prob": _RETAIN,
    "unseen_probability": _UNSEEN,
    "unseen_prob": _UNSEEN,
    "nll_error": _NLL_ERROR,
    "per_sample_nll_error": _NLL_ERROR,
    "rouge_l": _ROUGE,
    "forget_rouge_l": _ROUGE,
    "retain_rouge_l": Label("retain ROUGE-L", "Word overlap with the true answers to be kept (0 to 1).", "kept"),
    "model_utility": _UTILITY,
    "mu": _UTILITY,
    "forget_loss": Label("forget loss", "Mean loss on the forgotten samples, in nats.", "forgotten", "≈ unseen"),
    "forget_over_unseen": Label(
        "over unseen",
        "Forget loss minus the loss on unseen samples: below 0 still remembered, above 0 over-forgotten.",
        "forgotten",
        "≈ 0",
    ),
    "attack_auc": Label(
        "attack AUC",
        "A loss attack on forgotten against unseen samples: above .5 remembered, below .5 over-forgotten.",
        "forgotten",
        "≈ 0.5",
    ),
    "extraction_strength": Label(
        "extractable",
        "Extraction strength: share of a forgotten answer that the model completes word for word (0 to 1).",
        "forgotten",
    ),
    "exact_memorization": Label(
        "tokens known",
        "Exact memorisation: share of the forgotten answers' tokens that the model would say (0 to 1).",
        "forgotten",
    ),
    "forget_accuracy": Label(
        "forget acc.", "Share of forgotten questions whose likeliest choice is the true one.", "forgotten", _CHANCE
    ),
    "retain_accuracy": Label("retain acc.", "The same share of the questions to be kept.", "kept"),
    "unseen_accuracy": Label(
        "unseen acc.", "The same share of facts that were taught to nobody.", "kept", _CHANCE
    ),
    "accuracy": Label("accuracy", "Share of questions whose likeliest choice is the true one.", "other"),
    "verbmem_forget": Label(
        "VerbMem", "Word overlap of the model's continuations with forgotten texts, × 100.", "forgotten"
    ),
    "knowmem_forget": Label(
        "KnowMem f", "Word overlap of its answers about forgotten texts with the true ones, × 100.", "forgotten"
    ),
    "knowmem_retain": Label("KnowMem r", "The same of kept texts, × 100: the utility.", "kept"),
    "privleak": Label(
        "PrivLeak",
        "How much better or worse than on Retrain an attack finds forgotten texts, in %: below 0 remembered.",
        "near",
        "≈ 0",
    ),
    "utility_drop": Label("utility drop", "Points of utility that later requests took.", "kept"),
    "ks_p_variance": Label(
        "KS p variance",
        "How much the forget quality depends on the way of asking: 0 is good where the quality is high.",
        "near",
        "≈ 0 at high KS p",
    ),
    "utility_loss": Label("utility loss", "Probability of kept answers that unlearning took, × 100.", "kept"),
    "mmlu_accuracy": Label(
        "MMLU", "Share of general questions whose likeliest choice is the right one; .25 is chance.", "kept"
    ),
    "general_damage": Label(
        "MMLU lost", "Accuracy on general knowledge that unlearning took, in points: 0 is none.", "kept"
    ),
    "min_k_plus_plus_auc": Label(
        "Min-K%++ AUC",
        "An attack by the least expected tokens, on forgotten against unseen texts: above .5 remembered.",
        "forgotten",
        "≈ 0.5",
    ),
    "forget_truth_ratio": Label(
        "forget TR",
        "TOFU's truth ratio of the forget set, min(R, 1/R): 1 where the truth is not told from wrong answers.",
        "forgotten",
    ),
    "ks_d": Label(
        "KS D", "Largest distance between the distributions of truth ratios, to Retrain's (0 to 1).", "near"
    ),
    "objective": Label(
        "objective J",
        "Distance to Retrain, question by question, plus what is lost of the kept answers, as shares: 1 is to do "
        "nothing, or to lose all that is kept.",
        "near",
    ),
    "unseen_damage": Label(
        "unseen lost %",
        "How much less likely answers about others nobody trained on became, in % of before; below 0: likelier.",
        "kept",
    ),
    "repetition": Label("repeats", "Share of four-word sequences in its answers that it said before.", "kept"),
    "perplexity": Label(
        "perplexity", "Of its answers, under the model before all training: low is fluent.", "kept"
    ),
    "retain_loss": Label("retain loss", "Mean loss on the samples to be kept, in nats.", "kept", "↓"),
    "heldout_loss": Label("held-out loss", "Mean loss on unseen samples, in nats.", "kept", "↓"),
}


def label(metric: str) -> Label:
    """The label of a metric; an unknown one is its own label, in the group "other"."""
    key = re.sub(r"[\s\-_]+", "_", metric.strip().lower())
    return LABELS.get(key) or Label(metric, "", "other")


def arrow(metric: str, higher_is_better: bool | None, retrain: bool = True) -> str:
    """↑ higher is better, ↓ lower is better, ≈Retrain: Retrain's own value is best; or the metric's own words.

    retrain: whether there is a Retrain beside the others; without one, nothing is said of being near to it.
    """
    best = label(metric).best
    if best is not None and higher_is_better is None:
        return best
    if higher_is_better is None and not retrain:
        return ""
    return {True: "↑", False: "↓", None: "≈Retrain"}[higher_is_better]
