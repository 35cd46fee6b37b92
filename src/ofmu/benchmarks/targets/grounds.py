"""What targets are measured on: image requests with the vision benchmark's models, and the one-minute Llama."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.nn import Module

from ... import __version__
from ...data.forget_request import ForgetRequest
from ...engine.checkpoint import load_state, save_state
from ...engine.hashing import ids_fingerprint
from ...engine.measuring import sample_losses
from ...engine.prepare import UNIT
from ...engine.store import Store
from ...engine.targets_known import Known, Source
from ...engine.targets_named import source_of
from ...losses import class_nll, token_nll
from ...report.model import FLOOR, ORIGINAL, RETRAIN
from ...tasks import Kind, Samples
from ..study import Spent
from ..text_scores import false_answers
from ..tofu_references import SECOND
from ..tofu_references import reference as text_reference
from ..tofu_setting import Setting as TextSetting
from ..vision.cell import split_of
from ..vision.page import meaning
from ..vision.references import SEEDS, Workshop, reference
from .measure import Estimate

CODE = 1  # raised whenever what a source computes changes, so that older estimates are not taken from the store


@dataclass(frozen=True)
class Seeded:
    """One seed: what sources may look at, the reference models by name, and what these took.

    key: what names the seed's models and data in the store.
    """

    known: Known
    models: Mapping[str, Module]
    spent: Mapping[str, Spent]
    key: Mapping[str, object]

    def losses(self, name: str) -> np.ndarray:
        """float64 [F]: a reference's losses on the forget samples."""
        return sample_losses(self.models[name], self.known.forget, self.known.loss).double().numpy()


class Ground(Protocol):
    """A task on which sources are measured."""

    @property
    def name(self) -> str:
        """In tables."""
        ...

    @property
    def about(self) -> str:
        """The paragraph above the table."""
        ...

    @property
    def kind(self) -> Kind:
        """Images or text."""
        ...

    @property
    def store(self) -> Store:
        """Where estimates are kept."""
        ...

    def seeded(self, seed: int) -> Seeded:
        """The models of a seed, trained or taken from the store."""
        ...


@dataclass(frozen=True)
class ImageGround:
    """One request of one image data set."""

    shop: Workshop
    request: ForgetRequest
    kind: Kind = "image"

    @property
    def name(self) -> str:
        """`digits: random:0.1`."""
        return f"{self.shop.setting.name}: {self.request}"

    @property
    def about(self) -> str:
        """The paragraph above the table."""
        setting = self.shop.setting
        noise = f" ({100 * setting.noise:.0f} % of all labels are wrong)" if setting.noise else ""
        return (
            f"{setting.model}, trained on {setting.train:,} images{noise} for {setting.recipe.epochs:g} epochs; "
            f"{setting.heldout:,} others are held out. Forgotten: {meaning(str(self.request))}."
        )

    @property
    def store(self) -> Store:
        """The workshop's."""
        return self.shop.store

    def seeded(self, seed: int) -> Seeded:
        """Original, Retrain and a second one."""
        shop, parts = self.shop, split_of(self.shop, self.request, seed)
        made = {name: reference(shop, parts, seed, self.name, name) for name in SEEDS}
        data = parts.forget, parts.retain, parts.heldout
        recipe = replace(shop.setting.recipe, seed=seed)
        known = Known(made[ORIGINAL][0], *data, class_nll, recipe, seed, shop.fresh)
        key = {"original": shop.key(parts.train, recipe), **_parts(data)}
        models = {name: model for name, (model, _) in made.items()}
        return Seeded(known, models, {name: spent for name, (_, spent) in made.items()}, key)


@dataclass(frozen=True)
class TextGround:
    """The one-minute Llama and the people it memorised; a seed trains its own models on the same people."""

    setting: TextSetting
    store: Store
    kind: Kind = "text"
    name: str = "llama: two of eight people"

    @property
    def about(self) -> str:
        """The paragraph above the table."""
        groups = self.setting.groups
        return (
            f"A Llama of a million parameters, trained from scratch on {len(groups.trained)} questions; "
            f"{len(groups.forget)} are forgotten, {len(groups.heldout)} of other people are held out."
        )

    def seeded(self, seed: int) -> Seeded:
        """Original, Retrain and a second one; no model from before the training: it began with random weights."""
        setting, groups = self.setting, self.setting.groups
        made = {name: text_reference(setting, name, seed, self.store) for name in (ORIGINAL, RETRAIN)}
        made[FLOOR] = text_reference(setting, RETRAIN, seed + SECOND, self.store)
        models = {name: model.top(setting).eval() for name, model in made.items()}
        forget, retain, heldout = (
            setting.samples(part, self.store) for part in (groups.forget, groups.retain, groups.heldout)
        )
        false = false_answers(groups.forget, setting.encoder)
        recipe = replace(setting.recipe, seed=seed)
        known = Known(
            models[ORIGINAL], forget, retain, heldout, token_nll, recipe, seed, setting.fresh, alternatives=false
        )
        key = {"original": made[ORIGINAL].key, "wrong": len(false), **_parts((forget, retain, heldout))}
        return Seeded(known, models, {name: model.spent for name, model in made.items()}, key)


def estimate(ground: Ground, seeded: Seeded, name: str, seed: int) -> Estimate:
    """The targets of a source on a seed, from the store where they are there."""
    source: Source = source_of(name, ground.kind)

    def make(folder: Path) -> None:
        start = time.perf_counter()
        targets, _ = source(seeded.known)
        took = {"cost": targets.cost, "seconds": time.perf_counter() - start, "words": targets.source}
        save_state(folder / "targets.safetensors", {"tau": targets.per_sample, **took})

    key = {
        "kind": "targets",
        "code": [__version__, CODE],
        "torch": torch.__version__,
        "source": repr(source),
        "seed": seed,
        **seeded.key,
    }
    folder = ground.store.get_or_make(key, make, note=f"{ground.name}, seed {seed}: targets {name}")
    saved = load_state(folder / "targets.safetensors")
    return Estimate(saved["tau"].double().numpy(), saved["cost"], saved["seconds"], saved["words"])


def unit(ground: Ground) -> int:
    """Samples in a gradient-equivalent."""
    return UNIT[ground.kind]


def _parts(data: tuple[Samples, ...]) -> dict[str, object]:
    return {"parts": [ids_fingerprint(part.ids) for part in data]}
