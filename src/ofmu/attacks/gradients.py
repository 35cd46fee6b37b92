"""The gradient-norm attack's scores of a data set, through the oracle: members have small gradients."""

from __future__ import annotations

import numpy as np
import torch

from ofmu.attacks._checks import Floats, finite_vector
from ofmu.core.oracle import Oracle
from ofmu.core.terms import Loss
from ofmu.tasks import Samples

ORDERS = (1.0, 2.0, float("inf"))


def gradient_norms(oracle: Oracle, loss: Loss, samples: Samples, p: float = 2.0) -> Floats:
    """‖∇_θ ℓ_i‖_p of every sample, [n], over all trained parameters; low for members.

    One gradient a sample (cost n), in evaluation mode: with dropout on, or batches, the norm is that of something
    else. Source: Wang et al., "Pandora's white-box" (2024), arXiv 2402.17012. Give −norms to `auc_with_error` and
    `tpr_at_fpr`. Raises ValueError for a p other than 1, 2 and infinity, and for gradients that are not finite.
    """
    if p not in ORDERS:
        raise ValueError(f"p: found {p}, expected 1, 2 or infinity")
    norms = []
    for row in range(len(samples)):
        _, gradient = oracle.grad(loss, samples.batch([row]))
        each = torch.stack([torch.linalg.vector_norm(g.double(), p).cpu() for g in gradient])
        norms.append(float(torch.linalg.vector_norm(each, p)))
    return finite_vector("gradient norms", np.array(norms))
