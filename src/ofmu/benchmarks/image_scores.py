"""What a model is worth on an image request: UA, RA, TA, MIA, and its distance to Retrain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import log_softmax
from torch.nn import Module

from ..attacks import confidence_attack, svc_attack
from ..engine.measuring import image_logits
from ..engine.targets import labels_of
from ..metrics import (
    Score,
    agreement,
    average_gap,
    confidences,
    kl_to_retrain,
    per_sample_confidence_gap,
    retain_accuracy,
    test_accuracy,
    tug_of_war,
    unlearning_accuracy,
    wasserstein_confidence,
)
from ..report.model import ScoreRow
from ..tasks import Samples
from .rows import score_row

MOST = 10_000  # members, and non-members, that the support vector machine is fitted on: quadratic time


@dataclass(frozen=True)
class ImageParts:
    """The data that scores are computed on; test is never used for targets. Class-wise, it has no sample of the
    forgotten class.
    """

    forget: Samples
    retain: Samples
    test: Samples


@dataclass(frozen=True)
class ImageView:
    """A model seen through its logits [n, classes] and the true-label confidences of every part."""

    logits: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    confidence: Mapping[str, np.ndarray]
    forget_losses: np.ndarray

    @cached_property
    def mia_svc(self) -> float | str:
        """MIA by the support vector machine, or why there is none; fitted once: every method asks Retrain's."""
        try:
            found = self.confidence
            return svc_attack(found["retain"], found["test"], found["forget"], most=MOST).mia
        except ValueError as error:
            return str(error)


def view_image(model: Module, parts: ImageParts) -> ImageView:
    """One pass over the three parts."""
    found = {name: getattr(parts, name) for name in ("forget", "retain", "test")}
    logits = {name: image_logits(model, samples).numpy() for name, samples in found.items()}
    return view_of(logits, {name: labels_of(samples).numpy() for name, samples in found.items()})


def view_of(logits: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> ImageView:
    """A model seen through logits that are there already."""
    confidence = {name: confidences(values, labels[name]) for name, values in logits.items()}
    forget = log_softmax(logits["forget"].astype(np.float64), axis=1)
    losses = -forget[np.arange(len(forget)), labels["forget"]]
    return ImageView(logits, labels, confidence, losses)


def protocol_rows(task: str, method: str, seed: int, view: ImageView, retrain: ImageView | None) -> list[ScoreRow]:
    """What the field's protocol adds: MIA by the support vector machine, and beside a Retrain the gap with it,
    Tug-of-War, KL and agreement on all three parts, and W1 and PS on retain and test samples (`image_rows` has
    those of D_f).
    """
    n = len(view.labels["forget"])
    rows = [_row(task, method, seed, "MIA-SVC", view.mia_svc, n, None)]
    if retrain is None:
        return rows
    gap = _gap(view, retrain, view.mia_svc, retrain.mia_svc)
    rows.append(_row(task, method, seed, "gap (SVC)", gap, n, False))
    ours, gold = _accuracies(view), _accuracies(retrain)
    war = tug_of_war(ours["UA"], ours["RA"], ours["TA"], retrain=(gold["UA"], gold["RA"], gold["TA"]))
    rows.append(_row(task, method, seed, "ToW", war.value, n, True))
    for part in ("forget", "test", "retain"):
        count = len(view.labels[part])
        kl = kl_to_retrain(view.logits[part], retrain.logits[part])
        same = agreement(view.logits[part], retrain.logits[part])
        rows.append(_row(task, method, seed, f"KL {part}", kl.value, count, False))
        rows.append(_row(task, method, seed, f"agreement {part}", same.value, count, True))
    for part in ("retain", "test"):
        rows += _distances(task, method, seed, f" {part}", view.confidence[part], retrain.confidence[part])
    return rows


def image_rows(task: str, method: str, seed: int, view: ImageView, retrain: ImageView | None) -> list[ScoreRow]:
    """UA, RA, TA, MIA of a model, and gap, W1, PS where there is a Retrain; MIA and gap by `confidence_attack`."""
    scores = _accuracies(view)
    rows = [score_row(task, method, seed, key, score) for key, score in scores.items()]
    n = len(view.labels["forget"])
    mia = _attack(view)
    rows.append(_row(task, method, seed, "MIA", mia, n, None))
    if retrain is None:
        return rows
    gap = _gap(view, retrain, mia, _attack(retrain))
    rows.append(_row(task, method, seed, "gap", gap, n, False))
    return rows + _distances(task, method, seed, "", view.confidence["forget"], retrain.confidence["forget"])


def _gap(view: ImageView, retrain: ImageView, mia: float | str, gold: float | str) -> float | str | None:
    """The average gap in points with these MIAs, both by one attack; or why one of them is missing."""
    if isinstance(mia, str):
        return mia
    if isinstance(gold, str):
        return f"of Retrain: {gold}"
    return average_gap({**_accuracies(view), "MIA": mia}, {**_accuracies(retrain), "MIA": gold}).value


def _distances(
    task: str, method: str, seed: int, part: str, ours: np.ndarray, theirs: np.ndarray
) -> list[ScoreRow]:
    """W1 and PS between true-label confidences; part: what their names end in."""
    w1, ps = wasserstein_confidence(ours, theirs), per_sample_confidence_gap(ours, theirs)
    return [
        _row(task, method, seed, f"W1{part}", w1.value, len(ours), False),
        score_row(task, method, seed, f"PS{part}", ps),
    ]


def _accuracies(view: ImageView) -> dict[str, Score]:
    return {
        "UA": unlearning_accuracy(view.logits["forget"], view.labels["forget"]),
        "RA": retain_accuracy(view.logits["retain"], view.labels["retain"]),
        "TA": test_accuracy(view.logits["test"], view.labels["test"]),
    }


def _attack(view: ImageView) -> float | str:
    """The confidence attack's MIA, or why it could not be computed."""
    try:
        found = confidence_attack(view.confidence["retain"], view.confidence["test"], view.confidence["forget"])
    except ValueError as error:
        return str(error)
    return found.mia


def _row(
    task: str, method: str, seed: int, metric: str, value: float | str | None, n: int, higher: bool | None
) -> ScoreRow:
    """A row with its value, or missing with the reason."""
    if isinstance(value, str) or value is None:
        return ScoreRow(task, method, seed, metric, None, 0, higher, missing=value or "not computed")
    return ScoreRow(task, method, seed, metric, value, n, higher)
