"""KLoM: how far the distribution of a sample's margin, over runs of unlearning, is from that over retrainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from ofmu.metrics._checks import Floats, classes, finite, same_length

BINS, LEAST, WIDEST = 20, 1e-5, 100.0
PERCENTILES = (50.0, 95.0, 99.0)


@dataclass(frozen=True)
class KLoM:
    """values: [n] nats, one a sample, 0 is best and −log(least) the most; mean and percentiles of them.

    models: (runs of unlearning, retrainings) that each value comes from. With few of them the value is far from 0
    even for equal distributions: read it beside that of one half of the retrainings against the other.
    """

    values: Floats
    mean: float
    percentiles: dict[float, float]
    models: tuple[int, int]


def margins(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """φ_i = z_y − log Σ_{j≠y} e^{z_j} = log(p_y/(1 − p_y)), float64 [n]; logits [n, c], labels [n].

    From logits, so that a saturated softmax stays finite. Raises ValueError as `confidences`, and for 1 class.
    """
    scores, truth = finite("logits", logits, ndim=2), classes("labels", labels)
    same_length("logits", scores, "labels", truth)
    if truth.max() >= scores.shape[1] or scores.shape[1] < 2:
        raise ValueError(
            f"labels: found class {truth.max()}, logits: {scores.shape[1]} classes, expected 2 or more"
        )
    rows = np.arange(len(truth))
    others = scores.copy()
    others[rows, truth] = -np.inf
    found: Floats = scores[rows, truth] - logsumexp(others, axis=1)
    return found


def klom(
    unlearned: ArrayLike, retrained: ArrayLike, *, bins: int = BINS, percentiles: Sequence[float] = PERCENTILES
) -> KLoM:
    """KL(margins of retrainings ‖ margins of unlearned models) of every sample, by histograms.

    unlearned: [k, n] margins (`margins`) of k runs of unlearning (other seeds, other originals); retrained: [m, n]
    of m independent retrainings; column i is one sample. Per sample: both are clipped to ±100 and counted in
    `bins` (20) equal bins over their joint range, as shares; KL = Σ_b r_b log(r_b / max(u_b, 1e-5)), at least 0.
    Georgiev et al. 2024, arXiv 2410.23232: the safe (retrained) distribution comes first; they report means and
    95th percentiles over D_f, D_r and held-out data, with 100 models a side. All values equal on both sides: 0.

    Where common code differs: one benchmark gives KL the other way round; its bins leave out their upper edge, so
    that the largest margin is counted nowhere, and a sample whose margins all lie there gives 0/0. Raises
    ValueError for nan, fewer than 2 models on a side, other numbers of samples, and bins below 2.
    """
    ours, gold = finite("unlearned", unlearned, ndim=2), finite("retrained", retrained, ndim=2)
    if ours.shape[1] != gold.shape[1]:
        raise ValueError(
            f"unlearned and retrained: found {ours.shape[1]} and {gold.shape[1]} samples, expected the same"
        )
    if min(len(ours), len(gold)) < 2 or bins < 2:
        raise ValueError(f"found {len(ours)} and {len(gold)} models, {bins} bins; expected at least 2 of each")
    ours, gold = np.clip(ours, -WIDEST, WIDEST), np.clip(gold, -WIDEST, WIDEST)
    values = np.array([_divergence(gold[:, i], ours[:, i], bins) for i in range(ours.shape[1])])
    found = {float(q): float(np.percentile(values, q)) for q in percentiles}
    return KLoM(values, float(values.mean()), found, (len(ours), len(gold)))


def normal_klom(unlearned: ArrayLike, retrained: ArrayLike) -> Floats:
    """The same divergence of normal distributions fitted to each sample's margins: [n] nats, for few models.

    KL(N(r, s²) ‖ N(u, t²)) = log(t/s) + (s² + (r − u)²)/(2t²) − ½, with means r, u and unbiased variances s², t²
    of the retrainings and of the unlearned models. A histogram of a few models hardly fills its bins, so that
    `klom` is near its maximum whatever the models are; two moments need fewer. An own variant, for comparing
    samples with each other. Raises ValueError as `klom`, and where a sample's margins are all one value on a side.
    """
    ours, gold = finite("unlearned", unlearned, ndim=2), finite("retrained", retrained, ndim=2)
    if ours.shape[1] != gold.shape[1] or min(len(ours), len(gold)) < 2:
        raise ValueError(
            f"unlearned and retrained: found shapes {ours.shape} and {gold.shape}, expected the same samples and "
            "at least 2 models a side"
        )
    t2, s2 = (np.clip(each, -WIDEST, WIDEST).var(axis=0, ddof=1) for each in (ours, gold))
    if not (t2.min() > 0 and s2.min() > 0):
        raise ValueError(
            "unlearned and retrained: found a sample whose margins are all one value, expected a spread"
        )
    apart = np.clip(gold, -WIDEST, WIDEST).mean(axis=0) - np.clip(ours, -WIDEST, WIDEST).mean(axis=0)
    found: Floats = 0.5 * np.log(t2 / s2) + (s2 + apart**2) / (2 * t2) - 0.5
    return found


def _divergence(gold: Floats, ours: Floats, bins: int) -> float:
    low, high = min(gold.min(), ours.min()), max(gold.max(), ours.max())
    if low == high:
        return 0.0
    edges = np.linspace(low, high, bins + 1)
    r, u = (np.histogram(values, edges)[0] / len(values) for values in (gold, ours))
    there = r > 0
    return max(float((r[there] * np.log(r[there] / np.maximum(u[there], LEAST))).sum()), 0.0)
