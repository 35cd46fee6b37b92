"""Vectors in parameter space: one tensor per trainable parameter, never flattened.

Lists keep every parameter's own layout and cost no copy; `torch._foreach_*` runs them at memory speed. A sharded
tensor (DTensor) knows its mesh: norms and dot products of shards are summed over it, and what moves in place moves
shard by shard.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

Vector = list[Tensor]
CHUNK = 2**18  # elements whose products the BLAS sums at once: longer sums lose digits in float32


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """⟨a, b⟩ as a scalar tensor, the same on every rank; differentiable where nothing is sharded."""
    return _whole(torch.stack([_dot(x, y) for x, y in zip(a, b, strict=True)]).sum())


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """Σ xy of one tensor; in one pass without a temporary where the BLAS can do it."""
    graph = torch.is_grad_enabled() and (x.requires_grad or y.requires_grad)
    sharded = hasattr(x, "to_local") or hasattr(y, "to_local")
    if graph or sharded or x.device.type != "cpu" or not (x.is_contiguous() and y.is_contiguous()):
        return (x * y).sum()
    x, y = x.view(-1), y.view(-1)
    if x.numel() <= CHUNK:
        return torch.dot(x, y)
    return torch.stack([torch.dot(p, q) for p, q in zip(x.split(CHUNK), y.split(CHUNK), strict=True)]).sum()


def _whole(x: Tensor) -> Tensor:
    """A sum over shards that still lies in pieces, summed."""
    return x.full_tensor() if hasattr(x, "full_tensor") else x


def _local(a: Sequence[Tensor]) -> list[Tensor]:
    """What lies on this rank, sharing its memory: arithmetic without sums needs no other rank."""
    return [x.to_local() if hasattr(x, "to_local") else x for x in a]


def norm(a: Sequence[Tensor]) -> Tensor:
    """‖a‖₂ as a scalar tensor."""
    return dot(a, a).sqrt()


@torch.no_grad()
def length(a: Sequence[Tensor]) -> float:
    """‖a‖₂ as a number."""
    return float(norm(a))


@torch.no_grad()
def size(a: Sequence[Tensor]) -> float:
    """‖a‖₂ in one pass without temporaries, rounded otherwise than `length`: for step sizes."""
    if any(hasattr(x, "to_local") for x in a):
        return length(a)
    return float(torch.stack(torch._foreach_norm(list(a))).norm())


def combine(alpha: Tensor | float, a: Sequence[Tensor], beta: Tensor | float, b: Sequence[Tensor]) -> Vector:
    """αa + βb, a new vector; differentiable."""
    if any(isinstance(x, Tensor) and x.requires_grad for x in (alpha, beta, *a, *b)):
        return [alpha * x + beta * y for x, y in zip(a, b, strict=True)]
    if float(alpha) == 1.0:
        return list(torch._foreach_add(list(a), list(b), alpha=float(beta)))
    out = list(torch._foreach_mul(list(a), float(alpha)))
    torch._foreach_add_(out, list(b), alpha=float(beta))
    return out


@dataclass(frozen=True)
class Combination:
    """αa + βb without memory of its own: formed when called, and only where a formed vector is needed.

    length: ‖αa + βb‖ where there is a formula for it; nan: it is found by forming.
    """

    alpha: Tensor | float
    a: Vector
    beta: Tensor | float
    b: Vector
    length: float = math.nan

    def __call__(self) -> Vector:
        """The vector; differentiable."""
        return combine(self.alpha, self.a, self.beta, self.b)


def added(a: Vector, b: Sequence[Tensor]) -> Vector:
    """A + b, in a's memory unless a graph needs it."""
    if any(x.requires_grad for x in (*a, *b)):
        return combine(1.0, a, 1.0, b)
    torch._foreach_add_(a, list(b))
    return a


@torch.no_grad()
def difference_(a: Vector, b: Sequence[Tensor]) -> Vector:
    """A ← a − b, in place."""
    torch._foreach_sub_(_local(a), _local(b))
    return a


@torch.no_grad()
def toward_(a: Vector, b: Sequence[Tensor], share: float) -> None:
    """A ← a + share · (b − a), in place."""
    torch._foreach_lerp_(_local(a), _local(b), share)


@torch.no_grad()
def scale_(alpha: float, a: Vector) -> Vector:
    """A ← αa, in place."""
    torch._foreach_mul_(_local(a), alpha)
    return a


@torch.no_grad()
def distance(a: Sequence[Tensor], b: Sequence[Tensor], sign: float = 1.0) -> float:
    """‖a − sign·b‖₂, with one tensor's temporary at a time."""
    squares = [torch.sub(x, y, alpha=sign).square().sum() for x, y in zip(a, b, strict=True)]
    return float(_whole(torch.stack(squares).sum()).sqrt())


def owned(a: Sequence[Tensor], *others: Sequence[Tensor]) -> Vector:
    """The same values, every tensor in memory of its own, so that it may be written to in place.

    Autograd may return one tensor for two parameters, a direction that it was given, or an expanded scalar.
    """
    taken = {x.untyped_storage().data_ptr() for other in others for x in _local(other)}
    out = []
    for x, local in zip(a, _local(a), strict=True):
        place = local.untyped_storage().data_ptr()
        alone = place not in taken and local.untyped_storage().nbytes() >= local.numel() * local.element_size()
        out.append(x if alone else x.clone(memory_format=torch.contiguous_format))
        taken.add(place)
    return out


def scale(alpha: Tensor | float, a: Sequence[Tensor]) -> Vector:
    """αa, a new vector; differentiable."""
    return [alpha * x for x in a]


def fusible(a: Sequence[Tensor]) -> bool:
    """Whether torch's fused optimisers serve here: the same step in one pass over memory instead of a dozen."""
    return all(x.device.type in ("cpu", "cuda") for x in a)


def zeros_like(a: Sequence[Tensor]) -> Vector:
    """The zero vector of a's shape."""
    return [torch.zeros_like(x) for x in a]


def nothing_like(a: Sequence[Tensor]) -> Vector:
    """Zeros without memory: expanded scalars, which derivatives recognise (`is_nothing`) and leave out."""
    return [torch.zeros_like(x) if hasattr(x, "to_local") else x.new_zeros(()).expand(x.shape) for x in a]


def is_nothing(x: Tensor) -> bool:
    """Whether x is an expanded zero, by its layout first: looking at a value may cost a transfer."""
    return x.numel() > 1 and not any(x.stride()) and not bool(x.flatten()[0])


def copy_of(a: Sequence[Tensor]) -> Vector:
    """A detached copy."""
    return [x.detach().clone() for x in a]


@torch.no_grad()
def move(a: Sequence[Tensor], alpha: float, v: Sequence[Tensor]) -> None:
    """A ← a + αv, in place."""
    torch._foreach_add_(_local(a), _local(v), alpha=alpha)


@torch.no_grad()
def place(a: Sequence[Tensor], start: Sequence[Tensor], step: float, v: Sequence[Tensor] | Combination) -> None:
    """A ← start + step · v, in a's memory alone, a tensor at a time.

    A combination is summed before `start` is added: what rounding does to θ is most of the noise of a forward
    difference, so θ is rounded once.
    """
    if isinstance(v, Combination):
        alpha, beta = step * float(v.alpha), step * float(v.beta)
        for x, s, y, z in zip(_local(a), _local(start), _local(v.a), _local(v.b), strict=True):
            torch.mul(y, alpha, out=x).add_(z, alpha=beta).add_(s)
    else:
        for x, s, y in zip(_local(a), _local(start), _local(v), strict=True):
            torch.add(s, y, alpha=step, out=x)


@torch.no_grad()
def assign(a: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """A ← values, in place, bit for bit."""
    if a:  # a model may have no buffers
        torch._foreach_copy_(_local(a), _local(values))


@torch.no_grad()
def bad(a: Sequence[Tensor]) -> Tensor:
    """Whether something that lies on this rank is no finite number: a scalar, 1 or 0.

    A norm is finite only if all that it sums up is: one pass without temporaries, and a second look where it is
    not (it may just have overflowed).
    """
    parts = _local(a)
    if bool(torch.stack(torch._foreach_norm(parts)).isfinite().all()):
        return torch.zeros((), device=parts[0].device)
    return (~torch.stack([x.isfinite().all() for x in parts]).all()).float()


@contextmanager
def restored(a: Sequence[Tensor]) -> Iterator[Vector]:
    """Whatever is done to `a` inside, it comes back bit for bit (θ + ε − ε would not); gives the saved copy."""
    saved = copy_of(a)
    try:
        yield saved
    finally:
        assign(a, saved)
