"""How alike two gradients are, and how that changes when they do.

With a = ∇L_f, b = ∇L_r and Sim(a, b), the chain rule gives ∇_θ Sim = H_f u + H_r w, where (u, w) is the
pullback (∂Sim/∂a, ∂Sim/∂b): closed forms, so a gradient of Sim costs two Hessian-vector products. −β·cos rewards
*anti*-correlation, −β·cos² decorrelation, −β·max(0, cos) the absence of conflict (with ascent on L_f, cos > 0 is
the harmful sign).
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from .protocols import Direction, formed
from .vectors import Combination, Vector, dot, nothing_like, scale

NEARLY = 0.99  # of nearly parallel gradients 1 − c² has lost its digits


@dataclass(frozen=True)
class Pullback:
    """Sim(a, b) (a scalar) with u = ∂Sim/∂a and w = ∂Sim/∂b.

    toward_u, toward_w: the same directions, unformed, so that they need not lie in memory.
    """

    value: Tensor
    toward_u: Direction
    toward_w: Direction

    @property
    def u(self) -> Vector:
        """∂Sim/∂a, formed anew every time."""
        return formed(self.toward_u)

    @property
    def w(self) -> Vector:
        """∂Sim/∂b, formed anew every time."""
        return formed(self.toward_w)


class Measure(Protocol):
    """A similarity of two gradients. Where it is undefined it raises a ZeroDivisionError that says why."""

    def __call__(self, a: Vector, b: Vector, names: Sequence[str]) -> Pullback:
        """Sim and its pullback; names: the parameters', in the vectors' order."""
        ...


def cosine(a: Vector, b: Vector) -> Pullback:
    """C = a·b / (‖a‖‖b‖);  u = (b/‖b‖ − c a/‖a‖)/‖a‖,  w = (a/‖a‖ − c b/‖b‖)/‖b‖.

    OFMU (arXiv 2509.22483), Sim in Φ. u ⟂ a and w ⟂ b: the cosine ignores both lengths. It is undefined where
    either gradient vanishes (is lost in rounding beside the other: on the plateau of a bounded loss what is left
    of g_f is noise, and the third derivatives of its cosine overflow): a ZeroDivisionError says which one.
    """
    aa, bb = dot(a, a), dot(b, b)
    for name, square, other in (("first", aa, bb), ("second", bb, aa)):
        if _lost(square, other):
            raise ZeroDivisionError(f"cosine: the {name} gradient vanishes, so the similarity is undefined there")
    na, nb = aa.sqrt(), bb.sqrt()
    c = dot(a, b) / (na * nb)
    c2 = float(c.detach()) ** 2
    sine = math.sqrt(1 - c2) if c2 < NEARLY else math.nan  # the length of b/‖b‖ − c a/‖a‖
    return Pullback(
        c,
        Combination(1 / (na * nb), b, -c / aa, a, sine / float(na.detach())),
        Combination(1 / (na * nb), a, -c / bb, b, sine / float(nb.detach())),
    )


def _lost(square: Tensor, other: Tensor) -> bool:
    """Whether a squared norm is nothing beside another, in their precision."""
    return float(square.detach()) <= torch.finfo(square.dtype).eps ** 2 * float(other.detach())


@dataclass(frozen=True)
class Cosine:
    """cos(a, b): the printed measure."""

    def __call__(self, a: Vector, b: Vector, names: Sequence[str]) -> Pullback:
        """`cosine`."""
        return cosine(a, b)


@dataclass(frozen=True)
class Nothing:
    """Sim = 0, everywhere defined: what stands for the similarity where β = 0. Its ∇ costs nothing."""

    def __call__(self, a: Vector, b: Vector, names: Sequence[str]) -> Pullback:
        """0, with a pullback of zeros."""
        return Pullback(a[0].new_zeros(()), lambda: nothing_like(a), lambda: nothing_like(b))


@dataclass(frozen=True)
class SquaredCosine:
    """cos²: least at orthogonality, from either side. (u, w) = 2c · the cosine's."""

    def __call__(self, a: Vector, b: Vector, names: Sequence[str]) -> Pullback:
        """c², 2c u, 2c w."""
        found = cosine(a, b)
        twice = 2 * found.value
        return Pullback(found.value**2, lambda: scale(twice, found.u), lambda: scale(twice, found.w))


@dataclass(frozen=True)
class Hinge:
    """max(0, cos): conflict alone counts; (u, w) is the cosine's where cos > 0, else zero."""

    def __call__(self, a: Vector, b: Vector, names: Sequence[str]) -> Pullback:
        """max(0, c), [c > 0] u, [c > 0] w."""
        found = cosine(a, b)
        if float(found.value.detach()) > 0:
            return found
        return Pullback(0 * found.value, lambda: nothing_like(a), lambda: nothing_like(b))


@dataclass(frozen=True)
class PerLayer:
    """The mean over layers of the cosine within each: long gradients of one layer do not drown the others.

    A layer is what shares a parameter name up to its last dot (weight and bias). A layer in which either gradient
    vanishes has no cosine and is left out; undefined where every layer is.
    """

    def __call__(self, a: Vector, b: Vector, names: Sequence[str]) -> Pullback:
        """(1/L) Σ_l cos(a_l, b_l) with each layer's own (u, w) / L."""
        layers: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            layers.setdefault(name.rpartition(".")[0], []).append(i)
        found = {}
        for layer, rows in layers.items():
            with suppress(ZeroDivisionError):
                found[layer] = cosine([a[i] for i in rows], [b[i] for i in rows])
        if not found:
            raise ZeroDivisionError("per-layer cosine: no layer in which neither gradient vanishes")
        n = len(found)
        return Pullback(
            sum(part.value for part in found.values()) / n,  # type: ignore[arg-type]
            lambda: _spread(a, [(layers[layer], scale(1 / n, part.u)) for layer, part in found.items()]),
            lambda: _spread(b, [(layers[layer], scale(1 / n, part.w)) for layer, part in found.items()]),
        )


def _spread(like: Vector, parts: Iterable[tuple[list[int], Vector]]) -> Vector:
    """Each part's tensors at its places, nothing elsewhere."""
    whole = nothing_like(like)
    for rows, part in parts:
        for i, x in zip(rows, part, strict=True):
            whole[i] = x
    return whole


@dataclass(frozen=True)
class Projection:
    """s = a·b/‖b‖, the signed length of a's projection on b: what ascent along a costs L_r, per unit of ‖b‖.

    u = b/‖b‖, w = (a − s b/‖b‖)/‖b‖, w ⟂ b.
    """

    def __call__(self, a: Vector, b: Vector, names: Sequence[str]) -> Pullback:
        """S, u, w."""
        bb = dot(b, b)
        if _lost(bb, dot(a, a)):
            raise ZeroDivisionError("projection: the second gradient is zero, so there is nothing to project on")
        s = dot(a, b) / bb.sqrt()
        return Pullback(s, lambda: scale(1 / bb.sqrt(), b), Combination(1 / bb.sqrt(), a, -s / bb, b))


@dataclass(frozen=True)
class Dot:
    """a·b; u = b, w = a."""

    def __call__(self, a: Vector, b: Vector, names: Sequence[str]) -> Pullback:
        """a·b, b, a."""
        return Pullback(dot(a, b), lambda: b, lambda: a)


@dataclass(frozen=True)
class Only:
    """A measure over the parameters whose name matches one of `patterns` (shell style, such as "*layers.1?.*").

    (u, w) is zero elsewhere, and the part of a gradient's graph that no direction enters is not run: the last half
    of a network halves the price of ∇Sim, nearly without turning it. Raises ValueError where nothing matches.
    """

    patterns: tuple[str, ...]
    measure: Measure = field(default_factory=Cosine)

    def __call__(self, a: Vector, b: Vector, names: Sequence[str]) -> Pullback:
        """Sim of the chosen parts."""
        rows = [i for i, name in enumerate(names) if any(fnmatch.fnmatchcase(name, p) for p in self.patterns)]
        if not rows:
            raise ValueError(
                f"similarity: no parameter matches {', '.join(self.patterns)}; their names are like "
                f"{', '.join(names[:3])}"
            )
        part = self.measure([a[i] for i in rows], [b[i] for i in rows], [names[i] for i in rows])
        return Pullback(part.value, lambda: _spread(a, [(rows, part.u)]), lambda: _spread(b, [(rows, part.w)]))
