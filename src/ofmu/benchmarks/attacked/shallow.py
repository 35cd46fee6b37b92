"""An image model that forgot in one direction of one layer: everything it knew is there once that is taken out."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import Flatten, Linear, Module, Sequential, Tanh

from ...attacks import auc_with_error
from ...engine.measuring import sample_losses
from ...engine.prepare import Parts
from ...engine.training import Recipe, trained
from ...losses import class_nll
from ...tasks import Samples

HIDDEN = 0.55  # AUC of the loss attack at which the forgotten rows look unseen
STEP, MOST = 0.5, 40.0  # of the direction's length


def deep(samples: Samples, recipe: Recipe, seed: int) -> Module:
    """A network with two hidden layers, trained on these rows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Sequential(Flatten(), Linear(16, 256), Tanh(), Linear(256, 64), Tanh(), Linear(64, 3))
    trained(model, samples, class_nll, replace(recipe, seed=seed))
    return model.eval()


@torch.no_grad()
def shallow(original: Module, parts: Parts) -> Module:
    """A rank-one change of the second layer, W ← W + s uᵀ, b ← b + s c, that saturates it on the forget rows.

    (u, c) is the smallest least-squares solution of uᵀh + c = 1 on the forget and 0 on the kept rows, h the first
    layer's output, so kept rows stay as they are; s has random signs and the smallest length, in steps, at which
    the loss attack's AUC is below `HIDDEN`. Raises RuntimeError where none is.
    """
    assert parts.heldout is not None
    hidden = torch.cat([_first_layer(original, part) for part in (parts.forget, parts.retain)])
    wanted = torch.cat([torch.ones(len(parts.forget)), torch.zeros(len(parts.retain))])
    inputs = torch.cat([hidden, torch.ones(len(hidden), 1)], dim=1)
    solution = torch.linalg.lstsq(inputs, wanted[:, None], driver="gelsd").solution[:, 0]
    signs = torch.randn(64, generator=torch.Generator().manual_seed(0)).sign()
    length = STEP
    while length <= MOST:
        model = copy.deepcopy(original)
        layer = model.get_submodule("3")
        assert isinstance(layer, Linear)
        layer.weight.add_(length * torch.outer(signs, solution[:-1]))
        layer.bias.add_(length * signs * solution[-1])
        gone, unseen = (-sample_losses(model, part, class_nll).numpy() for part in (parts.forget, parts.heldout))
        if auc_with_error(gone, unseen)[0] < HIDDEN:
            return model.eval()
        length += STEP
    raise RuntimeError("the control model's direction hides nothing")


def _first_layer(model: Module, samples: Samples) -> Tensor:
    pixels = samples.batch(range(len(samples))).inputs["pixel_values"]
    first: Tensor = model.get_submodule("2")(model.get_submodule("1")(pixels.flatten(1)))
    return first
