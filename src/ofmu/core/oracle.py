"""Values and derivatives of losses at the current parameters, and the one way to move them.

`Oracle` is what methods see; `TorchOracle` is the one-process implementation. Second derivatives are exact
(double backward on one graph per loss) or central differences of gradients (first-order memory, any attention
kernel, smooth networks only). Every call is counted in *sample-gradients*: one forward and backward pass of one
sample is 1, a forward pass alone 1/3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch
from torch.nn import Module
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import vectors
from .differences import Steps
from .terms import Loss, Terms
from .vectors import Vector

Products = Literal["exact", "differences"]
Field = Callable[[], Vector]  # a vector field at the current parameters, such as ∇Φ


class Evaluation(Protocol):
    """A loss at the current parameters; its gradient is computed when asked for."""

    terms: Terms

    @property
    def value(self) -> float:
        """The mean loss."""
        ...

    def grad(self) -> Vector:
        """∇L (call once: the graph is freed)."""
        ...


class Linearization(Protocol):
    """A loss with its gradient and curvature at the current parameters, on one graph."""

    value: float
    grad: Vector

    def hvp(self, v: Vector) -> Vector:
        """H v, H = ∇²L."""
        ...


class Oracle(Protocol):
    """Everything a method may ask of the model."""

    params: Vector
    cost: float

    def values(self, loss: Loss, batch: Any) -> Terms:
        """The terms of the loss, without a graph."""
        ...

    def evaluate(self, loss: Loss, batch: Any) -> Evaluation:
        """The loss now, its gradient on request."""
        ...

    def grad(self, loss: Loss, batch: Any) -> tuple[float, Vector]:
        """The mean loss and its gradient."""
        ...

    def linearize(self, loss: Loss, batch: Any, slot: str) -> Linearization:
        """Value, gradient and Hessian-vector products; `slot` names the loss for remembered step sizes."""
        ...

    def directional(self, field: Field, v: Vector, at: Vector) -> Vector:
        """J v for a symmetric Jacobian J of `field` (a gradient field), where `at` is the field's value here."""
        ...

    def move(self, alpha: float, v: Vector) -> None:
        """θ ← θ + αv."""
        ...


class TorchOracle:
    """The oracle of one process.

    The module is put in evaluation mode (dropout off, BatchNorm on its running statistics: two probes of one
    point must agree, and buffers stay untouched). products and outer choose exact or differenced
    Hessian-vector products and outer products. autocast is the precision of first-order passes; second
    derivatives are always taken without it (under bf16 autocast differences are noise).
    """

    def __init__(
        self,
        model: Module,
        *,
        products: Products = "exact",
        outer: Products = "exact",
        autocast: torch.dtype | None = None,
    ) -> None:
        if outer == "exact" and products != "exact":
            raise ValueError("oracle: outer='exact' differentiates the products, so it needs products='exact'")
        self.model = model.eval()
        self.params: Vector = [p for p in model.parameters() if p.requires_grad]
        if not self.params:
            raise ValueError("oracle: the model has no trainable parameter (requires_grad is False everywhere)")
        half = {p.dtype for p in self.params} - {torch.float32, torch.float64}
        if half:
            raise ValueError(f"oracle: trainable parameters are {half}, expected float32: model.float() first")
        self.device = self.params[0].device
        self.products, self.outer, self.autocast = products, outer, autocast
        self.cost = 0.0
        self.steps = Steps(self.params)
        self._differentiable = False

    @contextmanager
    def _precision(self, enabled: bool = True) -> Iterator[None]:
        on = enabled and self.autocast is not None
        with torch.autocast(self.device.type, dtype=self.autocast or torch.bfloat16, enabled=on):
            yield

    def values(self, loss: Loss, batch: Any) -> Terms:
        """The terms of the loss, without a graph. Cost b/3."""
        self.cost += len(batch) * (1 / 3 + extra_passes(loss))
        with torch.no_grad(), self._precision():
            return loss(self.model, batch.to(self.device)).detach()

    def evaluate(self, loss: Loss, batch: Any) -> _Evaluation:
        """The loss now, its gradient on request. Cost b/3, and 2b/3 for the gradient."""
        return _Evaluation(self, loss, batch)

    def grad(self, loss: Loss, batch: Any) -> tuple[float, Vector]:
        """The mean loss and its gradient. Cost b."""
        point = self.evaluate(loss, batch)
        return point.value, point.grad()

    def linearize(self, loss: Loss, batch: Any, slot: str) -> Linearization:
        """Value, gradient and Hessian-vector products. Cost b, and 2b for each product."""
        if self.products == "exact":
            return _Exact(self, loss, batch, keep=self._differentiable)
        return _Differenced(self, loss, batch, slot)

    def directional(self, field: Field, v: Vector, at: Vector) -> Vector:
        """J v of a gradient field: exactly (reverse mode through the field) or by differences."""
        if self.outer == "exact":
            before = self.cost
            self._differentiable = True
            try:
                out = field()
            finally:
                self._differentiable = False
            self.cost += 2 * (self.cost - before)  # reverse mode through all that the field computed
            return list(torch.autograd.grad(out, self.params, grad_outputs=v, materialize_grads=True))
        nested = self.products == "differences"
        return self.steps.difference(field, v, at, slot="outer", nested=nested)

    def move(self, alpha: float, v: Vector) -> None:
        """θ ← θ + αv, in place."""
        vectors.move(self.params, alpha, v)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to go on exactly: the cost so far and the remembered difference steps."""
        return {"cost": self.cost, "steps": dict(self.steps.relative)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a saved `state`."""
        self.cost = state["cost"]
        self.steps.relative = dict(state["steps"])


def extra_passes(loss: Loss) -> float:
    """What a loss costs a sample beyond the model's own passes: the forward pass of a frozen model is 1/3."""
    return float(getattr(loss, "extra_passes", 0.0))


class _Evaluation:
    def __init__(self, oracle: TorchOracle, loss: Loss, batch: Any) -> None:
        oracle.cost += len(batch) * (1 / 3 + extra_passes(loss))
        with oracle._precision():
            terms = loss(oracle.model, batch.to(oracle.device))
            self._mean = terms.mean()
        self.terms = terms.detach()
        self.value = float(self._mean.detach())
        self._oracle, self._size = oracle, len(batch)

    def grad(self) -> Vector:
        self._oracle.cost += 2 * self._size / 3
        return list(torch.autograd.grad(self._mean, self._oracle.params, materialize_grads=True))


class _Exact:
    """Double backward on one graph; with `keep`, everything stays differentiable once more."""

    def __init__(self, oracle: TorchOracle, loss: Loss, batch: Any, keep: bool) -> None:
        oracle.cost += len(batch) * (1 + extra_passes(loss))
        self._oracle, self._size, self._keep = oracle, len(batch), keep
        # fused attention has no second derivative on most devices; the plain kernel has
        with oracle._precision(enabled=False), sdpa_kernel(SDPBackend.MATH):
            mean = loss(oracle.model, batch.to(oracle.device)).mean()
        graph = torch.autograd.grad(mean, oracle.params, create_graph=True, materialize_grads=True)
        self._graph = list(graph)
        self.value = float(mean.detach())
        self.grad: Vector = self._graph if keep else [g.detach() for g in graph]

    def hvp(self, v: Vector) -> Vector:
        self._oracle.cost += 2 * self._size
        live = [(g, d) for g, d in zip(self._graph, v, strict=True) if g.requires_grad]
        if not live:  # a loss that is linear in the parameters (or constant) has no curvature
            return vectors.zeros_like(self._oracle.params)
        outputs, directions = zip(*live, strict=True)
        return list(
            torch.autograd.grad(
                outputs,
                self._oracle.params,
                grad_outputs=directions,
                retain_graph=True,
                create_graph=self._keep,
                materialize_grads=True,
            )
        )


class _Differenced:
    """Central differences of gradients on the same batch, with a bounded loss's active mask held fixed."""

    def __init__(self, oracle: TorchOracle, loss: Loss, batch: Any, slot: str) -> None:
        self._oracle, self._batch, self._slot = oracle, batch.to(oracle.device), slot
        pinned = getattr(loss, "pinned", None)
        if pinned is not None:
            oracle.cost += len(batch) / 3
            loss = pinned(oracle.model, self._batch)
        self._loss = loss
        self.value, self.grad = self._gradient()

    def _gradient(self) -> tuple[float, Vector]:
        self._oracle.cost += len(self._batch) * (1 + extra_passes(self._loss))
        with self._oracle._precision(enabled=False):
            mean = self._loss(self._oracle.model, self._batch).mean()
        grads = torch.autograd.grad(mean, self._oracle.params, materialize_grads=True)
        return float(mean.detach()), list(grads)

    def hvp(self, v: Vector) -> Vector:
        return self._oracle.steps.difference(lambda: self._gradient()[1], v, self.grad, slot=self._slot)
