"""`ofmu score muse`: load, measure, print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ofmu.benchmarks.muse import MuseView, muse_rows, request_rows, view_muse
from ofmu.cli.exits import DONE
from ofmu.cli.loading import check_finite, model_path
from ofmu.cli.say import note
from ofmu.cli.show import MODEL_NAME, show_rows
from ofmu.data.muse import Muse, load_muse
from ofmu.engine.models import load_model
from ofmu.engine.requests import encoder_of
from ofmu.errors import UserError
from ofmu.report.model import RETRAIN, ScoreRow


def score_muse(
    model: str,
    data: str,
    retrain: str | None,
    later: Mapping[str, Sequence[str]],
    max_length: int,
    limit: int | None,
    machine: bool,
) -> int:
    """One model, with Retrain where it is given, and the models after later requests (by "scal" and "sust")."""
    for kind, models in later.items():
        if len(models) == 1:
            raise UserError(f"--{kind}: found one model, expected those after at least two requests")
    muse = load_muse(data).first(limit)
    seen: dict[str, MuseView] = {}  # a model that is given twice is measured once

    def view(path: str) -> MuseView:
        if path not in seen:
            seen[path] = _measured(path, muse, max_length)
        return seen[path]

    gold = None if retrain is None else view(retrain)
    rows: list[ScoreRow] = []
    if gold is not None:
        rows += muse_rows(muse.name, RETRAIN, 0, gold, gold)
    rows += muse_rows(muse.name, MODEL_NAME, 0, view(model), gold)
    for kind, models in later.items():
        if models:
            rows += request_rows(f"{muse.name}, {kind}", MODEL_NAME, 0, [view(path) for path in models])
    show_rows(rows, machine)
    return DONE


def _measured(path: str, muse: Muse, max_length: int) -> MuseView:
    loaded = load_model(model_path(path))
    if loaded.kind != "text":
        raise UserError(f"{path} is a model of images, expected a language model")
    check_finite(loaded.module, path)
    window = getattr(loaded.module.config, "max_position_embeddings", max_length)
    encoder = replace(encoder_of(loaded, None), max_length=min(max_length, window))
    return view_muse(loaded.module, encoder, muse, say=lambda what: note(f"{path}: {what}"))
