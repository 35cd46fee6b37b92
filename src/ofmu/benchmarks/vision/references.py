"""Originals, Retrains and ensembles: trained once, kept in the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import Module

from ... import __version__
from ...data.images import ImageSplits
from ...engine.checkpoint import load_state, save_state
from ...engine.classifiers import build_classifier
from ...engine.features import penultimate
from ...engine.hashing import content_key, ids_fingerprint
from ...engine.measuring import image_logits
from ...engine.store import Store
from ...engine.training import Recipe, trained
from ...errors import UserError
from ...losses import class_nll
from ...metrics import confidences, memorisation_score
from ...report.model import FLOOR, ORIGINAL, RETRAIN
from ...tasks import TensorSamples
from ..study import Spent
from .setting import Setting
from .split import Drawn, VisionSplit

SEEDS = {ORIGINAL: 0, RETRAIN: 777, FLOOR: 1999}
MEMBERS = 31_000  # the seeds of an ensemble's models begin here
Say = Callable[[str], None]


@dataclass(frozen=True)
class Workshop:
    """What all cells of a benchmark share: its data, its size, the store, the device, and who is told."""

    data: ImageSplits
    setting: Setting
    store: Store
    device: torch.device
    say: Say

    def fresh(self, seed: int) -> Module:
        """An untrained model."""
        _, channels, size, _ = self.data.train.pixels.shape
        classes = len(self.data.classes)
        return build_classifier(self.setting.model, classes, channels, size, seed).to(self.device)

    def trained(self, title: str, samples: TensorSamples, seed: int) -> tuple[Module, Spent]:
        """A model trained on these samples, from the store where it is there, and what it took when made."""
        recipe = replace(self.setting.recipe, seed=seed)
        model = self.fresh(seed)

        def make(folder: Path) -> None:
            start = time.perf_counter()
            cost = trained(model, samples, class_nll, recipe)
            took = {"cost": cost, "seconds": time.perf_counter() - start}
            state = {name: value.cpu() for name, value in model.state_dict().items()}
            save_state(folder / "reference.safetensors", {"model": state, **took})
            self.say(f"{title} is trained ({took['seconds']:.0f} s)")

        folder = self.store.get_or_make(self.key(samples, recipe), make, note=title)
        saved = load_state(folder / "reference.safetensors")
        model.load_state_dict(saved["model"])
        return model.eval(), Spent(title, saved["cost"], saved["seconds"])

    def key(self, samples: TensorSamples, recipe: Recipe) -> dict[str, object]:
        """What a trained model depends on."""
        return {
            "kind": "vision reference",
            "version": __version__,
            "samples": samples_fingerprint(samples),
            "model": self.setting.model,
            "classes": len(self.data.classes),
            "recipe": {**asdict(recipe), "drops": list(recipe.drops)},
            "device": self.device.type,
            "torch": torch.__version__,
        }


def samples_fingerprint(samples: TensorSamples) -> str:
    """A hash of ids and labels, in their order."""
    return ids_fingerprint(f"{id} {label}" for id, label in zip(samples.ids, samples.labels.tolist(), strict=True))


def references(
    shop: Workshop, split: VisionSplit, seed: int, task: str, names: tuple[str, ...]
) -> dict[str, Module]:
    """The models of these names: Original on all of train, the others on D_r, each with a seed of its own."""
    return {name: reference(shop, split, seed, task, name)[0] for name in names}


def reference(shop: Workshop, split: VisionSplit, seed: int, task: str, name: str) -> tuple[Module, Spent]:
    """One of them, and what it took."""
    samples = split.train if name == ORIGINAL else split.retain
    model, spent = shop.trained(f"{task}, seed {seed}: {name}", samples, seed + SEEDS[name])
    return model, replace(spent, method=name)


def retrains(
    shop: Workshop, split: VisionSplit, seed: int, task: str, count: int, *, start: int = 0
) -> list[Module]:
    """Independent Retrains number start, start + 1, … of a split: an ensemble to compare distributions with."""
    return [
        shop.trained(f"{task}, seed {seed}: Retrain {member}", split.retain, seed + MEMBERS + member)[0]
        for member in range(start, start + count)
    ]


def memorisation_scores(shop: Workshop, drawn: Drawn, seed: int) -> np.ndarray:
    """float64 [n]: the mean true-label confidence of models that trained on a sample, minus that of the others.

    `setting.ensemble` models, each trained on a random half of drawn.train. Feldman & Zhang (2020, eq. 1) count
    correct predictions of thousands of models; with a few, confidences rank samples more finely.
    """
    n, count = len(drawn.train), shop.setting.ensemble
    if count < 2 or count % 2:
        raise UserError(f"ensemble: found {count} models, expected an even number from 2 on")
    inside, seen = np.zeros((count, n), dtype=bool), np.zeros((count, n))
    labels = drawn.train.labels.numpy()
    halves = np.random.RandomState(seed + MEMBERS)
    for member in range(count):
        # members come in pairs of complementary halves, so that every sample is in and out equally often
        rows = halves.permutation(n)[: n // 2] if member % 2 == 0 else np.flatnonzero(~inside[member - 1])
        inside[member, rows] = True
        subset = drawn.train.subset(np.sort(rows).tolist())
        model, _ = shop.trained(f"seed {seed}: half {member + 1} of {count}", subset, seed + MEMBERS + member)
        seen[member] = confidences(image_logits(model, drawn.train).numpy(), labels)
    return memorisation_score(seen, inside).values


def known_of(shop: Workshop, drawn: Drawn, seed: int, needs: str | None) -> dict[str, np.ndarray]:
    """What a request needs to know of drawn.train: memorisation scores, or features of the original."""
    if needs == "scores":
        return {"scores": memorisation_scores(shop, drawn, seed)}
    if needs == "features":
        model, _ = shop.trained(f"seed {seed}: {ORIGINAL}", drawn.train, seed + SEEDS[ORIGINAL])
        return {"features": penultimate(model, drawn.train).numpy()}
    return {}


def short(parts: dict[str, object]) -> str:
    """A short name made from content."""
    return content_key(parts)[:12]
