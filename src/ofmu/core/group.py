"""Over whom a batch's sums are taken: the ranks of a process group, and the micro-batches of one rank.

Every rank is handed the same, whole batch and works on its own share of it, part by part; what comes back to a
method is of the whole batch again. A loss is Σ wv / Σ w with both sums over the whole batch, so shares and parts
may be uneven. Sharded *parameters* need nothing here: a sharded tensor knows its own mesh (`core.vectors`).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Module

from .kinks import Held
from .terms import Loss, Terms
from .vectors import Vector, owned


class Group(Protocol):
    """`size` processes that call the oracle alike, this one being `rank`."""

    @property
    def rank(self) -> int:
        """Which share is ours, 0 ≤ rank < size."""
        ...

    @property
    def size(self) -> int:
        """How many shares there are."""
        ...

    def total(self, sums: Tensor) -> Tensor:
        """Σ over ranks of a small tensor (Σ wv and Σ w); no graph."""
        ...

    def gather(self, terms: Terms) -> Terms:
        """The terms of the whole batch, in the order of the ranks (`Terms.joined`); no graph."""
        ...

    def gradient(self, value: Tensor, params: Vector, seed: Tensor) -> Vector:
        """Σ over ranks of seed · ∂value/∂θ, in memory of its own; frees the graph.

        The one place that runs a first-order backward.
        """
        ...

    def sum(self, v: Vector) -> Vector:
        """Σ over ranks of every rank's v; differentiable: the backward of this all-reduce is an all-reduce."""
        ...


@dataclass(frozen=True)
class Alone:
    """One process: every sum is its own."""

    rank: int = 0
    size: int = 1

    def total(self, sums: Tensor) -> Tensor:
        """Itself."""
        return sums

    def gather(self, terms: Terms) -> Terms:
        """Themselves."""
        return terms

    def gradient(self, value: Tensor, params: Vector, seed: Tensor) -> Vector:
        """Seed · ∂value/∂θ."""
        return owned(torch.autograd.grad(value, params, grad_outputs=seed, materialize_grads=True))

    def sum(self, v: Vector) -> Vector:
        """Itself."""
        return v


FEW = 2  # samples; by the statistics of a batch of one nothing can be normalised


@dataclass(frozen=True)
class Part:
    """A few samples that are run together.

    of: how many samples the whole batch has. counts: False for a stand-in, run to keep step with other ranks.
    held: the branches that were chosen at θ, where the part will be run at θ + εv as well.
    """

    batch: Any
    of: int
    counts: bool = True
    held: Held | None = None

    def few(self) -> Part:
        """What suffices to see what the model does: `FEW` samples, all that counts."""
        found = self.batch[:FEW]
        return Part(found, len(found))

    def sums(self, loss: Loss, model: Module) -> tuple[Tensor, Tensor]:
        """(Σ wv, Σ w), scalars; the first with its graph."""
        with self.held or nullcontext():
            value, weight = loss(model, self.batch).sums()
        return (value, weight.detach()) if self.counts else (0 * value, torch.zeros_like(weight))


def split(batch: Any, group: Group, micro: int | None) -> list[Part]:
    """Our share of `batch` in parts of at most `micro` samples (None: one part).

    Every rank has the same number of parts (collectives must meet); one with nothing left runs a sample that does
    not count. A batch needs len() and slices.
    """
    n = len(batch)
    start, stop = n * group.rank // group.size, n * (group.rank + 1) // group.size
    largest = -(-n // group.size)
    size = min(micro or largest, largest)
    cuts = [(at, min(at + size, stop)) for at in range(start, start + largest, size)]
    if cuts == [(0, n)]:
        return [Part(batch, n)]
    return [Part(batch[a:b], n) if a < b else Part(batch[:1], n, counts=False) for a, b in cuts]
