"""How a retrained model is seen on a request, kept in the store: a second run does not look again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch.nn import Module

from ofmu import __version__
from ofmu.benchmarks.text_scores import TextView
from ofmu.benchmarks.token_pass import SHARE, TokenScores
from ofmu.cli.say import note
from ofmu.cli.scoring import Scorer, View
from ofmu.data.encode import TextSamples
from ofmu.engine.hashing import ids_fingerprint, model_fingerprint
from ofmu.engine.store import Store, default_root
from ofmu.errors import UserError
from ofmu.tasks import Samples

FILE = "view.json"


def kept_look(scorer: Scorer, module: Module) -> View:
    """`scorer.look` of a text model, from the store where it has been made: losses and scores, no texts.

    Known by what decides it: the weights and the config, every token of every text, and this version. Images, and
    data that are no token lists, are looked at anew; so is everything where the store cannot be written.
    """
    named = scorer.named_texts()
    if not named or not all(isinstance(samples, TextSamples) for samples in named.values()):
        return scorer.look(module)
    config: Any = getattr(module, "config", None)
    settings = {} if config is None else {k: v for k, v in config.to_dict().items() if k != "_name_or_path"}
    parts = {
        "made": "text view",
        "version": __version__,
        "model": model_fingerprint(module),
        "config": json.dumps(settings, sort_keys=True, default=str),
        "texts": {name: _texts(samples) for name, samples in named.items()},
        "share": SHARE,
    }
    try:
        store = Store(default_root(os.environ))
    except UserError as error:
        note(f"the retrained model's scores are not kept: {error}")
        return scorer.look(module)
    return _restored(store, parts, lambda: scorer.look(module))


def _restored(store: Store, parts: Mapping[str, Any], look: Callable[[], View]) -> View:
    def make(folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(_plain(look())), encoding="utf-8")

    path = store.get_or_make(parts, make, note="a retrained model's scores")
    return _view(json.loads((path / FILE).read_text(encoding="utf-8")))


def _texts(samples: Samples) -> str:
    assert isinstance(samples, TextSamples)
    return ids_fingerprint(str(samples.encoded(row)) for row in range(len(samples)))


def _plain(view: View) -> dict[str, Any]:
    assert view.text is not None
    return {
        "losses": {name: values.tolist() for name, values in view.losses.items()},
        "text": {name: values.tolist() for name, values in view.text.losses.items()},
        "tokens": {
            part: {name: values.tolist() for name, values in asdict(scores).items()}
            for part, scores in view.tokens.items()
        },
    }


def _view(plain: Mapping[str, Any]) -> View:
    losses, text = ({k: np.array(v) for k, v in plain[name].items()} for name in ("losses", "text"))
    tokens = {
        part: TokenScores(**{name: np.array(values) for name, values in found.items()})
        for part, found in plain["tokens"].items()
    }
    return View(losses, text=TextView(text), tokens=tokens)
