"""What one look at a model says of the forget and of the held-out rows: the scores that attacks are made of."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from torch.nn import Module

from ..attacks import (
    gradient_norms,
    negative_entropy,
    negative_modified_entropy,
    scaled_confidence,
    shadow_free_scores,
    true_confidence,
)
from ..benchmarks.token_pass import TokenScores, token_scores
from ..core.oracle import TorchOracle
from ..data.encode import TextSamples
from ..engine.measuring import image_logits, sample_losses
from ..engine.targets import Rows, labels_of
from ..metrics.score import Floats
from ..tasks import Samples
from .case import MOST, Case, copy_of, some
from .finding import Pair


def loss_scores(case: Case, module: Module) -> Pair:
    """What the losses of the forget and of the held-out rows say: all transformed models are measured by it.

    Texts: −loss. Images: φ = log p − log(1 − p) of the true class, which orders rows as the loss does and still
    tells them apart where a sure model's losses round to 0.
    """
    return scores_of(case, module, case.forget), scores_of(case, module, case.heldout)


def scores_of(case: Case, module: Module, part: Samples) -> Floats:
    """`loss_scores` of some rows, [n]; ValueError where they are not finite."""
    image = case.kind == "image"
    seen = (image_logits(module, part) if image else -sample_losses(module, part, case.loss)).double().numpy()
    if not np.isfinite(seen).all():
        raise ValueError("the attacked model's losses are not finite")
    return scaled_confidence(seen, labels_of(part).numpy()) if image else seen


def losses_of(case: Case, scores: Floats) -> Floats:
    """The losses in nats [n] behind `loss_scores`: of φ, log(1 + exp(−φ))."""
    return np.logaddexp(0.0, -scores) if case.kind == "image" else -scores


def image_scores(case: Case, module: Module) -> dict[str, Pair]:
    """Every one-query score of an image model, by the attack's name; one pass over forget, held-out and retain."""
    parts = (case.forget, case.heldout, some(case.parts.retain, MOST))
    logits = [image_logits(module, part).double().numpy() for part in parts]
    labels = [labels_of(part).numpy() for part in parts]
    each = [
        np.stack(
            [
                np.log(np.maximum(true_confidence(z, y), 1e-30)),
                negative_entropy(z),
                negative_modified_entropy(z, y),
            ],
            axis=1,
        )
        for z, y in zip(logits, labels, strict=True)
    ]
    sure = [scaled_confidence(z, y) for z, y in zip(logits[:2], labels[:2], strict=True)]
    found = {"loss": (sure[0], sure[1])}
    found |= {name: (each[0][:, i], each[1][:, i]) for i, name in ((1, "entropy"), (2, "modified-entropy"))}
    found["learnt-logistic"] = shadow_free_scores(each[2], each[1], each[0], "logistic", case.seed)
    found["learnt-svc"] = shadow_free_scores(each[2], each[1], each[0], "svc", case.seed)
    return found


def text_scores(case: Case, module: Module) -> dict[str, Pair]:
    """Every one-query score of a language model, by the attack's name; one pass over forget and held-out."""
    parts = (case.forget, case.heldout)
    passes: Sequence[TokenScores] = [token_scores(module, part) for part in parts]
    sizes = [_compressed(part) for part in parts]
    found = {
        "loss": _pair([-one.loss for one in passes]),
        "min-k": _pair([one.min_k for one in passes]),
        "min-k++": _pair([one.min_k_plus_plus for one in passes]),
        "zlib": _pair([-one.loss / size for one, size in zip(passes, sizes, strict=True)]),
        "extraction": _pair([one.extraction for one in passes]),
    }
    if case.base is not None:
        base = [sample_losses(case.base, part, case.loss).double().numpy() for part in parts]
        found["reference"] = _pair([b - one.loss for b, one in zip(base, passes, strict=True)])
    return found


def gradient_scores(case: Case, module: Module) -> Pair:
    """−‖∇ℓ_i‖₂ of every row: one gradient a row, of a copy whose parameters are all trained."""
    trained = copy_of(module).requires_grad_(True)
    oracle = TorchOracle(trained, products="differences", outer="differences")
    return _pair([-gradient_norms(oracle, case.loss, part) for part in (case.forget, case.heldout)])


def _compressed(samples: Samples) -> Floats:
    """Bytes of each answer, compressed with zlib."""
    return np.array([float(len(zlib.compress(_text(samples, row).encode()))) for row in range(len(samples))])


def _text(samples: Samples, row: int) -> str:
    if isinstance(samples, Rows):
        return _text(samples.samples, samples.rows[row])
    if not isinstance(samples, TextSamples):
        raise ValueError(f"text of {type(samples).__name__} is unknown, expected text rows")
    return samples.records.record(row).completion


def _pair(values: Sequence[Floats]) -> Pair:
    return np.asarray(values[0], dtype=np.float64), np.asarray(values[1], dtype=np.float64)
