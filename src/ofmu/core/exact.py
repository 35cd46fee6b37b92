"""The exact linearisation: double backward on one graph per loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import vectors
from .group import Part
from .protocols import Direction, formed
from .smooth import Closed
from .terms import Loss
from .vectors import Vector, is_nothing

if TYPE_CHECKING:
    from .oracle import TorchOracle


class Exact:
    """A loss, its gradient and H v by reverse mode over reverse mode.

    again: everything stays differentiable once more (the outer product by triple autograd). One part keeps its
    graph, so a product costs 2 gradients. Of several parts, or `light`, none does: each builds its graph anew
    for a product (3), at the memory of one part's graph, and of a gradient until then; unless all are needed
    `again`. A rank multiplies with its own share, and only sums leave it; u and w are formed from summed
    gradients (the mean of local cosines is another function).
    """

    def __init__(
        self, oracle: TorchOracle, loss: Loss, parts: list[Part], again: bool, light: bool = False
    ) -> None:
        self.work = oracle.spend(parts, 1, loss)
        self._oracle, self._loss, self._parts, self._again, self._light = oracle, loss, parts, again, light
        self._keep = again or (len(parts) == 1 and not light)
        self.graphs: list[Vector] = []  # by part, the gradient with its graph, where it is kept
        found, sums, self._seed = [], oracle.zeros(2), oracle.zeros(()) + 1
        for part in self._parts:
            value, weight = self._forward(part)
            sums += torch.stack([value.detach(), weight])
            if len(self._parts) == 1:  # Σ w is known before the gradient is taken, and can seed it
                sums = oracle.group.total(sums)
                self._seed = 1 / sums[1]
            graph = self._gradient(value, self._keep)
            found.append(graph if again else [g.detach() for g in graph])
            if self._keep:
                self.graphs.append(graph)
        if len(self._parts) > 1:
            sums = oracle.group.total(sums)
        self._scale = None if len(self._parts) == 1 else 1 / sums[1]
        self.value = float(sums[0] / sums[1])
        self.grad: Vector = self._total(found)

    def _forward(self, part: Part) -> tuple[Tensor, Tensor]:
        with self._oracle.exactly(), Closed():
            return part.sums(self._loss, self._oracle.model)

    def _gradient(self, value: Tensor, keep: bool) -> Vector:
        """The gradient of one part's sum; keep: with its graph."""
        params = self._oracle.params
        with self._oracle.exactly():
            graph = torch.autograd.grad(
                value, params, grad_outputs=self._seed, create_graph=keep, materialize_grads=True
            )
        return list(graph) if keep else vectors.owned(graph)

    def _total(self, found: list[Vector]) -> Vector:
        """Σ over parts and ranks."""
        out = found[0]
        for more in found[1:]:
            out = vectors.combine(1.0, out, 1.0, more)
        return self._oracle.group.sum(out if self._scale is None else vectors.scale(self._scale, out))

    def hvp(self, v: Direction, last: bool = False, beside: float = 0.0) -> Vector:
        """H v; last: the graph is not needed any more."""
        v = formed(v)
        if all(is_nothing(x) for x in v):
            return vectors.zeros_like(self._oracle.params)
        if not self._keep:
            self.work += self._oracle.spend(self._parts, 3, self._loss)
            graphs = (self._gradient(self._forward(part)[0], keep=True) for part in self._parts)
            return self._total([self._product(graph, v, keep=False) for graph in graphs])
        self.work += self._oracle.spend(self._parts, 2)
        keep = self._again or not last
        products = self._total([self._product(graph, v, keep) for graph in self.graphs])
        if not keep:
            self.graphs.clear()
        return products

    def here(self) -> Exact:
        """The same, with the same branches, at the parameters as they are now."""
        return Exact(self._oracle, self._loss, self._parts, self._again, self._light)

    def _product(self, graph: Vector, v: Vector, keep: bool) -> Vector:
        live = [(g, d) for g, d in zip(graph, v, strict=True) if g.requires_grad and not is_nothing(d)]
        if not live:  # a loss that is linear in the parameters (or constant) has no curvature
            return vectors.zeros_like(self._oracle.params)
        outputs, directions = zip(*live, strict=True)
        with self._oracle.exactly():
            products = torch.autograd.grad(
                outputs,
                self._oracle.params,
                grad_outputs=directions,
                retain_graph=keep,
                create_graph=self._again,
                materialize_grads=True,
            )
        return list(products) if self._again else vectors.owned(products, v)
