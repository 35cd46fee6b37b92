"""The models that unlearning is compared with, trained once and kept: Original and Retrain."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..data.encode import TextSamples
from ..engine.hashing import ids_fingerprint
from ..engine.measure import Meter
from ..engine.models import LoadedModel, load_model, save_model
from ..engine.store import Store
from ..engine.training import trained
from ..losses import token_nll
from ..report.model import ORIGINAL, RETRAIN
from .study import Spent
from .tofu_setting import Setting

SEEDS = {ORIGINAL: 0, RETRAIN: 777}


@dataclass(frozen=True)
class Reference:
    """A trained model's folder, and what training it took. key: the name of its content."""

    key: str
    path: Path
    spent: Spent

    def load(self) -> LoadedModel:
        """The model, anew."""
        return load_model(self.path / "model")


def reference(setting: Setting, name: str, seed: int, store: Store) -> Reference:
    """Original (trained on forget and retain) or Retrain (retain alone), from the store or trained now."""
    records = [*setting.retain, *setting.forget] if name == ORIGINAL else list(setting.retain)
    recipe = replace(setting.recipe, seed=seed + SEEDS[name])
    samples = TextSamples(records, setting.encoder)

    def make(folder: Path) -> None:
        loaded = setting.base()
        with Meter() as meter:
            cost = trained(loaded.module, samples, token_nll, recipe)
        (folder / "model").mkdir()
        save_model(loaded, folder / "model")
        usage = meter.usage
        spent = Spent(name, cost, usage.wall_seconds, peak_bytes=usage.peak_bytes)
        (folder / "spent.json").write_text(json.dumps(asdict(spent)), encoding="utf-8")

    parts = {
        "made": "tofu reference",
        "base": setting.base_id,
        "ids": ids_fingerprint(samples.ids),
        "encoder": setting.encoder.settings(),
        "recipe": asdict(recipe),
    }
    path = store.get_or_make(parts, make, note=f"{name}, seed {seed}")
    return Reference(path.name, path, Spent(**json.loads((path / "spent.json").read_text(encoding="utf-8"))))
