"""The operations that are measured: each derivative, one printed outer iteration, one of the default recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ...core import vectors
from ...core.inner import inner, penalty_gradient
from ...core.oracle import Products, Scheme, TorchOracle
from ...engine.loop import unlearn
from ...losses import NLL
from ...methods import OFMU, Descent, Scalarised, build_method
from ...tasks import Method
from .workloads import Workload

PHI, OUTER, BETA = "∇Φ", "∇Φ and ∇‖∇Φ‖²", 0.1
T, RATE = 5, 1e-5  # steps so short that repeats see the same model


@dataclass(frozen=True)
class Backend:
    """How derivatives are taken, and the least number of gradients each operation needs with it.

    hvp: a gradient and one product. phi: ∇Φ. outer: ∇Φ and ∇‖∇Φ‖². An exact product costs 2 beside the gradient's
    1, a central difference 2, a forward difference 1; triple autograd costs twice what it goes back through. None:
    it depends on what a trial shows. iterated: a whole printed iteration is measured too.
    """

    name: str
    make: Callable[[Workload], TorchOracle]
    hvp: float | None
    phi: float | None
    outer: float | None
    iterated: bool = True

    @property
    def printed(self) -> float | None:
        """T inner steps and the outer one; g_r comes with ∇Φ."""
        return None if self.phi is None or self.outer is None else T * self.phi + self.outer


def _oracle(
    products: Products, outer: Products, scheme: Scheme, streamed: bool = False
) -> Callable[[Workload], TorchOracle]:
    return lambda w: TorchOracle(w.model, products=products, outer=outer, scheme=scheme, streamed=streamed)


BACKENDS: Mapping[str, Backend] = {
    b.name: b
    for b in (
        Backend("exact", _oracle("exact", "exact", "forward"), 3, 6, 18),
        Backend("mixed", _oracle("exact", "differences", "forward"), 3, 6, 12),
        Backend("mixed, streamed", _oracle("exact", "differences", "forward", True), 3, 7, 14, iterated=False),
        Backend("differences, forward", _oracle("differences", "differences", "forward"), 2, 4, 12),
        Backend(
            "differences, central", _oracle("differences", "differences", "central"), 3, 6, 18, iterated=False
        ),
        Backend("differences, auto", _oracle("differences", "differences", "auto"), None, None, None),
    )
}


@dataclass(frozen=True)
class Operation:
    """Something to time. least: its theoretical minimum in gradients (None: it depends on the path)."""

    name: str
    action: Callable[[], object]
    least: float | None


def derivatives(w: Workload, backend: Backend) -> list[Operation]:
    """Gradient, product, ∇Φ, outer product and printed iteration of one backend."""
    oracle = backend.make(w)
    forget, retain = ((w.loss, batch) for batch in w.batches)
    v = vectors.copy_of(oracle.grad(*retain)[1])

    def outer() -> object:
        return penalty_gradient(oracle, inner(oracle, forget, retain, again=True, beta=BETA), BETA)

    found = [
        Operation("gradient", lambda: oracle.grad(*forget), 1),
        Operation("gradient and H v", lambda: oracle.linearize(*forget, slot="alone").hvp(v), backend.hvp),
        Operation(PHI, lambda: inner(oracle, forget, retain, beta=BETA).gradient(BETA), backend.phi),
        Operation(OUTER, outer, backend.outer),
    ]
    if backend.iterated if w.backends is None else w.backends.get(backend.name, False):
        step = _iteration(w, printed(), oracle)
        found.append(Operation(f"printed iteration, T = {T}", step, backend.printed))
    return found


def printed(steps: int = T) -> OFMU:
    """The printed algorithm, which takes its curvature on the whole batch."""
    return OFMU.paper(inner_steps=steps, inner_lr=RATE, outer_lr=RATE)


def recipes(w: Workload) -> dict[str, OFMU]:
    """The default for the workload's kind of data as it runs (β = 0, no penalty), and with both terms.

    Five outer steps each, so that their work is known; of images, the rounds after the head start.
    """
    runs = OFMU.text(1e-4) if w.kind == "text" else OFMU.safeguarded(1e-4)
    both = build_method("ofmu-both", w.kind, lr=1e-4 if w.kind == "text" else None)
    assert isinstance(both, OFMU)
    return {"as it runs": _five(runs), "with both terms": _five(both)}


def _five(method: OFMU) -> OFMU:
    """Five outer steps, and no exit."""
    return replace(method, rounds=None, repair=(5, 5), slack=None, settled=False)


def plain_descent() -> Method:
    """Gradient descent on L_r: the least that the engine can be asked to do."""
    return Scalarised(None, NLL(), Descent("sgd", RATE))


def _iteration(w: Workload, method: Method, oracle: TorchOracle) -> Callable[[], object]:
    """One step of the engine's loop, from a fresh state."""
    task = w.task()
    return lambda: next(unlearn(task, method, oracle, 1))


def engine_step(w: Workload, method: Method, steps: int = 1) -> Callable[[], object]:
    """`steps` steps of the engine's loop with exact derivatives."""
    task, oracle = w.task(), TorchOracle(w.model)
    return lambda: list(unlearn(task, method, oracle, steps))
