"""Whether a loss can be differentiated twice, and rightly: an exact product of two samples beside a difference.

torch differentiates a backward pass as it was written. A `torch.autograd.Function` whose backward uses detached or
numpy values hides their slope, and double backward is wrong without a word. Other operations have no second
derivative at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import vectors
from .differenced import Differenced
from .exact import Exact
from .graphs import SecondDerivativeError, nodes
from .group import Part
from .kinks import Held
from .terms import Loss
from .vectors import Vector

if TYPE_CHECKING:
    from .oracle import TorchOracle

APART = 0.05  # of a product's length, beyond what the difference may be off: central ones keep 3e-4
AWAY = (0.382, 0.236)  # by which shares the entries of every parameter are shifted, where products are compared
SLOT = "twice"


def customs(values: Iterable[Tensor]) -> tuple[str, ...]:
    """The graph's nodes whose backward somebody else than torch or this package wrote."""
    found: dict[str, None] = {}
    for node in nodes(values):
        written = getattr(type(node), "_forward_cls", None)
        if written is None:
            continue
        registered = written.__name__.startswith("GeneratedBackwardFor")  # torch.library's, by somebody else
        if registered or written.__module__.split(".")[0] not in ("torch", "ofmu"):
            found[node.name()] = None
    return tuple(found)


def doubt(oracle: TorchOracle, loss: Loss, few: Part, kinked: bool | None, custom: Sequence[str]) -> str | None:
    """Why exact products cannot be had or trusted, in words; None where they can.

    oracle: one of this process alone, whose steps are its own. few: one or two samples. kinked: whether there are
    branches to hold; None: they cannot be held, so nothing is compared. custom: `customs` of a pass. Costs three
    gradients of them, and seven more, or twice as many, where there are custom functions.
    """
    through = f" (custom functions: {', '.join(custom)})" if custom else ""
    try:
        line = Exact(oracle, loss, [few], again=False)
        if any(node.name() == "torch::autograd::Error" for node in nodes(line.graphs[0])):
            return f"a function is marked once_differentiable{through}"
        line.hvp([torch.ones_like(g) for g in line.grad], last=True)
    except SecondDerivativeError as error:
        return error.reason
    except RuntimeError as error:
        return f"a second derivative fails: {str(error).splitlines()[0]}{through}"
    if kinked is None or not custom:
        return None
    for share in AWAY:
        try:
            off = _off(oracle, loss, few, kinked, share)
        except (RuntimeError, ValueError):  # what fails at such parameters alone says nothing
            off = 0.0
        if not off > 0:
            return None
    return f"exact products are {off:.0%} off from differences of gradients{through}"


def _direction(grad: Vector) -> Vector:
    """The gradient with random signs: its scale in every parameter, and always the same."""
    generator = torch.Generator(grad[0].device).manual_seed(1)
    return [torch.empty_like(g).bernoulli_(0.5, generator=generator).mul_(2).sub_(1).mul_(g) for g in grad]


def _off(oracle: TorchOracle, loss: Loss, few: Part, kinked: bool, share: float) -> float:
    """How far an exact product is from a central difference, relative to the longer of them; 0 within its noise.

    Away from the parameters as they are: of a sample that is fitted, p − 1 has no digits in float32, and a
    difference of it is off by half while no noise is seen. Shifted, weights keep their size and sign. What a trial
    says of a forward difference is more than the central one is off.
    """
    steps = oracle.steps
    with vectors.restored(oracle.params):
        _shift(oracle.params, share)
        line = Exact(oracle, loss, [few], again=False)
        v = _direction(line.grad)
        exact, size = line.hvp(v, last=True), vectors.size(v)
        if not size > 0:
            return 0.0
        if (length := vectors.size(exact)) > 0:  # where the gradient, as long as v, changes by its length
            steps.relative[SLOT] = size**2 / (length * steps.scale)
        steps.tried.clear()
        held = [replace(few, held=Held(kinked))]
        found = Differenced(oracle, loss, held, SLOT, "auto", again=False).hvp(v)
    off, other = vectors.distance(exact, found), vectors.size(found)
    longer, noise = max(length, other), steps.tried[SLOT].off(size) * other
    return off / longer if off > APART * longer + noise else 0.0


@torch.no_grad()
def _shift(params: Vector, share: float) -> None:
    for p in params:
        p.copy_(p.flatten().roll(1 + int(share * p.numel())).view_as(p))
