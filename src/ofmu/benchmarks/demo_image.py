"""One seed of the demo's image tasks: train the references, unlearn, score."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from torch.nn import Module

from ..data.digits import DigitsSplit, digits
from ..engine.measuring import sample_losses
from ..engine.networks import build
from ..engine.prepare import Parts, Sources, prepare
from ..engine.training import Recipe, trained
from ..losses import class_nll
from ..methods import build_method
from ..report.model import FLOOR, ORIGINAL, RETRAIN, Losses
from ..tasks import Samples
from .experiment import Budget, run_method
from .image_scores import ImageParts, image_rows, view_image
from .study import NAMES, Cell, Spent

SHARE = 0.4  # every method's budget, as a share of one retraining
EPOCHS = {False: 50.0, True: 100.0}  # with label noise: until it is memorised
SEEDS = {ORIGINAL: 0, RETRAIN: 777, FLOOR: 1999}


def image_cell(task: str, seed: int, methods: Sequence[str], noise: float | None) -> Cell:
    """noise: the share of wrong labels, with a random tenth to forget; None: clean labels and one class."""
    request = "class" if noise is None else "random:0.1"
    split = digits(seed, label_noise=noise or 0.0, forget=request)
    recipe = Recipe(epochs=EPOCHS[noise is not None])
    cell = Cell(seed)
    models = {name: _reference(name, split, recipe, seed, cell) for name in SEEDS}
    parts = ImageParts(split.forget, split.retain, split.test)
    views = {name: view_image(model, parts) for name, model in models.items()}
    gold = views[RETRAIN]
    for name, view in views.items():
        cell.rows += image_rows(task, name, seed, view, None if name == RETRAIN else gold)
    data = Parts(split.forget, split.retain, split.heldout)
    budget = SHARE * recipe.epochs * len(split.retain)
    for name in methods:
        method = build_method(name, "image")
        batch = None if name == "ofmu" else recipe.batch
        sources = Sources(recipe=recipe)
        prepared = prepare(models[ORIGINAL], "image", data, method, sources, seed, batch=batch)
        run = run_method(models[ORIGINAL], prepared, data, method, Budget(budget))
        view = view_image(run.model, parts)
        cell.add_run(task, name, run, budget, image_rows(task, NAMES[name], seed, view, gold))
        if name == "ofmu":
            cell.losses = Losses(
                task,
                before=views[ORIGINAL].forget_losses.tolist(),
                after=view.forget_losses.tolist(),
                retrain=gold.forget_losses.tolist(),
                unseen=sample_losses(run.model, split.heldout, class_nll).tolist(),
            )
    return cell


def _reference(name: str, split: DigitsSplit, recipe: Recipe, seed: int, cell: Cell) -> Module:
    samples: Samples = split.train if name == ORIGINAL else split.retain
    start = time.perf_counter()
    model = build("digits-cnn", {}, seed + SEEDS[name])
    cost = trained(model, samples, class_nll, replace(recipe, seed=seed + SEEDS[name]))
    cell.spent.append(Spent(name, cost, time.perf_counter() - start))
    return model
