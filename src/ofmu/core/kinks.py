"""Kinks: where a network or a loss chooses a branch (ReLU, max-pool, min(ℓ, τ)), and how a probe holds the choice.

A difference of gradients across a kink is wrong at every step size: in float32 the gradient's jump outweighs its
slope. The Hessian that autograd computes is that of the branch chosen *here*. So a probe must not choose again:
`Held` records every choice at θ and replays it at θ + εv, where the function is then smooth, and its difference
tends to what double backward gives. What cannot be held is found by `core.watch` and refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .bits import Bits, masked
from .watch import noted


class Held(TorchFunctionMode):
    """A context whose first pass records every choice and whose later passes take the same ones.

    activations: the piecewise linear functions of torch are held too (`HOLDS`); else only what calls `hold`.
    """

    def __init__(self, activations: bool) -> None:
        super().__init__()
        self._activations, self.recording, self._next = activations, True, 0
        self._choices: list[Tensor | Bits] = []

    def __enter__(self) -> Held:
        self._next = 0
        _stack.append(self)
        if self._activations:
            super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        _stack.pop()
        if self._activations:
            super().__exit__(*error)
        self.recording = False

    def record(self, choice: Tensor) -> None:
        """Keep a choice of the first pass; of a mask, its bits."""
        self._choices.append(Bits(choice) if choice.dtype == torch.bool else choice.detach())

    def recall(self) -> Tensor | Bits:
        """The choice that was recorded at this place."""
        if self._next >= len(self._choices):
            raise RuntimeError(
                f"differences: the model chose {len(self._choices)} times at θ and more often at θ + εv; "
                "expected the same path through the model: use products='exact'"
            )
        self._next += 1
        return self._choices[self._next - 1]

    def choose(self, choice: Callable[[], Tensor]) -> Tensor:
        """The recorded choice, or now's."""
        if self.recording:
            now = choice()
            self.record(now)
            return now
        found = self.recall()
        return found.values(torch.bool) if isinstance(found, Bits) else found

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        rule = HOLDS.get(getattr(func, "__name__", "").removesuffix("_"))
        options = dict(kwargs or {})
        if rule is not None and not args:
            args = (options.pop("input", None),)  # torch.relu(input=x)
        if rule is None or not isinstance(args[0], Tensor) or not args[0].is_floating_point():
            return func(*args, **options)
        in_place = func.__name__.endswith("_") or options.pop("inplace", False)
        out = rule(self, *args, **options)
        return args[0].copy_(out) if in_place else out


_stack: list[Held] = []


def hold(choice: Tensor) -> Tensor:
    """For losses: `choice` (such as the active set of a bound), held wherever differences are being taken.

    A mask or indices, without a graph: what was compared or rounded on the way to it counts as held.
    """
    noted(choice)
    return _stack[-1].choose(lambda: choice) if _stack else choice


def _relu(held: Held, x: Tensor, inplace: bool = False) -> Tensor:
    if not held.recording:
        found = held.recall()
        assert isinstance(found, Bits)
        return masked(x, found)
    out = F.relu(x)
    held.record(out.detach().bool())  # cheaper than to compare x with 0
    return out


def _leaky_relu(held: Held, x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return torch.where(held.choose(lambda: x > 0), x, negative_slope * x)


def _prelu(held: Held, x: Tensor, weight: Tensor) -> Tensor:
    slope = weight if weight.numel() == 1 else weight.view(-1, *[1] * (x.ndim - 2))
    return torch.where(held.choose(lambda: x > 0), x, slope * x)


def _hardtanh(held: Held, x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    below, above = held.choose(lambda: x <= min_val), held.choose(lambda: x >= max_val)
    return x.masked_fill(below, min_val).masked_fill(above, max_val)


def _relu6(held: Held, x: Tensor, inplace: bool = False) -> Tensor:
    return _hardtanh(held, x, 0.0, 6.0)


def _hardsigmoid(held: Held, x: Tensor, inplace: bool = False) -> Tensor:
    return _relu6(held, x + 3) / 6


def _hardswish(held: Held, x: Tensor, inplace: bool = False) -> Tensor:
    return x * _relu6(held, x + 3) / 6


def _max_pool2d(held: Held, x: Tensor, *args: Any, **options: Any) -> Tensor:
    options.pop("return_indices", None)
    places = held.choose(lambda: F.max_pool2d_with_indices(x.detach(), *args[:5], **options)[1])
    return x.flatten(-2).gather(-1, places.flatten(-2)).view_as(places)


HOLDS: dict[str, Callable[..., Tensor]] = {
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "prelu": _prelu,
    "hardtanh": _hardtanh,
    "relu6": _relu6,
    "hardsigmoid": _hardsigmoid,
    "hardswish": _hardswish,
    "max_pool2d": _max_pool2d,
}
