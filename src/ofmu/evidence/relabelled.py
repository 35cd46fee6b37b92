"""A permutation test over models: are the unlearned ones such as retraining could have made."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np

from ..attacks import Difference
from ..metrics.score import Floats

DRAWS = 2000  # relabellings; all of them where there are no more


def relabelled(
    statistic: Callable[[Floats, Floats], float], ours: Floats, gold: Floats, seed: int = 0, draws: int = DRAWS
) -> Difference:
    """A statistic of two sets of models, numbers [models, rows] each, beside what it is of sets drawn from both.

    Models are the sample: if ours are like the retrained ones, all ways to call k of the models "ours" are equally
    likely, however one model's rows move together. value: the statistic minus its mean over relabellings; error:
    its standard deviation over them; p: the share of them, the true labels included, that lie as far off.
    """
    models, (k, m) = np.concatenate([ours, gold]), (len(ours), len(gold))
    found = np.array([statistic(models[mask], models[~mask]) for mask in _labels(k, m, seed, draws)])
    apart = found - found.mean()
    p = float((np.abs(apart) >= abs(apart[0]) - 1e-12).mean())
    return Difference(float(apart[0]), float(found.std()), p, m, None)


def _labels(k: int, m: int, seed: int, draws: int) -> np.ndarray:
    """Bool [labellings, k + m], the true one first: all there are, or it and `draws` random ones."""
    if math.comb(k + m, k) <= draws:
        chosen = [list(each) for each in combinations(range(k + m), k)]  # the first is 0 … k − 1
    else:
        rng = np.random.default_rng(seed)
        chosen = [list(range(k)), *(rng.permutation(k + m)[:k].tolist() for _ in range(draws))]
    masks = np.zeros((len(chosen), k + m), dtype=bool)
    for mask, each in zip(masks, chosen, strict=True):
        mask[each] = True
    return masks
