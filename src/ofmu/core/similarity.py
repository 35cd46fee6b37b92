"""How alike two gradients are, and how that changes when they do.

With a = ∇L_f, b = ∇L_r and Sim(a, b), the chain rule gives ∇_θ Sim = H_f u + H_r w, where (u, w) is the
pullback (∂Sim/∂a, ∂Sim/∂b): closed forms, so a gradient of Sim costs two Hessian-vector products.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .vectors import Vector, combine, dot


@dataclass(frozen=True)
class Pullback:
    """Sim(a, b) (a scalar) with u = ∂Sim/∂a and w = ∂Sim/∂b."""

    value: Tensor
    u: Vector
    w: Vector


def cosine(a: Vector, b: Vector) -> Pullback:
    """C = a·b / (‖a‖‖b‖);  u = (b/‖b‖ − c a/‖a‖)/‖a‖,  w = (a/‖a‖ − c b/‖b‖)/‖b‖.

    OFMU (arXiv 2509.22483), Sim in Φ. u ⟂ a and w ⟂ b: the cosine ignores both lengths. It is undefined where
    either gradient vanishes: a ZeroDivisionError says which one.
    """
    aa, bb = dot(a, a), dot(b, b)
    for name, square in (("first", aa), ("second", bb)):
        if float(square.detach()) == 0.0:
            raise ZeroDivisionError(f"cosine: the {name} gradient is zero, so the similarity is undefined there")
    na, nb = aa.sqrt(), bb.sqrt()
    c = dot(a, b) / (na * nb)
    u = combine(1 / (na * nb), b, -c / aa, a)
    w = combine(1 / (na * nb), a, -c / bb, b)
    return Pullback(c, u, w)
