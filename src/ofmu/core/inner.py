"""∇Φ, the gradient of OFMU's inner objective Φ = L_f − β·Sim(∇L_f, ∇L_r)   (arXiv 2509.22483; Sim = cos).

∇Φ = g_f − β (H_f u + H_r w) with (u, w) the similarity's pullback: two gradients and two Hessian-vector products.
Exactly, with one graph for each loss: 6 gradients' work; by forward differences 4, by central ones 6. u needs g_r,
so both graphs are in memory at once. Streamed, one is: g_r first without a graph, then L_f's graph for g_f and
H_f u, let go, then L_r's for H_r w: exact as well, at 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .oracle import Linearization, Oracle
from .similarity import Cosine, Measure
from .terms import Loss
from .vectors import Vector, added, combine, scale, size


@dataclass(frozen=True)
class Inner:
    """The parts of ∇Φ at one point: mean losses, the similarity, and the gradients of each."""

    forget_value: float
    retain_value: float
    similarity: float
    forget_grad: Vector
    retain_grad: Vector
    similarity_grad: Vector
    lines: tuple[Linearization, Linearization]
    measure: Measure
    beta: float | None = None

    def gradient(self, beta: float) -> Vector:
        """∇Φ = g_f − β ∇Sim."""
        return combine(1.0, self.forget_grad, -beta, self.similarity_grad)

    def here(self, oracle: Oracle) -> Inner:
        """The same function (batches, active sets, branches) at the parameters as they are now."""
        forget, retain = (line.here() for line in self.lines)
        return between(oracle, forget, retain, self.measure, self.beta)


def inner(
    oracle: Oracle,
    forget: tuple[Loss, Any],
    retain: tuple[Loss, Any],
    measure: Measure = Cosine(),  # noqa: B008  immutable
    again: bool = False,
    beta: float | None = None,
) -> Inner:
    """L_f, L_r, Sim and their gradients at the current parameters, each loss on its (loss, batch).

    again: ∇Φ will be differentiated once more (`penalty_gradient`). beta: as `between` takes it. Raises
    ZeroDivisionError where the measure is undefined: a vanishing g_f or g_r (the plateau of a bounded loss) has no
    angle.
    """
    return between(oracle, *linearized(oracle, forget, retain, again), measure, beta)


def linearized(
    oracle: Oracle, forget: tuple[Loss, Any], retain: tuple[Loss, Any], again: bool = False
) -> tuple[Linearization, Linearization]:
    """L_f and L_r at the current parameters, with their gradients and curvature; again: as in `inner`."""
    r = oracle.linearize(*retain, slot="retain", again=again, light=True) if oracle.streamed else None
    f = oracle.linearize(*forget, slot="forget", again=again)
    return f, r or oracle.linearize(*retain, slot="retain", again=again)


def between(
    oracle: Oracle, forget: Linearization, retain: Linearization, measure: Measure, beta: float | None = None
) -> Inner:
    """The parts of ∇Φ from both losses' linearisations. Raises ZeroDivisionError as `inner` does.

    beta: the weight that ∇Sim will have in ∇Φ, where it is known before; products need then be exact beside
    g_f/β, not by themselves.
    """
    sim = measure(forget.grad, retain.grad, oracle.names)
    value = float(sim.value.detach())
    beside = size([g.detach() for g in forget.grad]) / beta if beta else 0.0
    pulled = forget.hvp(sim.toward_u, last=True, beside=beside)
    pulled = added(pulled, retain.hvp(sim.toward_w, last=True, beside=beside))
    del sim
    lines = forget, retain
    return Inner(forget.value, retain.value, value, forget.grad, retain.grad, pulled, lines, measure, beta)


def penalty_gradient(oracle: Oracle, parts: Inner, beta: float, v: Vector | None = None) -> Vector:
    """2 ∇²Φ·v with `parts` of ∇Φ here (made `again`) and the same β; v = ∇Φ: the gradient of ‖∇Φ‖².

    v: another direction than ∇Φ (a multiplier of the constraint ∇Φ = 0).
    """
    phi = parts.gradient(beta)
    direction = [x.detach() for x in (phi if v is None else v)]
    work = sum(line.work for line in parts.lines)
    product = oracle.directional(lambda: parts.here(oracle).gradient(beta), direction, at=phi, work=work)
    return scale(2.0, product)
