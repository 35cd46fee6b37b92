"""What methods see of a model: values and derivatives of losses at the current parameters, and a way to move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

from .terms import Loss, Terms
from .vectors import Vector

Products = Literal["exact", "differences"]
Scheme = Literal["central", "forward", "auto"]  # auto: forward where that was seen to do
Field = Callable[[], Vector]  # a vector field at the current parameters, such as ∇Φ
Direction = Vector | Callable[[], Vector]  # a vector, or how to form it


def formed(v: Direction) -> Vector:
    """The vector itself."""
    return v() if callable(v) else v


class Evaluation(Protocol):
    """A loss at the current parameters; its gradient is computed when asked for."""

    @property
    def value(self) -> float:
        """The mean loss."""
        ...

    def grad(self) -> Vector:
        """∇L (call once: the graph is freed)."""
        ...


class Known:
    """A loss whose gradient was computed with it."""

    def __init__(self, value: float, grad: Vector) -> None:
        self.value, self._grad = value, grad

    def grad(self) -> Vector:
        """∇L."""
        return self._grad


class Linearization(Protocol):
    """A loss with its gradient and curvature at the current parameters, on one graph."""

    value: float
    grad: Vector
    work: float  # sample-gradients so far

    def hvp(self, v: Direction, last: bool = False, beside: float = 0.0) -> Vector:
        """H v, H = ∇²L, a new vector; last: no other product will be asked for, and memory may go.

        beside: the length of what it will be added to, in its own scale: it need be exact beside that alone.
        """
        ...

    def here(self) -> Linearization:
        """The same loss, its active set and branches held as they were, at the parameters as they are now."""
        ...


class Oracle(Protocol):
    """Everything a method may ask of the model."""

    params: Vector
    names: list[str]
    cost: float
    streamed: bool

    def values(self, loss: Loss, batch: Any) -> Terms:
        """The terms of the loss, without a graph."""
        ...

    def evaluate(self, loss: Loss, batch: Any) -> Evaluation:
        """The loss now, its gradient on request."""
        ...

    def grad(self, loss: Loss, batch: Any) -> tuple[float, Vector]:
        """The mean loss and its gradient."""
        ...

    def linearize(
        self, loss: Loss, batch: Any, slot: str, again: bool = False, light: bool = False
    ) -> Linearization:
        """Value, gradient and Hessian-vector products.

        slot names the loss for remembered step sizes; again: a field made of these will be differentiated once
        more, by `directional`; light: no graph is kept for an exact product, which makes its own.
        """
        ...

    def directional(self, field: Field, v: Vector, at: Vector, work: float) -> Vector:
        """J v, J the symmetric Jacobian of `field`, a gradient field that was linearised `again`.

        at: its value here, with its graph where there is one; work: the sample-gradients that `at` took.
        """
        ...

    def move(self, alpha: float, v: Vector) -> None:
        """θ ← θ + αv."""
        ...
