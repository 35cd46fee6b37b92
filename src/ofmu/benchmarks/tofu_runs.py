"""What the TOFU benchmark measures: models seen through losses and answers, and unlearning runs; all kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.nn import Module

from .. import __version__
from ..data.encode import TextSamples
from ..data.records import Record
from ..engine.hashing import ids_fingerprint
from ..engine.prepare import Parts, Sources, prepare
from ..engine.store import Store
from ..engine.targets import Rows
from ..engine.trainable import apply_trainable
from ..methods import build_method
from ..metrics import rouge_l_recall
from ..report.model import Point, ScoreRow
from ..tasks import Method, Samples
from .answering import answer
from .experiment import Budget, Run, run_method
from .study import Spent
from .text_scores import TextView, text_rows, view_text
from .tofu_references import Reference, kept_json, save_trained
from .tofu_setting import Setting

LOOKS = 5  # points of a path: each costs as much as several steps of such a model
SHARE = {"forget": 2, "retain": 3, "heldout": 8}  # watched: every second forget question, …


@dataclass(frozen=True)
class Seen:
    """A model seen through its mean answer losses and what it answers to some forget and retain questions."""

    view: TextView
    forget: list[str]
    retain: list[str]

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        losses = {name: values.tolist() for name, values in self.view.losses.items()}
        return {"losses": losses, "forget": self.forget, "retain": self.retain}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Seen:
        """From JSON."""
        losses = {name: np.array(values) for name, values in plain["losses"].items()}
        return cls(TextView(losses), plain["forget"], plain["retain"])


@dataclass(frozen=True)
class Unlearned:
    """A finished run: how its model is seen, what it took, its path. failed: it diverged (`spent` says how)."""

    seen: Seen
    model: Reference
    points: list[Point]
    failed: bool

    @property
    def spent(self) -> Spent:
        """What it took."""
        return self.model.spent


def shown(records: Sequence[Record], n: int) -> list[Record]:
    """So many records, evenly spread."""
    return [records[i * len(records) // n] for i in range(n)]


def see(top: Module | None, whole: Module, setting: Setting, store: Store) -> Seen:
    """Measure a model on everything that is reported; top: its upper part, where only that was trained."""
    parts = setting.parts()
    view = view_text(whole, parts) if top is None else view_text(top, setting.upper(parts, store))
    n, say = setting.generated, partial(answer, whole, setting.encoder, longest=setting.longest, batch=10)
    return Seen(view, say(shown(setting.forget, n)), say(shown(setting.retain, n)))


def seen_reference(reference: Reference, setting: Setting, store: Store) -> Seen:
    """How a reference is seen: from the store, or measured now."""
    parts = {"made": "tofu view", "model": reference.key, **_measured(setting)}

    def make(folder: Path) -> dict[str, Any]:
        top = reference.top(setting)
        return see(top, setting.halves.whole(top), setting, store).plain()

    return Seen.of(kept_json(store, parts, make, "view")[1])


def unlearned(setting: Setting, spec: str, name: str, seed: int, original: Reference, store: Store) -> Unlearned:
    """Unlearn with one method, or take up the stored outcome. spec: what is trained (see `apply_trainable`)."""
    method = build_method(name, "text", width=setting.width)
    parts = {
        "made": "tofu run",
        "version": __version__,
        "model": original.key,
        "trainable": spec,
        "method": repr(method),
        "seed": seed,
        "budget": [setting.budget, setting.batch, "nearest"],
        "heldout": ids_fingerprint([record.id for record in setting.heldout]),
        **_measured(setting),
    }

    def make(folder: Path) -> dict[str, Any]:
        run = _run(setting, spec, method, seed, original, store)
        save_trained(run.model, folder)
        spent = Spent(name, run.cost, run.cpu_seconds, run.setup_cost, run.peak_bytes, setting.budget, run.ended)
        points = [asdict(point) for point in run.points]
        upper = spec == setting.trained
        top, whole = (run.model, setting.halves.whole(run.model)) if upper else (None, run.model)
        seen = see(top, whole, setting, store).plain()
        return {"spent": asdict(spent), "points": points, "failed": run.failed, "seen": seen}

    path, found = kept_json(store, parts, make, f"{name}, {spec}, seed {seed}")
    points, spent = [Point(**point) for point in found["points"]], Spent(**found["spent"])
    return Unlearned(Seen.of(found["seen"]), Reference(path.name, path, spent), points, found["failed"])


def _run(setting: Setting, spec: str, method: Method, seed: int, original: Reference, store: Store) -> Run:
    names = ("forget", "retain", "heldout")
    data: dict[str, Samples] = {n: TextSamples(getattr(setting, n), setting.encoder) for n in names}
    model = original.top(setting)
    if spec == setting.trained:
        base = setting.halves.top()
        data = {n: setting.halves.samples(TextSamples(getattr(setting, n), setting.encoder), store) for n in names}
    else:
        base = setting.halves.whole(setting.halves.top())
        whole = replace(setting.base, module=setting.halves.whole(model))
        model = apply_trainable(whole, spec, seed).module
    sources = Sources(base=base if "targets" in method.needs else None)
    prepared = prepare(model, "text", Parts(**data), method, sources, seed, batch=setting.batch)
    watched = Parts(**{name: Rows(data[name], range(0, len(data[name]), SHARE[name])) for name in names})
    return run_method(model, prepared, watched, method, Budget(setting.budget, nearest=True), looks=LOOKS)


def score_rows(task: str, name: str, seed: int, seen: Seen, retrain: Seen, setting: Setting) -> list[ScoreRow]:
    """The scores of one model: losses, truth ratio, distance to Retrain, and ROUGE-L recall of its answers."""
    rows = text_rows(task, name, seed, seen.view, retrain.view)
    for metric, said, records, higher in (
        ("rouge_l", seen.forget, setting.forget, None),
        ("retain_rouge_l", seen.retain, setting.retain, True),
    ):
        asked = shown(records, setting.generated)
        values = [rouge_l_recall(text, record.completion) for text, record in zip(said, asked, strict=True)]
        rows.append(ScoreRow(task, name, seed, metric, float(np.mean(values)), len(values), higher))
    return rows


def _measured(setting: Setting) -> dict[str, Any]:
    """What a measurement depends on, besides the model."""
    groups = (setting.forget, setting.retain, setting.unseen)
    return {
        "encoder": setting.encoder.settings(),
        "measured": [ids_fingerprint([record.id for record in group]) for group in groups],
        "sizes": [setting.wrong, setting.generated, setting.longest],
    }
