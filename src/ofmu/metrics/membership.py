"""Scores by which an adversary orders texts: was this one in the training data? Pure functions of numbers.

Give the scores of forgotten and of held-out texts to `ofmu.attacks` (AUC, TPR at a low FPR, with their errors).
Each is in its paper's own direction, which its docstring says: losses and what is made of them are *low* for
members, Min-K% and Min-K%++ are *high*. OpenUnlearning turns the latter around, so that all are low for members.
Texts with no scored token raise; OpenUnlearning scores them 0, which for a negated log-probability is the best of
all.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import log_softmax
from torch import Tensor

from ofmu.metrics._checks import Floats, same_length, vector
from ofmu.metrics.memorisation import aligned, like

FLOOR = 1e-3  # of σ in Min-K%++


def zlib_ratio(loss: ArrayLike, text: str | Sequence[str]) -> float | Floats:
    """Loss / zlib entropy: a text's loss over the bytes of its zlib-compressed UTF-8 form; low for members.

    loss: the mean loss (log-perplexity) of one text, or [n] of n texts. Source: Carlini et al., "Extracting
    training data from large language models" (2021), arXiv 2012.07805, section 5. Raises ValueError for nan,
    negative losses, an empty text and lengths that differ.
    """
    texts = [text] if isinstance(text, str) else list(text)
    losses = vector("loss", np.atleast_1d(np.asarray(loss, dtype=np.float64)), 0)
    if len(texts) != len(losses) or not all(texts):
        raise ValueError(
            f"text: found {len(texts)} texts ({sum(not t for t in texts)} empty) for {len(losses)} losses, "
            "expected as many, none of them empty"
        )
    ratios = losses / [len(zlib.compress(each.encode("utf-8"))) for each in texts]
    return float(ratios[0]) if isinstance(text, str) else ratios


def reference_score(loss: ArrayLike, reference_loss: ArrayLike) -> Floats:
    """Loss − the same text's loss under a reference model that never saw it, [n]; low for members.

    The reference takes out how hard a text is. Source: Carlini et al. (2021), arXiv 2012.07805, and Watson et
    al., "On the importance of difficulty calibration in membership inference attacks" (2022). Raises ValueError
    for nan, negative losses, empty input and lengths that differ.
    """
    ours, theirs = vector("loss", loss, 0), vector("reference_loss", reference_loss, 0)
    same_length("loss", ours, "reference_loss", theirs)
    return ours - theirs


def min_k(logprobs: ArrayLike, k: float = 0.2) -> float:
    """Min-K%: the mean of the lowest k·m of a text's m token log-probabilities, at least one; high for members.

    logprobs: [m], log p(x_t | x_<t) ≤ 0 of one text's tokens; k: a share in (0, 1] (the paper takes 0.2; MUSE and
    OpenUnlearning 0.4 in places). k·m is rounded down, as in the authors' code (but for float rounding: .29 · 100
    is 29 here, 28 there). Source: Shi et al., "Detecting pretraining data from large language models" (2023),
    arXiv 2310.16789, equation 1. Raises ValueError for nan,
    no token, positive log-probabilities and a k that is no share.
    """
    return lowest_mean(vector("logprobs", logprobs, high=0), k)


def min_k_plus_plus(logits: ArrayLike, labels: ArrayLike, k: float = 0.2) -> float | Floats:
    """Min-K%++: Min-K% of (log p(x_t | x_<t) − μ_t) / σ_t; high for members.

    μ_t = E[log p(z | x_<t)] and σ_t its standard deviation, z ~ p(· | x_<t): is the true token more likely than
    what the model would say there? Shapes as in `extraction_strength`: a number for one text, [b] for a batch.
    Source: Zhang et al., "Min-K%++" (2024), arXiv 2404.02936, equation 3. σ is taken as no less than 1e-3: it
    vanishes where the prediction is certain or uniform (OpenUnlearning has the same floor, the authors' code gives
    nan there). Raises ValueError as `extraction_strength` and `min_k` do.
    """
    scores = []
    for values, tokens in aligned(logits, labels):
        log_p = log_softmax(values, axis=-1)
        p = np.exp(log_p)
        mean = (p * log_p).sum(axis=-1)
        deviation = np.sqrt((p * (log_p - mean[:, None]) ** 2).sum(axis=-1))
        true = log_p[np.arange(len(tokens)), tokens]
        scores.append(lowest_mean((true - mean) / np.maximum(deviation, FLOOR), k))
    return like(labels, scores)


def gradient_norm(gradient: Sequence[Tensor], p: float = 2.0) -> float:
    """‖∇_θ L(x)‖_p over all parameters of one text's mean loss; low for members (p: 1, 2 or infinity).

    gradient: one tensor per parameter, taken in evaluation mode. Source: Wang et al., "Pandora's white-box"
    (2024), arXiv 2402.17012. OpenUnlearning takes the mean of the norms of the tensors, which weighs a bias like
    a matrix, and with dropout on. Raises ValueError for nan, no tensors and another p.
    """
    if p not in (1.0, 2.0, float("inf")) or not gradient:
        raise ValueError(
            f"gradient, p: found {len(gradient)} tensors and {p}, expected at least one and 1, 2 or inf"
        )
    norms = torch.stack([torch.linalg.vector_norm(g.detach().double(), p).cpu() for g in gradient])
    return float(vector("gradient", [float(torch.linalg.vector_norm(norms, p))])[0])


def privleak(auc_unlearned: float, auc_retrained: float) -> float:
    """PrivLeak = 100 · (a_u − a_r) / a_r, in %, with a = 1 − AUC; 0 is best.

    auc_…: AUC in [0, 1] by which an attack (MUSE: Min-K%) tells D_f, as members, from held-out text, 1 where D_f
    is found surely, for the unlearned model and for Retrain. Below 0: still remembered (an untouched model is
    near −100); above 0: over-forgotten, found by its low likelihood. Source: Shi et al., "MUSE" (2024), arXiv
    2407.06460, section 3; its text writes AUC for what its code computes as 1 − AUC. Undefined where Retrain's
    AUC is 1: OpenUnlearning then divides by 1e-10 and reports up to 1e12 %. Raises ValueError there, and for
    numbers outside [0, 1].
    """
    ours = 1 - vector("auc_unlearned", [auc_unlearned], 0, 1)[0]
    theirs = 1 - vector("auc_retrained", [auc_retrained], 0, 1)[0]
    if theirs == 0:
        raise ValueError(
            "auc_retrained: found 1, expected less: the attack finds D_f even in the model that never saw it, so "
            "forgotten and held-out texts differ by themselves; choose held-out texts like the forgotten ones"
        )
    return float(100 * (ours - theirs) / theirs)


def lowest_mean(values: Floats, k: float) -> float:
    """The mean of the lowest k·m (rounded down, at least one) of [m] token scores: what Min-K% and Min-K%++ share.

    Raises ValueError for a k outside (0, 1].
    """
    if not 0 < k <= 1:
        raise ValueError(f"k: found {k}, expected a share of the tokens in (0, 1], such as 0.2 for 20 %")
    count = max(1, int(len(values) * k + 1e-9))  # .29 · 100 is 28.999…
    return float(np.sort(values)[:count].mean())
