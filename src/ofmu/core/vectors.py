"""Vectors in parameter space: one tensor per trainable parameter, never flattened.

Lists keep every parameter's own layout (sharded tensors included) and cost no copy; `torch._foreach_*` runs
them at memory speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

Vector = list[Tensor]


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """⟨a, b⟩ as a scalar tensor; differentiable."""
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()


def norm(a: Sequence[Tensor]) -> Tensor:
    """‖a‖₂ as a scalar tensor."""
    return dot(a, a).sqrt()


@torch.no_grad()
def length(a: Sequence[Tensor]) -> float:
    """‖a‖₂ as a number."""
    return float(norm(a))


def combine(alpha: Tensor | float, a: Sequence[Tensor], beta: Tensor | float, b: Sequence[Tensor]) -> Vector:
    """αa + βb, a new vector; differentiable."""
    return [alpha * x + beta * y for x, y in zip(a, b, strict=True)]


def scale(alpha: Tensor | float, a: Sequence[Tensor]) -> Vector:
    """αa, a new vector; differentiable."""
    return [alpha * x for x in a]


def fusible(a: Sequence[Tensor]) -> bool:
    """Whether torch's fused optimisers serve here: the same step in one pass over memory instead of a dozen."""
    return all(x.device.type in ("cpu", "cuda") for x in a)


def zeros_like(a: Sequence[Tensor]) -> Vector:
    """The zero vector of a's shape."""
    return [torch.zeros_like(x) for x in a]


def copy_of(a: Sequence[Tensor]) -> Vector:
    """A detached copy."""
    return [x.detach().clone() for x in a]


@torch.no_grad()
def move(a: Sequence[Tensor], alpha: float, v: Sequence[Tensor]) -> None:
    """A ← a + αv, in place."""
    torch._foreach_add_(list(a), list(v), alpha=alpha)


@torch.no_grad()
def assign(a: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """A ← values, in place, bit for bit."""
    for x, value in zip(a, values, strict=True):
        x.copy_(value)


@contextmanager
def restored(a: Sequence[Tensor]) -> Iterator[None]:
    """Whatever is done to `a` inside, it comes back bit for bit (θ + ε − ε would not)."""
    saved = copy_of(a)
    try:
        yield
    finally:
        assign(a, saved)
