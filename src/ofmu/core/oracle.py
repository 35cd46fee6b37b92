"""Values and derivatives of losses at the current parameters, and the one way to move them.

`Oracle` is what methods see; `TorchOracle` is the implementation, on one process or on a group of them. Second
derivatives are exact (`core.exact`) or differences of gradients (`core.differenced`). Every call is counted in
*sample-gradients*: one forward and backward pass of one sample is 1, a forward pass alone 1/3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import vectors
from .checks import check_fields, check_model, check_splits
from .differenced import Differenced
from .differences import Steps, Trial
from .exact import Exact
from .graphs import derivable, refused_recomputation
from .group import Alone, Group, Part, split
from .kinks import Held
from .likelihood import digits
from .looked import Looked
from .pending import Pending
from .protocols import Evaluation, Field, Known, Linearization, Oracle, Products, Scheme
from .terms import Loss, Terms, extra_passes
from .vectors import Vector

__all__ = ["Evaluation", "Field", "Known", "Linearization", "Oracle", "Products", "Scheme", "TorchOracle"]


class TorchOracle:
    """The oracle of one process, or of one rank of a group.

    The module is put in evaluation mode (dropout off, BatchNorm on its running statistics: two probes of one
    point must agree, and buffers stay untouched). products and outer choose exact or differenced
    Hessian-vector products and outer products; scheme is that of the differences, but the outer one over
    differenced products is always central, and "auto" is central in float64, which is asked for digits. autocast
    is the precision of first-order passes; second derivatives are always taken without it (under bf16 autocast
    differences are noise). micro: most samples that are run
    together (None: the whole batch); what is computed is of the whole batch all the same. group: the ranks that
    share every batch. streamed: an exact ∇Φ holds one loss's graph at a time, for one gradient more (the exact
    outer product needs both all the same). `ofmu.core.backend` chooses among all this and says why.
    """

    def __init__(
        self,
        model: Module,
        *,
        products: Products = "exact",
        outer: Products = "exact",
        scheme: Scheme = "central",
        autocast: torch.dtype | None = None,
        micro: int | None = None,
        group: Group | None = None,
        streamed: bool = False,
    ) -> None:
        if outer == "exact" and products != "exact":
            raise ValueError("oracle: outer='exact' differentiates the products, so it needs products='exact'")
        check_model(model)
        check_fields(model, "exact" in (products, outer))
        self.group: Group = Alone() if group is None else group
        if micro is not None or self.group.size > 1:
            check_splits(model)
        self.model = model.eval()
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in trained]
        self.params: Vector = [p for _, p in trained]
        if micro is not None and micro < 1:
            raise ValueError(f"oracle: micro is {micro}, expected at least 1 sample, or None for the whole batch")
        self.device = self.params[0].device
        digits = scheme == "auto" and products == "differences" and self.params[0].dtype == torch.float64
        self.scheme: Scheme = "central" if digits else scheme  # forward: 1e-8 at best; central: 1e-10
        self.products, self.outer, self.autocast = products, outer, autocast
        self.micro, self.streamed = micro, streamed
        self.cost = 0.0
        self.steps = Steps(self.params)
        self._looked = Looked(self)

    @contextmanager
    def precision(self, full: bool = False) -> Iterator[None]:
        """The precision of a pass: autocast, or `full` for anything that will be differenced or differentiated.

        Full, the gradients of fitted samples keep their digits too (`core.likelihood`).
        """
        on = not full and self.autocast is not None
        with digits(full):
            if not on and not torch.is_autocast_enabled(self.device.type):
                yield  # there is nothing to turn off
                return
            with torch.autocast(self.device.type, dtype=self.autocast or torch.bfloat16, enabled=on):
                yield

    @contextmanager
    def exactly(self) -> Iterator[None]:
        """Full precision, and plain attention: the fused kernels have no second derivative on most devices.

        Around backward passes too: autocast casts their products, and checkpointing runs the network again there.
        Raises `SecondDerivativeError` for an operation that has none.
        """
        plain = sdpa_kernel(SDPBackend.MATH)
        with refused_recomputation(), derivable(), self.precision(full=True), plain:
            yield

    def parts(self, batch: Any) -> list[Part]:
        """Our share of a batch, on the device, in parts of at most `micro` samples.

        Every loss begins here, so evaluation mode is set here again, whoever has called model.train() since.
        """
        if any(module.training for module in self.model.modules()):
            self.model.eval()
        return [replace(part, batch=part.batch.to(self.device)) for part in split(batch, self.group, self.micro)]

    def spend(self, parts: Sequence[Part], gradients: float, loss: Loss | None = None) -> float:
        """Count so many gradients of the batch, and what else the loss runs; returns the sample-gradients."""
        work = parts[0].of * (gradients + (0.0 if loss is None else extra_passes(loss)))
        self.cost += work
        return work

    def zeros(self, shape: int | tuple[int, ...]) -> Tensor:
        """Zeros of the parameters' precision, on their device."""
        return torch.zeros(shape, dtype=self.params[0].dtype, device=self.device)

    def values(self, loss: Loss, batch: Any) -> Terms:
        """The terms of the loss, without a graph. Cost b/3."""
        self.cost += len(batch) * (1 / 3 + extra_passes(loss))
        with torch.no_grad(), self.precision():
            found = [(loss(self.model, part.batch).detach(), part.counts) for part in self.parts(batch)]
        # of a stand-in no row is kept: it is there for the shape
        return self.group.gather(Terms.joined([terms if counts else terms.none() for terms, counts in found]))

    def evaluate(self, loss: Loss, batch: Any) -> Evaluation:
        """The loss now, its gradient on request. Cost b/3, and 2b/3 for the gradient.

        In several parts the gradient is taken at once (b): to keep every part's graph would cost the memory that
        parts save.
        """
        parts = self.parts(batch)
        if len(parts) > 1:
            self.spend(parts, 1, loss)
            return Known(*self.gradient(loss, parts))
        self.spend(parts, 1 / 3, loss)
        return Pending(self, loss, parts[0])

    def grad(self, loss: Loss, batch: Any) -> tuple[float, Vector]:
        """The mean loss and its gradient. Cost b."""
        point = self.evaluate(loss, batch)
        return point.value, point.grad()

    def gradient(self, loss: Loss, parts: Sequence[Part], full: bool = False) -> tuple[float, Vector]:
        """Σ wv / Σ w over parts and ranks, and its gradient; not counted here."""
        if len(parts) == 1:
            return Pending(self, loss, parts[0], full).both()
        sums, one, total = self.zeros(2), self.zeros(()) + 1, None
        for part in parts:
            with self.precision(full):
                value, weight = part.sums(loss, self.model)
            sums += torch.stack([value.detach(), weight])
            found = self.group.gradient(value, self.params, one)
            if total is None:
                total = found
            else:
                torch._foreach_add_(total, found)
        assert total is not None
        sums = self.group.total(sums)
        torch._foreach_div_(total, float(sums[1]))
        return float(sums[0] / sums[1]), total

    def linearize(
        self, loss: Loss, batch: Any, slot: str, again: bool = False, light: bool = False
    ) -> Linearization:
        """Value, gradient and Hessian-vector products.

        Cost b, and a product 2b (light 3b; forward differences b).
        """
        parts, exact = self.parts(batch), self.products == "exact"
        if exact:
            self._looked.differentiable(loss, parts[0], slot)
        if not exact or (again and self.outer == "differences"):
            activations = self._looked.kinked(loss, parts[0], slot)
            parts = [replace(part, held=Held(activations)) for part in parts]
        if exact:
            return Exact(self, loss, parts, again and self.outer == "exact", light)
        return Differenced(self, loss, parts, slot, self.scheme, again)

    def directional(self, field: Field, v: Vector, at: Vector, work: float) -> Vector:
        """J v of a gradient field: exactly (reverse mode through all that made `at`) or by differences."""
        if self.outer == "exact":
            self.cost += 2 * work
            # every rank differentiates the same field once, so each brings 1/size of it
            seeds = vectors.scale(1 / self.group.size, v)
            with self.exactly():
                found = torch.autograd.grad(at, self.params, grad_outputs=seeds, materialize_grads=True)
            return self.group.sum(list(found))
        if self.products == "differences":
            return self.steps.difference(field, v, at, "outer", scheme="central", place="outside")
        scheme: Scheme = "forward" if self.scheme == "auto" else self.scheme  # 3e-2 is what is asked of it
        return self.steps.difference(field, v, at, "outer", scheme=scheme)

    def move(self, alpha: float, v: Vector) -> None:
        """θ ← θ + αv, in place."""
        vectors.move(self.params, alpha, v)

    def state(self) -> dict[str, Any]:
        """Plain data that a resumed run needs to go on exactly: the cost so far and the remembered steps."""
        steps = self.steps
        return {
            "cost": self.cost,
            "steps": dict(steps.relative),
            "tried": {slot: tuple(trial) for slot, trial in steps.tried.items()},
            "scale": steps.scale,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a saved `state`."""
        self.cost = state["cost"]
        self.steps.relative = dict(state["steps"])
        self.steps.tried = {slot: Trial(*trial) for slot, trial in state.get("tried", {}).items()}
        self.steps.scale = state.get("scale", self.steps.scale)
