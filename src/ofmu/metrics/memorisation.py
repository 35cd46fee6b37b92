"""How much of an answer a model can still say: token by token against its most likely tokens.

`logits` are those that predict the labels: logits[t] for labels[t] (a causal model's outputs shifted by one, what
`ofmu.losses.answer_logits` returns); labels of `IGNORE` (−100) are left out: prompt, padding. One sample: [t,
vocabulary] and [t], and the score is a number; a batch: [b, t, vocabulary] and [b, t], and it is [b]. Whether the
end-of-text token counts is decided by the labels, and so alike for every score: OpenUnlearning drops the last
token for these scores and keeps it for the probability.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ofmu.metrics._checks import Floats, finite
from ofmu.tasks import IGNORE


def extraction_strength(logits: ArrayLike, labels: ArrayLike) -> float | Floats:
    """ES = 1 − (1/m) min{k : greedy decoding after the first k answer tokens says the rest}, in [0, 1].

    m: tokens of the answer. k = 0 (the question alone brings out the whole answer) gives 1; where even the last
    token is wrong, k = m and ES = 0. Teacher forcing decides it: a suffix is decoded greedily exactly if each of
    its tokens is the most likely one after the true tokens before it. Lower means forgotten; best is Retrain's.
    Source: Carlini et al., "Extracting training data from large language models" (2021), as used for unlearning
    by Wang et al. (2024), arXiv 2406.09179. Common code never gives 0: its floor is 1/m, since it stops looking
    at k = m − 1. Raises ValueError for shapes that do not fit, nan, a sample without labels, and labels outside
    the vocabulary.
    """
    return like(labels, [extracted(row) for row in _hits(logits, labels)])


def extracted(hits: NDArray[np.bool_]) -> float:
    """`extraction_strength` of a text from [m]: whether each answer token is the most likely one."""
    wrong = np.flatnonzero(~hits)
    return 1 - (int(wrong[-1]) + 1 if len(wrong) else 0) / len(hits)


def exact_memorization(logits: ArrayLike, labels: ArrayLike) -> float | Floats:
    """EM = (1/m) Σ_t 1{argmax_v logits[t, v] = labels[t]}: share of answer tokens that are the most likely ones.

    In [0, 1]; lower means forgotten, best is Retrain's. Source: Tirumala et al., "Memorization without
    overfitting" (2022), arXiv 2205.10770. Raises as `extraction_strength` does.
    """
    return like(labels, [float(row.mean()) for row in _hits(logits, labels)])


def aligned(logits: ArrayLike, labels: ArrayLike) -> list[tuple[Floats, NDArray[np.int64]]]:
    """(logits [m, vocabulary], labels [m]) of each sample, without ignored places; ValueError as said above."""
    truth = np.asarray(labels)
    if truth.ndim not in (1, 2) or not np.issubdtype(truth.dtype, np.integer):
        raise ValueError(f"labels: found {truth.dtype} of shape {truth.shape}, expected integers [t] or [b, t]")
    scores = finite("logits", logits, ndim=truth.ndim + 1)
    if scores.shape[:-1] != truth.shape:
        raise ValueError(
            f"logits: found shape {scores.shape}, expected {(*truth.shape, 'vocabulary')} as labels have"
        )
    if truth.ndim == 1:
        scores, truth = scores[None], truth[None]
    samples = []
    for row, (values, tokens) in enumerate(zip(scores, truth, strict=True)):
        kept = tokens != IGNORE
        if not kept.any():
            raise ValueError(f"labels: sample {row} has none but {IGNORE}, expected at least one answer token")
        if tokens[kept].min() < 0 or tokens[kept].max() >= values.shape[-1]:
            raise ValueError(f"labels: sample {row} has tokens outside 0 … {values.shape[-1] - 1}, the vocabulary")
        samples.append((values[kept], tokens[kept].astype(np.int64)))
    return samples


def _hits(logits: ArrayLike, labels: ArrayLike) -> list[NDArray[np.bool_]]:
    """For each sample, [m]: whether the most likely token is the true one."""
    return [values.argmax(axis=-1) == tokens for values, tokens in aligned(logits, labels)]


def like(labels: ArrayLike, scores: list[float]) -> float | Floats:
    """A number for one sample, an array for a batch."""
    return scores[0] if np.ndim(np.asarray(labels)) == 1 else np.array(scores)
