"""The models that unlearning is compared with, trained once and kept: Original and Retrain."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch.nn import Module

from ..data.encode import TextSamples
from ..engine.hashing import ids_fingerprint
from ..engine.measure import Meter
from ..engine.store import Store
from ..engine.training import trained
from ..losses import token_nll
from ..report.model import ORIGINAL, RETRAIN
from .experiment import device_of
from .study import Spent
from .tofu_given import kept_top
from .tofu_setting import Setting

SEEDS = {ORIGINAL: 0, RETRAIN: 777}
SECOND = 5000  # added to a seed: the second Retrain's


@dataclass(frozen=True)
class Reference:
    """A trained model's folder, and what training it took. key: the name of its content."""

    key: str
    path: Path
    spent: Spent

    def top(self, setting: Setting) -> Module:
        """Its upper part, anew."""
        from safetensors.torch import load_file

        return setting.halves.top(load_file(self.path / "top.safetensors"))


def reference(setting: Setting, name: str, seed: int, store: Store) -> Reference:
    """Original (trained on all) or Retrain (not on the forget set): given, from the store, or trained now."""
    records = setting.groups.trained if name == ORIGINAL else setting.groups.remaining
    recipe = replace(setting.recipe, seed=seed + SEEDS[name])
    if name in setting.given:
        asked = recipe.epochs * len(records)
        path, spent = kept_top(setting.halves, name, setting.given[name], asked, store)
        return Reference(path.name, path, spent)
    samples = TextSamples(records, setting.encoder)

    def make(folder: Path) -> None:
        from safetensors.torch import save_file

        model = setting.fresh(recipe.seed) if setting.fresh is not None else setting.halves.top()
        seen = setting.halves.samples(samples, store)
        with Meter() as meter:
            cost = trained(model, seen, token_nll, recipe)
        save_file(setting.halves.state(model), folder / "top.safetensors")
        usage, device = meter.usage, device_of(model)
        on_gpu = device.type == "cuda"
        spent = Spent(name, cost, usage.cpu_seconds, peak_bytes=usage.peak_on(device), gpu=on_gpu)
        (folder / "spent.json").write_text(json.dumps(asdict(spent)), encoding="utf-8")

    parts = {
        "made": "tofu reference",
        "trained": setting.halves.trained,
        "ids": ids_fingerprint(samples.ids),
        "recipe": asdict(recipe),
        **setting.halves.key,
    }
    path = store.get_or_make(parts, make, note=f"{name}, seed {seed}")
    return Reference(path.name, path, Spent(**json.loads((path / "spent.json").read_text(encoding="utf-8"))))


def kept_json(
    store: Store, parts: Mapping[str, Any], make: Callable[[Path], dict[str, Any]], note: str
) -> tuple[Path, Any]:
    """(folder, what `make` gives): JSON in the store beside what it writes into its folder; made once."""

    def write(folder: Path) -> None:
        (folder / "found.json").write_text(json.dumps(make(folder)), encoding="utf-8")

    path = store.get_or_make(parts, write, note=note)
    return path, json.loads((path / "found.json").read_text(encoding="utf-8"))
