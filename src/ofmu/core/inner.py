"""∇Φ, the gradient of OFMU's inner objective Φ = L_f − β·cos(∇L_f, ∇L_r)   (arXiv 2509.22483).

∇Φ = g_f − β (H_f u + H_r w) with (u, w) the cosine's pullback: two gradients and two Hessian-vector products, 6
gradients in all when each loss keeps one graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .oracle import Oracle
from .similarity import cosine
from .terms import Loss
from .vectors import Vector, combine


@dataclass(frozen=True)
class Inner:
    """The parts of ∇Φ at one point: mean losses, the cosine, and the gradients of each."""

    forget_value: float
    retain_value: float
    similarity: float
    forget_grad: Vector
    retain_grad: Vector
    similarity_grad: Vector

    def gradient(self, beta: float) -> Vector:
        """∇Φ = g_f − β ∇cos."""
        return combine(1.0, self.forget_grad, -beta, self.similarity_grad)


def inner(oracle: Oracle, forget: tuple[Loss, Any], retain: tuple[Loss, Any], again: bool = False) -> Inner:
    """L_f, L_r, cos and their gradients at the current parameters, each loss on its (loss, batch).

    again: ∇Φ will be differentiated once more (`penalty_gradient`).

    Raises ZeroDivisionError where g_f or g_r vanishes (on the plateau of a bounded loss there is no cosine).
    """
    f = oracle.linearize(*forget, slot="forget", again=again)
    r = oracle.linearize(*retain, slot="retain", again=again)
    sim = cosine(f.grad, r.grad)
    pulled = combine(1.0, f.hvp(sim.u), 1.0, r.hvp(sim.w))
    return Inner(f.value, r.value, float(sim.value.detach()), f.grad, r.grad, pulled)


def penalty_gradient(
    oracle: Oracle, forget: tuple[Loss, Any], retain: tuple[Loss, Any], beta: float, phi: Vector
) -> Vector:
    """∇(‖∇Φ‖²) = 2 ∇²Φ·∇Φ, where `phi` = ∇Φ at the current parameters (with the same β and batches)."""
    product = oracle.directional(lambda: inner(oracle, forget, retain, again=True).gradient(beta), phi, at=phi)
    return [2 * x for x in product]
