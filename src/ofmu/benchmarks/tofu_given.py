"""References that were trained elsewhere, such as published checkpoints: loaded in place of a training."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from torch.nn import Module

from ..engine.hashing import model_fingerprint
from ..engine.models import load_model
from ..engine.store import Store
from ..engine.trainable import apply_trainable
from ..errors import UserError
from .study import Spent
from .tofu_top import Halves


def given_top(halves: Halves, source: str) -> tuple[Module, str]:
    """(the trained part of the model at `source`, the fingerprint of all its weights).

    Raises UserError where it is no fine-tuned form of the pretrained model: other parameters, or, where the
    references train the last blocks alone, another lower part.
    """
    loaded, base = load_model(source), halves.base.module
    ours, theirs = ({n: tuple(p.shape) for n, p in m.named_parameters()} for m in (base, loaded.module))
    if ours != theirs:
        odd = next(name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name))
        raise UserError(
            f"{source}: found {odd} {theirs.get(odd, 'absent')}, expected {ours.get(odd, 'none')} as in the "
            "pretrained model; give --model the model that this one was fine-tuned from"
        )
    fingerprint = model_fingerprint(loaded.module)
    loaded.module.to(next(base.parameters()).device)
    whole = apply_trainable(loaded, halves.trained).module
    top = whole if halves.cut is None else halves.cut.upper(whole)
    if top is None:
        raise UserError(
            f"{source}: found other weights below the part that references train ({halves.trained}), expected the "
            "pretrained model's"
        )
    return top, fingerprint


def kept_top(halves: Halves, name: str, source: str, samples: float, store: Store) -> tuple[Path, Spent]:
    """A given reference's folder in the store. samples: what training it by the recipe takes, in sample-gradients.

    How long its training took is not known: seconds are 0 and no peak memory is given.
    """
    top, fingerprint = given_top(halves, source)
    spent = Spent(name, samples, 0.0, ended=f"given: {source}")

    def make(folder: Path) -> None:
        from safetensors.torch import save_file

        save_file(halves.state(top), folder / "top.safetensors")
        (folder / "spent.json").write_text(json.dumps(asdict(spent)), encoding="utf-8")

    parts = {"made": "tofu reference, given", "weights": fingerprint, "trained": halves.trained, **halves.key}
    return store.get_or_make(parts, make, note=f"{name}, {source}"), spent
