"""How alike two gradients are, and how that changes when they do.

With a = ∇L_f, b = ∇L_r and Sim(a, b), the chain rule gives ∇_θ Sim = H_f u + H_r w, where (u, w) is the
pullback (∂Sim/∂a, ∂Sim/∂b): closed forms, so a gradient of Sim costs two Hessian-vector products.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
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
    either gradient vanishes (is lost in rounding beside the other: on the plateau of a bounded loss what is left
    of g_f is noise, and the third derivatives of its cosine overflow): a ZeroDivisionError says which one.
    """
    aa, bb = dot(a, a), dot(b, b)
    lost = torch.finfo(aa.dtype).eps ** 2
    for name, square, other in (("first", aa, bb), ("second", bb, aa)):
        if float(square.detach()) <= lost * float(other.detach()):
            raise ZeroDivisionError(f"cosine: the {name} gradient vanishes, so the similarity is undefined there")
    na, nb = aa.sqrt(), bb.sqrt()
    c = dot(a, b) / (na * nb)
    u = combine(1 / (na * nb), b, -c / aa, a)
    w = combine(1 / (na * nb), a, -c / bb, b)
    return Pullback(c, u, w)
