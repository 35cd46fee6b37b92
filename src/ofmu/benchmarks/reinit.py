"""Partial re-initialisation: forget by resetting the last layers, then train on the retain set.

A procedure and no step rule: nothing is ascended, and no target is needed. At equal cost it is the baseline to
beat, since a short honest retraining that starts from good features is hard to tell from a full one. Two forms:
all layers are trained ("reinit"), or the lower ones stay frozen and their outputs are kept ("head").
"""

from __future__ import annotations

import copy
from dataclasses import replace

from torch.nn import Module

from ..engine.heads import Top, Whole, reset_top
from ..engine.loop import Diverged
from ..engine.measure import Meter
from ..engine.measuring import Monitor
from ..engine.prepare import Parts
from ..engine.reset import parameterised_layers, reset_last
from ..engine.training import Recipe, training
from ..losses import class_nll
from ..report.model import Point
from ..tasks import Samples
from .experiment import LOOKS, Budget, Run, device_of


def run_reinit(
    model: Module,
    parts: Parts,
    recipe: Recipe,
    budget: Budget,
    seed: int,
    *,
    layers: int,
    rate: float = 1.0,
    frozen: bool = False,
) -> Run:
    """Reset the last `layers` (0: half) of a copy of `model`, then train on D_r by the original's recipe.

    Its learning rate is `rate` times the recipe's, its schedule stretched over the epochs that the budget pays
    for, fractions included. frozen: the other layers are not trained, their outputs on D_r are computed once (of
    the images as they are: nothing is augmented), and no more than the recipe's epochs are run.

    The cost of the frozen form is that of `engine.heads.Top`. Raises UserError where a network cannot be cut
    (`engine.kept.cut_below`).
    """
    model = copy.deepcopy(model)
    layers = layers or max(1, len(parameterised_layers(model)) // 2)
    monitor = Monitor(parts.forget, parts.retain, parts.heldout, class_nll, most=64)
    points = [_point(0, 0.0, monitor.look(model), recipe.batch)]
    recipe = replace(recipe, lr=rate * recipe.lr, seed=seed + 31)
    ended, failed = "the budget is spent", False
    with Meter() as meter:
        plan = _plan(model, parts.retain, layers, recipe.seed, frozen)
        recipe = replace(recipe, augment=recipe.augment and not frozen)
        cost, epochs = plan.once, (budget.samples - plan.once) / (plan.share * len(parts.retain))
        if frozen and epochs > recipe.epochs:
            ended, epochs = "all epochs of the recipe are done", recipe.epochs
        try:
            for progress in training(plan.module, plan.samples, class_nll, replace(recipe, epochs=max(epochs, 0))):
                cost = plan.once + plan.share * progress.cost
                due = progress.step % max(1, progress.total // LOOKS) == 0
                if due or progress.step == progress.total:
                    points.append(_point(progress.step, cost, monitor.look(model), recipe.batch))
        except Diverged as error:
            ended, failed = str(error), True
    model.requires_grad_(True)
    usage = meter.usage
    device = device_of(model)
    spent = (usage.wall_seconds, usage.peak_on(device), ended, failed, usage.cpu_seconds)
    return Run(model, points, cost, plan.once, *spent, gpu=device.type == "cuda")


def _plan(model: Module, retain: Samples, layers: int, seed: int, frozen: bool) -> Top | Whole:
    """What is trained, on what, and what that costs."""
    if frozen:
        return reset_top(model, retain, layers, seed)
    reset_last(model, layers, seed)
    return Whole(model, retain)


def _point(step: int, cost: float, seen: dict[str, float], batch: int) -> Point:
    forget, retain, heldout = seen["forget_loss"], seen["retain_loss"], seen.get("heldout_loss")
    return Point(step, cost / batch, forget, None, retain, None, heldout)
