"""What the layers of a model hold: features of rows, read out and compared, and directions taken out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import Module

from ..engine.measuring import evaluating
from ..engine.trainable import block_list
from ..losses import pass_through
from ..metrics.score import Floats
from ..tasks import IGNORE, Kind, Samples, batches
from .finding import Pair

LAYERS = 4  # that are looked at, evenly spread


def layers_of(module: Module, kind: Kind, most: int = LAYERS) -> list[tuple[str, Module]]:
    """At most `most` layers from the first to the last, evenly spread: blocks of a language model, and of an image
    model the modules that hold a matrix or kernel, without the last one (it gives the logits).
    """
    if kind == "text":
        inner: Module = getattr(module, "get_base_model", lambda: module)()
        found: list[tuple[str, Module]] = [(f"block {i}", block) for i, block in enumerate(block_list(inner)[0])]
    else:
        found = [
            (name, part)
            for name, part in module.named_modules()
            if any(p.ndim >= 2 for p in part.parameters(recurse=False))
        ][:-1]
    n = len(found)
    if n <= most:
        return found
    return [found[round(i * (n - 1) / (most - 1))] for i in range(most)]


def features(module: Module, kind: Kind, samples: Samples, most: int = LAYERS) -> dict[str, Floats]:
    """Per layer, [n, d]: images, the mean over positions of every channel; texts, over the answer's positions.

    A text position counts where the next token belongs to the answer: there the model decides what to say.
    """
    chosen = layers_of(module, kind, most)
    out: dict[str, list[Floats]] = {name: [] for name, _ in chosen}
    order: list[int] = []
    kept: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, part in chosen:
            handle = part.register_forward_hook(lambda _, __, found, name=name: kept.update({name: _first(found)}))
            stack.callback(handle.remove)
        stack.enter_context(evaluating(module))
        device = next(module.parameters()).device
        for rows in batches(samples, 32):
            batch = samples.batch(rows).to(device)
            answers = None if kind == "image" else (batch.labels[:, 1:] != IGNORE)
            if answers is None:
                module(batch.inputs["pixel_values"])
            else:
                pass_through(module, batch.inputs)
            for name, found in kept.items():
                out[name].append(_pooled(found, answers).double().cpu().numpy())
            order += rows
    back = np.argsort(order)
    return {name: np.concatenate(parts)[back] for name, parts in out.items()}


def _first(found: Any) -> Tensor:
    return found[0] if isinstance(found, tuple) else found


def _pooled(found: Tensor, answers: Tensor | None) -> Tensor:
    """[b, d]."""
    if answers is not None:
        weights = answers.to(found.dtype)[..., None]
        return (found[:, :-1] * weights).sum(1) / weights.sum(1).clamp_min(1)
    if found.ndim == 4:
        return found.mean((2, 3))
    return found.mean(1) if found.ndim == 3 else found


def probe_scores(forget: ArrayLike, heldout: ArrayLike, seed: int = 0) -> Pair:
    """Cross-fitted scores of a linear probe that learns forget against held-out rows from a layer's features.

    forget [n, d], heldout [m, d]. Logistic regression (L2, C = 0.1, standardised, balanced) fitted on one half of
    either side scores the other half, and the reverse; scores are ranks within a half, since two fits have no
    common scale. Only an AUC *above* that on Retrain means something: below it is noise. Threat model: white-box,
    and labels for half of the rows. Source: Alain & Bengio (2016) on linear probes; as evidence of what
    unlearning leaves inside, Lynch et al., "Eight methods to evaluate robust unlearning" (2024). Raises
    ValueError for fewer than 4 rows on a side and features that are not finite.
    """
    sides = [np.asarray(values, dtype=np.float64) for values in (forget, heldout)]
    if any(side.ndim != 2 or len(side) < 4 or not np.isfinite(side).all() for side in sides):
        raise ValueError(f"features: found {[side.shape for side in sides]}, expected finite [n, d], n ≥ 4")
    rng = np.random.default_rng(seed)
    folds = [rng.permutation(len(side)) % 2 for side in sides]
    scores = [np.empty(len(side)) for side in sides]
    for fold in (0, 1):
        x = np.concatenate([side[part != fold] for side, part in zip(sides, folds, strict=True)])
        y = np.repeat([1, 0], [int((part != fold).sum()) for part in folds])
        probe = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
        fitted = make_pipeline(StandardScaler(), probe).fit(x, y)
        asked = [fitted.decision_function(side[part == fold]) for side, part in zip(sides, folds, strict=True)]
        ranks = rankdata(np.concatenate(asked)) / (len(asked[0]) + len(asked[1]))
        scores[0][folds[0] == fold], scores[1][folds[1] == fold] = ranks[: len(asked[0])], ranks[len(asked[0]) :]
    return scores[0], scores[1]


def cka(x: ArrayLike, y: ArrayLike) -> float:
    """Linear CKA of two models' features of the same rows, [n, d] and [n, e]; 1: equal up to rotation and scale.

    HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) with the unbiased estimator of HSIC (Song et al., 2012), K = xxᵀ with a
    zero diagonal: the plain form grows towards 1 with d / n whatever the features are. So it may be slightly below
    0. Source: Kornblith et al., "Similarity of neural network representations revisited" (2019). Raises ValueError
    for fewer than 4 rows, rows that differ in number, and features that do not vary.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or len(a) < 4:
        raise ValueError(f"x, y: found shapes {a.shape} and {b.shape}, expected [n, …] of the same n ≥ 4 rows")
    k, l = a @ a.T, b @ b.T  # noqa: E741
    scale = _hsic(k, k) * _hsic(l, l)
    if not scale > 0:
        raise ValueError("x, y: the features do not vary, or so little that chance explains it")
    return float(_hsic(k, l) / np.sqrt(scale))


def _hsic(k: Floats, l: Floats) -> float:  # noqa: E741
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    ends = k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(0) @ l.sum(0)) / (n - 2)
    return float(((k * l).sum() + ends) / (n * (n - 3)))


@contextmanager
def without_directions(parts: Sequence[tuple[Module, Tensor]]) -> Iterator[None]:
    """Within, the output h of every module loses its component along its direction d: h − (h·d̂) d̂.

    directions: [d], of the last axis (texts) or of the channels of images. Source: Arditi et al., "Refusal in
    language models is mediated by a single direction" (2024); against unlearning, Łucki et al. (2024).
    """
    with ExitStack() as stack:
        for module, direction in parts:
            unit = direction / direction.norm().clamp_min(1e-12)
            handle = module.register_forward_hook(lambda _, __, found, unit=unit: _ablated(found, unit))
            stack.callback(handle.remove)
        yield


def _ablated(found: Any, unit: Tensor) -> Any:
    h = _first(found)
    unit = unit.to(h)
    if h.ndim == 4:
        h = h - torch.einsum("bchw,c->bhw", h, unit)[:, None] * unit[:, None, None]
    else:
        h = h - (h @ unit)[..., None] * unit
    return (h, *found[1:]) if isinstance(found, tuple) else h
