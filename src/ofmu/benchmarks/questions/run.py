"""One run of one variant, watched: scores at every budget, and when its forget target held. Kept in the store."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import Module

from ...engine.loop import Event
from ...engine.measuring import sample_losses
from ...engine.prepare import UNIT, Prepared
from ...losses import class_nll
from ...methods import OFMU
from ...report.model import RETRAIN
from ...report.scores import write_text
from ..experiment import Budget, run_method
from ..image_choices import Choice
from ..image_scores import ImageView, image_rows, view_image
from ..vision.references import SEEDS
from ..vision.runs import run_key
from ..vision.seen import nll_of
from .ground import Ground

HOLD = 0.9  # the target holds where mean min(ℓ, τ) over D_f is at least this share of mean τ (`OFMUFields.hold`)
FILE = "run.json"


@dataclass(frozen=True)
class Look:
    """A model scored once `budget` (a share of a retraining) was spent, or its run was over before: by metric.

    missing: why, by metric. rounds, cost (gradient-equivalents): made and spent until then.
    """

    budget: float
    values: dict[str, float]
    missing: dict[str, str]
    rounds: int = 0
    cost: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """held: (rounds, gradient-equivalents) when the forget target first held on all of D_f; None: never."""

    looks: list[Look]
    held: tuple[int, float] | None
    ended: str
    failed: bool


@dataclass
class Watcher:
    """Looks at a run after every round, outside its cost."""

    ground: Ground
    prepared: Prepared
    left: list[float]
    looks: list[Look] = field(default_factory=list)
    held: tuple[int, float] | None = None
    rounds: int = 0
    cost: float = 0.0

    def begin(self) -> None:
        """The model that the run begins with: its target may hold already."""
        model = copy.deepcopy(self.ground.original)
        self.prepared.begin(model)
        self.cost = self.prepared.cost
        self._hold(model)

    def __call__(self, event: Event) -> None:
        """One round more; a look where it ends nearest to a budget."""
        before, self.cost, self.rounds = self.cost, event.cost, event.step
        if self.held is None:
            self._hold(event.model)
        while self.left and Budget(self.left[0] * self.ground.whole, nearest=True).spent(before, event.cost):
            self.look(event.model)

    def end(self, model: Module) -> None:
        """The run is over before its last budgets were spent: they get the model that it left."""
        while self.left:
            self.look(model)

    def look(self, model: Module) -> None:
        """Scores for the smallest budget that is left."""
        found = scored(self.ground, model, self.left.pop(0))
        self.looks.append(replace(found, rounds=self.rounds, cost=self.cost / UNIT["image"]))

    def _hold(self, model: Module) -> None:
        targets = self.prepared.task.targets
        assert targets is not None  # OFMU's presets are bounded by them
        losses = sample_losses(model, self.ground.parts.forget, class_nll, batch=256)
        if holds(losses, targets.per_sample):
            self.held = self.rounds, self.cost / UNIT["image"]


def holds(losses: torch.Tensor, tau: torch.Tensor) -> bool:
    """Whether mean min(ℓ_i, τ_i) ≥ `HOLD` · mean τ_i; both [n]."""
    return float(torch.minimum(losses, tau).mean()) >= HOLD * float(tau.mean())


def scored(ground: Ground, model: Module, budget: float) -> Look:
    """A model's scores beside Retrain's, and its mean losses on D_f and D_r."""
    view = view_image(model, ground.request.parts)
    rows = image_rows("set", "variant", 0, view, ground.gold)
    values = {row.metric: row.value for row in rows if row.value is not None} | losses_of(view)
    return Look(budget, values, {row.metric: row.missing or "" for row in rows if row.value is None})


def losses_of(view: ImageView) -> dict[str, float]:
    """Mean losses in nats."""
    retained = nll_of(view.logits["retain"], view.labels["retain"])
    return {"forget loss": float(np.mean(view.forget_losses)), "retain loss": float(retained.mean())}


def watched(ground: Ground, method: OFMU, budgets: Sequence[float]) -> Outcome:
    """One run to the largest budget, looked at when each was spent: what a run of that budget would have left."""
    prepared = copy.deepcopy(ground.prepared)
    watcher = Watcher(ground, prepared, sorted(budgets))
    watcher.begin()
    budget = Budget(max(budgets) * ground.whole, nearest=True)
    run = run_method(ground.original, prepared, ground.request.data, method, budget, looks=1, watch=watcher)
    if not run.failed:
        watcher.end(run.model)
    return Outcome(watcher.looks, watcher.held, run.ended, run.failed)


def kept(ground: Ground, title: str, method: OFMU, budgets: Sequence[float]) -> Outcome:
    """`watched`, from the store where it is there."""
    shop, seed = ground.shop, ground.seed
    choice = Choice("ofmu-safeguarded", title, method)
    gold = shop.key(ground.parts.retain, replace(shop.setting.recipe, seed=seed + SEEDS[RETRAIN]))
    key = run_key(shop, choice, ground.parts, ground.request, seed) | {
        "kind": "questions run",
        "gold": gold,
        "budgets": sorted(budgets),
        "tuning": ground.tuning,
    }

    def make(folder: Path) -> None:
        write_text(folder / FILE, json.dumps(asdict(watched(ground, method, budgets)), indent=1) + "\n")

    folder = shop.store.get_or_make(key, make, note=f"{ground.request.task}, seed {seed}: {title}")
    saved = json.loads((folder / FILE).read_text(encoding="utf-8"))
    held = None if saved["held"] is None else (int(saved["held"][0]), float(saved["held"][1]))
    return Outcome([Look(**look) for look in saved["looks"]], held, saved["ended"], saved["failed"])
