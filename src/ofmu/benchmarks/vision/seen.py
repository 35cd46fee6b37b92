"""A model as the benchmark sees it: its outputs on every part, some features, and how fast it relearns."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import Module

from ... import __version__
from ...engine.checkpoint import load_state, save_state
from ...engine.features import penultimate
from ...engine.loop import Diverged
from ...engine.measuring import image_logits
from ...engine.prepare import UNIT
from ...engine.targets import Rows
from ...engine.training import Recipe, training
from ...losses import class_nll
from ...metrics import relearn_time, unlearning_accuracy
from ...report.model import ORIGINAL, ScoreRow
from ...tasks import Samples, TensorSamples
from ..image_scores import ImageView, view_of
from .references import Workshop, samples_fingerprint
from .split import VisionSplit

CODE = 4  # raised whenever what a run computes changes, so that older ones are not taken from the store
START = 7  # the same for the search of a head start, and the methods that ask for one
RELEARN = 20  # epochs of relearning on D_f, at most
EARLY = 2  # of them are looked at four times an epoch, the others once
MARGIN = 5.0  # points of accuracy on D_f below the original's: what counts as back
SHOWN = 300  # samples of D_f and of D_r whose features are kept for the figures


@dataclass(frozen=True)
class Seen:
    """A model seen through its logits on every part, and its features of some forget and retain samples.

    relearn: (cost in sample-gradients, accuracy on D_f in points) at each look of a training on D_f.
    """

    view: ImageView
    unseen: np.ndarray
    features: np.ndarray
    relearn: tuple[list[float], list[float]]

    @property
    def known(self) -> float:
        """The accuracy on D_f, in points."""
        return 100 - float(unlearning_accuracy(self.view.logits["forget"], self.view.labels["forget"]).value or 0)


def see(model: Module, split: VisionSplit, recipe: Recipe, level: float | None) -> Seen:
    """A model's logits on forget, retain, test and held-out samples, features for the figures, and its relearning.

    level: the accuracy on D_f, in points, at which it counts as back; None: not relearned (the original).
    """
    parts = {"forget": split.forget, "retain": split.retain, "test": split.test}
    logits = {name: image_logits(model, part).numpy() for name, part in parts.items()}
    labels = {name: part.labels.numpy() for name, part in parts.items()}
    some = torch.cat([penultimate(model, few(part)) for part in (split.forget, split.retain)])
    path = ([], []) if level is None else relearned(model, split.forget, recipe, level)
    return Seen(view_of(logits, labels), image_logits(model, split.heldout).numpy(), some.numpy(), path)


def relearned(
    model: Module, forget: TensorSamples, recipe: Recipe, level: float
) -> tuple[list[float], list[float]]:
    """Train a copy on D_f until its accuracy there is back at `level`, at most for `RELEARN` epochs.

    By the recipe's rule at a quarter of its rate, held constant, in batches of 16, without augmentation. (costs in
    sample-gradients, accuracies in points), one of each a look; a training that diverges ends with its last look.
    """
    model = copy.deepcopy(model)
    recipe = replace(
        recipe, epochs=RELEARN, batch=16, lr=recipe.lr / 4, schedule="constant", augment=False, clip=None
    )
    costs, values = [0.0], [_accuracy(model, forget)]
    if values[0] >= level:
        return costs, values
    with suppress(Diverged):
        for progress in training(model, forget, class_nll, recipe):
            epoch = max(1, progress.total // RELEARN)
            every = max(1, epoch // 4) if progress.step <= EARLY * epoch else epoch
            if progress.step % every == 0 or progress.step == progress.total:
                costs.append(progress.cost)
                values.append(_accuracy(model, forget))
                if values[-1] >= level:
                    break
    return costs, values


def relearn_row(task: str, method: str, seed: int, seen: Seen, level: float) -> ScoreRow:
    """The relearn time in gradient-equivalents, nearest to Retrain's is best; missing where it took too long."""
    unit = UNIT["image"]
    found = relearn_time([cost / unit for cost in seen.relearn[0]], seen.relearn[1], level, rising=True)
    n = len(seen.view.labels["forget"])
    if found.value is None:
        return ScoreRow(task, method, seed, "relearn time", None, 0, None, missing=found.missing)
    return ScoreRow(task, method, seed, "relearn time", found.value, n, None)


def _accuracy(model: Module, samples: TensorSamples) -> float:
    return 100 * float((image_logits(model, samples).argmax(1) == samples.labels).float().mean())


def seen_reference(
    shop: Workshop, split: VisionSplit, name: str, model: Module, seed: int, level: float | None
) -> Seen:
    """How a reference is seen, from the store where it is there."""

    def make(folder: Path) -> None:
        save_state(folder / "seen.safetensors", plain(see(model, split, shop.setting.recipe, level)))

    samples = split.train if name == ORIGINAL else split.retain
    key = {
        "kind": "vision seen",
        "code": [__version__, CODE],
        "reference": shop.key(samples, replace(shop.setting.recipe, seed=seed)),
        "parts": [samples_fingerprint(part) for part in (split.forget, split.heldout, split.test)],
        "level": level,
    }
    folder = shop.store.get_or_make(key, make, note=f"{name}, seed {seed}: seen")
    return seen_from(load_state(folder / "seen.safetensors"), split)


def few(samples: TensorSamples, most: int = SHOWN) -> Samples:
    """At most `most` samples, evenly spread."""
    n = len(samples)
    return samples if n <= most else Rows(samples, [i * n // most for i in range(most)])


def nll_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The loss of every sample."""
    found = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels), reduction="none")
    return found.numpy()


def plain(seen: Seen) -> dict[str, Any]:
    """As plain data, to be saved."""
    logits = {name: torch.from_numpy(np.asarray(values)) for name, values in seen.view.logits.items()}
    return {
        "logits": logits,
        "unseen": torch.from_numpy(seen.unseen),
        "features": torch.from_numpy(seen.features),
        "relearn": [list(seen.relearn[0]), list(seen.relearn[1])],
    }


def seen_from(saved: Mapping[str, Any], split: VisionSplit) -> Seen:
    """From what `plain` gave; labels come from the split."""
    labels = {name: getattr(split, name).labels.numpy() for name in ("forget", "retain", "test")}
    logits = {name: value.numpy() for name, value in saved["logits"].items()}
    costs, values = saved["relearn"]
    return Seen(view_of(logits, labels), saved["unseen"].numpy(), saved["features"].numpy(), (costs, values))
