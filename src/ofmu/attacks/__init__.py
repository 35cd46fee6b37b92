"""Adversaries that try to tell from a model, or its losses, that it was trained on the forgotten data."""

from ofmu.attacks.confidence import ConfidenceAttack, confidence_attack
from ofmu.attacks.gradients import gradient_norms
from ofmu.attacks.lira import LeftOut, offline_lira, online_lira, u_lira, u_lira_left_out
from ofmu.attacks.rmia import rmia
from ofmu.attacks.shadow_free import shadow_free_scores
from ofmu.attacks.signals import (
    negative_entropy,
    negative_modified_entropy,
    scaled_confidence,
    scaled_loss,
    true_confidence,
)
from ofmu.attacks.svc import svc_attack, svc_scores
from ofmu.attacks.threshold import ThresholdAttack, TprAtFpr, auc_with_error, threshold_attack, tpr_at_fpr
from ofmu.attacks.two_sided import Difference, TwoSided, auc_difference, two_sided

__all__ = [
    "ConfidenceAttack",
    "Difference",
    "LeftOut",
    "ThresholdAttack",
    "TprAtFpr",
    "TwoSided",
    "auc_difference",
    "auc_with_error",
    "confidence_attack",
    "gradient_norms",
    "negative_entropy",
    "negative_modified_entropy",
    "offline_lira",
    "online_lira",
    "rmia",
    "scaled_confidence",
    "scaled_loss",
    "shadow_free_scores",
    "svc_attack",
    "svc_scores",
    "threshold_attack",
    "tpr_at_fpr",
    "true_confidence",
    "two_sided",
    "u_lira",
    "u_lira_left_out",
]
