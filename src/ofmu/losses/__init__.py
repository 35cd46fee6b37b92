"""Losses, written to be minimised; `Ascend` is the one place that flips a sign.

A *loss* maps (model, batch) to terms. An *objective* is a recipe for a loss, plain data that a method holds; it
is bound to a task, which supplies the base loss, the targets and the frozen reference.
"""

from .bounded import Bounded, BoundedLoss, Plausible, PlausibleLoss, target_terms
from .divergence import KLLoss, KLToReference
from .likelihood import BASE_LOSSES, NLL, class_nll, token_nll
from .logits import answer_logits, class_logits, full, pass_through, placed
from .objective import Ascend, AscendedLoss, Objective
from .preference import NPO, SimNPO

__all__ = [
    "BASE_LOSSES",
    "NLL",
    "NPO",
    "Ascend",
    "AscendedLoss",
    "Bounded",
    "BoundedLoss",
    "KLLoss",
    "KLToReference",
    "Objective",
    "Plausible",
    "PlausibleLoss",
    "SimNPO",
    "answer_logits",
    "class_logits",
    "class_nll",
    "full",
    "pass_through",
    "placed",
    "target_terms",
    "token_nll",
]
