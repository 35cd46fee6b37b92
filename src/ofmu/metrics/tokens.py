"""One pass over a text's predictions for every score of its tokens.

The numbers are those of `min_k`, `min_k_plus_plus`, `extraction_strength` and `exact_memorization`, which take
logits on the host in float64; these are read where they are, in their own precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ofmu.metrics._checks import Floats
from ofmu.metrics.membership import FLOOR


@dataclass(frozen=True)
class TokenValues:
    """One text's tokens, [m] each: log p(x_t); (log p(x_t) − μ_t)/σ_t of Min-K%++; is x_t the likeliest."""

    log_p: Floats
    standardised: Floats
    likeliest: NDArray[np.bool_]


def token_values(logits: Tensor, tokens: Tensor) -> TokenValues:
    """Of logits [m, vocabulary] and the true tokens [m], for p ∝ e^z.

    All is measured from the largest logit, and what is far from 0 is never subtracted: a token of probability
    1 − 1e-6 keeps its digits in float32.
    """
    top, best = logits.max(1, keepdim=True)
    below = logits - top
    weight = below.exp()
    total = weight.sum(1)
    mean = torch.linalg.vecdot(weight, below) / total  # μ_t, but for the same constant as log p
    true = below.gather(1, tokens[:, None])[:, 0]
    variance = torch.linalg.vecdot(weight, below.sub_(mean[:, None]).square_()) / total
    standardised = (true - mean).double() / variance.double().sqrt().clamp_min(FLOOR)
    log_p = (true.double() - total.double().log()).clamp_max(0.0)
    return TokenValues(log_p.cpu().numpy(), standardised.cpu().numpy(), (best[:, 0] == tokens).cpu().numpy())
