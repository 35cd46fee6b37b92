"""How settings are chosen for TOFU: on people who are not reported, with a Retrain of their own."""

from __future__ import annotations

import json
from pathlib import Path

from ..engine.hashing import content_key, ids_fingerprint
from ..engine.measuring import sample_losses
from ..engine.store import Store
from ..errors import UserError
from ..losses import token_nll
from ..report.model import ORIGINAL, RETRAIN
from ..tasks import Method
from .settings import with_values
from .tofu_objective import objective
from .tofu_references import Reference, kept_json, reference
from .tofu_runs import tried
from .tofu_setting import Setting
from .tofu_space import Chosen, tuned
from .tuning import Tried

SEED = 0  # of the development references and trials: one each, for the budget goes into trials


def chosen(development: Setting, name: str, preset: Method, trials: int, folder: Path, store: Store) -> Chosen:
    """The settings of one method, from so many trials; trials 0: its preset."""
    if trials == 0:
        return Chosen(preset, 0, 0, None, None, {}, 0.0)
    models = {which: reference(development, which, SEED, store) for which in (ORIGINAL, RETRAIN)}
    before, gold = (_losses(model, development, store) for model in models.values())
    try:
        objective(before["forget"], before["retain"], before["forget"], gold["forget"], gold["retain"])
    except ValueError as error:
        raise UserError(f"tuning: {error}") from None

    def attempt(method: Method) -> Tried:
        found = tried(development, name, method, models[ORIGINAL], SEED, store)
        if found["failed"]:
            return Tried(None, found["cost"], found["failed"])
        losses = (found["forget"], found["retain"], before["forget"], gold["forget"], gold["retain"])
        return Tried(objective(*losses), found["cost"])

    asked = {
        "references": [model.key for model in models.values()],
        "budget": [development.budget, development.preset.batch],
        "spec": development.spec,
        "preset": repr(preset),
    }
    return tuned(name, preset, trials, folder, content_key(asked)[:12], attempt)


def recorded(results: Path, name: str, preset: Method) -> Chosen:
    """The settings of one method as a results file of `ofmu bench tofu` says they were chosen; nothing is tried.

    Raises UserError where the file cannot be read or says nothing of the method.
    """
    try:
        said = json.loads(results.read_text(encoding="utf-8"))["tuning"][name]
        found = {key: said[key] for key in ("trials", "failed", "first", "best", "values", "cost", "ends")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--settings: {results} does not say how {name} was tuned ({type(error).__name__}: {error}); expected "
            "a tofu.json of `ofmu bench tofu` with that method"
        ) from None
    if found["trials"] and not found["values"]:
        return Chosen(None, **found)  # all its trials failed
    return Chosen(with_values(preset, found["values"]), **found)


def _losses(model: Reference, setting: Setting, store: Store) -> dict[str, list[float]]:
    """A development reference's losses on the forgotten and the kept answers."""
    groups = {"forget": setting.groups.forget, "retain": setting.groups.kept}

    def make(_: Path) -> dict[str, list[float]]:
        top = model.top(setting)
        return {
            part: sample_losses(top, setting.samples(records, store), token_nll, 8).tolist()
            for part, records in groups.items()
        }

    ids = {part: ids_fingerprint([record.id for record in records]) for part, records in groups.items()}
    found: dict[str, list[float]] = kept_json(
        store, {"made": "tofu losses", "model": model.key, "ids": ids}, make, "losses"
    )[1]
    return found
