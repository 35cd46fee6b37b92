"""One seed of the demo's image tasks: train the references, unlearn, score."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from torch.nn import Module

from ..data.digits import DigitsSplit, digits
from ..engine.networks import build
from ..engine.training import Recipe, trained
from ..losses import class_nll
from ..report.model import FLOOR, ORIGINAL, RETRAIN
from ..tasks import Samples
from .image_scores import ImageParts
from .image_study import ImageRequest, compare
from .study import Cell, Spent

SHARE = 0.4  # every method's budget, as a share of one retraining
CLEAN = Recipe(epochs=35)
NOISY = Recipe(epochs=60, lr=4e-3)  # until the noise is memorised
SEEDS = {ORIGINAL: 0, RETRAIN: 777, FLOOR: 1999}


def image_cell(task: str, seed: int, methods: Sequence[str], noise: float | None) -> Cell:
    """noise: the share of wrong labels, with a random tenth to forget; None: clean labels and one class."""
    request = "class" if noise is None else "random:0.1"
    split = digits(seed, label_noise=noise or 0.0, forget=request)
    recipe = CLEAN if noise is None else NOISY
    cell = Cell(seed)
    models = {name: _reference(name, split, recipe, seed, cell) for name in SEEDS}
    parts = ImageParts(split.forget, split.retain, split.test)
    budget = SHARE * recipe.epochs * len(split.retain)
    compare(cell, ImageRequest(task, parts, split.heldout, recipe, budget), models, methods)
    return cell


def _reference(name: str, split: DigitsSplit, recipe: Recipe, seed: int, cell: Cell) -> Module:
    samples: Samples = split.train if name == ORIGINAL else split.retain
    start = time.perf_counter()
    model = build("digits-cnn", {}, seed + SEEDS[name])
    cost = trained(model, samples, class_nll, replace(recipe, seed=seed + SEEDS[name]))
    cell.spent.append(Spent(name, cost, time.perf_counter() - start))
    return model
