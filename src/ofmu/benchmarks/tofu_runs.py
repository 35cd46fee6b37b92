"""What the TOFU benchmark makes: unlearning runs, each kept with its model, and the trials of its tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import Module

from .. import __version__
from ..engine.hashing import ids_fingerprint
from ..engine.measuring import sample_losses
from ..engine.prepare import Parts, Sources, prepare
from ..engine.store import Store
from ..engine.targets import Rows
from ..engine.targets_named import TUNED
from ..engine.trainable import apply_trainable
from ..losses import token_nll
from ..report.model import Point
from ..tasks import Method
from .experiment import Budget, Run, run_method
from .study import Spent
from .tofu_references import Reference, kept_json
from .tofu_seen import Seen, fluency, measured, see
from .tofu_setting import Setting
from .tofu_top import put

LOOKS = 5  # points of a path: each costs as much as several steps of such a model
SHARE = {"forget": 2, "retain": 3, "heldout": 8}  # watched: every second forget question, …


@dataclass(frozen=True)
class Unlearned:
    """A finished run: its model with what it took, and its path. failed: it diverged (`spent` says how)."""

    model: Reference
    points: list[Point]
    failed: bool

    @property
    def spent(self) -> Spent:
        """What it took."""
        return self.model.spent


def unlearned(
    setting: Setting, name: str, method: Method, seed: int, original: Reference, store: Store
) -> Unlearned:
    """Unlearn with one method, or take up the stored outcome."""

    def make(folder: Path) -> dict[str, Any]:
        from safetensors.torch import save_file

        run = _run(setting, method, seed, original, store, LOOKS)
        save_file(_state(setting, run.model), folder / "top.safetensors")
        took = (run.cost, run.cpu_seconds, run.setup_cost, run.peak_bytes, setting.budget, run.ended, run.gpu)
        spent = Spent(name, *took)
        return {"spent": asdict(spent), "points": [asdict(point) for point in run.points], "failed": run.failed}

    parts = run_parts(setting, method, seed, original)
    path, found = kept_json(store, parts, make, f"{name}, {setting.spec}, seed {seed}")
    points, spent = [Point(**point) for point in found["points"]], Spent(**found["spent"])
    return Unlearned(Reference(path.name, path, spent), points, found["failed"])


def tried(
    setting: Setting, name: str, method: Method, original: Reference, seed: int, store: Store
) -> Mapping[str, Any]:
    """A run that only says what losses it leaves: {"cost", "failed": why or "", "forget", "retain": [n]}."""

    def make(_: Path) -> dict[str, Any]:
        run = _run(setting, method, seed, original, store, looks=1)
        found: dict[str, Any] = {"cost": run.cost, "seconds": run.cpu_seconds, "failed": ""}
        if run.failed:
            return {**found, "failed": run.ended}
        for part, records in asked.items():
            samples = setting.samples(records, store, setting.through_top)
            found[part] = sample_losses(run.model, samples, token_nll, batch=8).tolist()
            if not np.isfinite(found[part]).all():
                return {**found, "failed": f"it left {part} losses that are no finite numbers", part: []}
        return found

    asked = {"forget": setting.groups.forget, "retain": setting.groups.kept}
    parts = {
        "made": "tofu trial",
        **_asked(setting, method, seed, original),
        "encoder": setting.encoder.settings(),
        "ids": [ids_fingerprint([record.id for record in group]) for group in asked.values()],
    }
    found: Mapping[str, Any] = kept_json(store, parts, make, f"{name}, {setting.spec}, trial")[1]
    return found


def seen_reference(reference: Reference, setting: Setting, store: Store) -> Seen:
    """How a reference is seen: from the store, or measured now."""
    return _seen(reference, setting, store, lambda: (reference.top(setting), True))


def seen_run(run: Unlearned, setting: Setting, original: Reference, store: Store) -> Seen:
    """How the model of a finished run is seen: from the store, or measured now."""
    return _seen(run.model, setting, store, lambda: (restored(run, setting, original), setting.through_top))


def _seen(model: Reference, setting: Setting, store: Store, load: Any) -> Seen:
    def make(_: Path) -> dict[str, Any]:
        module, upper = load()
        return see(module, setting, store, upper).plain()

    def fluent(_: Path) -> dict[str, Any]:
        found = fluency(setting, seen.said)
        return {"fluency": None if found is None else [values.tolist() for values in found]}

    parts = {"made": "tofu scores", "model": model.key, **measured(setting)}
    seen = Seen.of(kept_json(store, parts, make, "scores")[1])
    found = kept_json(store, {**parts, "made": "tofu fluency"}, fluent, "fluency")[1]["fluency"]
    return seen if found is None else replace(seen, fluency=(np.array(found[0]), np.array(found[1])))


def restored(run: Unlearned, setting: Setting, original: Reference) -> Module:
    """The model that a run left: an upper part where unlearning trains what the references do, else whole."""
    from safetensors.torch import load_file

    state = load_file(run.model.path / "top.safetensors")
    if setting.through_top and not setting.adapter:
        return setting.halves.top(state)
    module = _marked(setting, original, seed=0)  # what a seed decides of an adapter is in the state
    put(module, state)
    return module.eval()


def _marked(setting: Setting, original: Reference, seed: int) -> Module:
    """The original, or its upper part, with what unlearning trains marked."""
    whole = replace(setting.halves.base, module=setting.halves.whole(original.top(setting)))
    marked = apply_trainable(whole, setting.spec, seed).module
    return setting.halves.upper(marked) if setting.through_top else marked


def _state(setting: Setting, model: Module) -> dict[str, torch.Tensor]:
    if setting.through_top and not setting.adapter:
        return setting.halves.state(model)
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def run_parts(setting: Setting, method: Method, seed: int, original: Reference) -> dict[str, Any]:
    """What names a run in the store: what it depends on, and nothing of how it is measured afterwards."""
    data = (setting.groups.forget, setting.groups.retain)
    return {
        "made": "tofu run",
        **_asked(setting, method, seed, original),
        "encoder": setting.encoder.settings(),
        "data": [ids_fingerprint([record.id for record in group]) for group in data],
        "path": LOOKS,
    }


def _asked(setting: Setting, method: Method, seed: int, original: Reference) -> dict[str, Any]:
    """What a run and a trial depend on, besides their data."""
    usual = TUNED if setting.fresh is None else "by the budget"
    return {
        **({"targets": repr(setting.targets or usual)} if "targets" in method.needs else {}),
        "version": __version__,
        "model": original.key,
        "trainable": setting.spec,
        "method": repr(method),
        "seed": seed,
        "budget": [setting.budget, setting.preset.batch, "nearest"],
        "heldout": ids_fingerprint([record.id for record in setting.groups.heldout]),
    }


def _run(setting: Setting, method: Method, seed: int, original: Reference, store: Store, looks: int) -> Run:
    upper = setting.through_top
    model = original.top(setting) if upper and not setting.adapter else _marked(setting, original, seed)
    data = {
        name: setting.samples(getattr(setting.groups, name), store, upper)
        for name in ("forget", "retain", "heldout")
    }
    sources, batch = _sources(setting, method), setting.preset.batch
    prepared = prepare(model, "text", Parts(**data), method, sources, seed, batch=batch, budget=setting.budget)
    watched = Parts(**{name: Rows(data[name], range(0, len(data[name]), SHARE[name])) for name in data})
    autocast = torch.bfloat16 if setting.recipe.autocast else None
    budget = Budget(setting.budget, nearest=True)
    return run_method(model, prepared, watched, method, budget, looks=looks, autocast=autocast)


def _sources(setting: Setting, method: Method) -> Sources:
    """What says how unseen people look: the pretrained model, as it is or tuned; a new one where there is none."""
    if "targets" not in method.needs:
        return Sources()
    if setting.fresh is not None:
        return Sources(fresh=setting.fresh, recipe=setting.recipe, targets=setting.targets)
    base = setting.halves.top() if setting.through_top else setting.halves.whole(setting.halves.top())
    return Sources(base=base, recipe=setting.recipe, targets=setting.targets)
