"""A loss whose gradient may never be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .group import Part
from .terms import Loss
from .vectors import Vector

if TYPE_CHECKING:
    from .oracle import TorchOracle


class Pending:
    """A loss of one part, with its graph, until its gradient is asked for; an `Evaluation`.

    value: the mean over the whole batch, all ranks together.
    """

    def __init__(self, oracle: TorchOracle, loss: Loss, part: Part, full: bool = False) -> None:
        with oracle.precision(full):
            self._sum, weight = part.sums(loss, oracle.model)
        value, weight = oracle.group.total(torch.stack([self._sum.detach(), weight]))
        self.value, self._seed = float(value / weight), 1 / weight
        self._oracle, self._part = oracle, part

    def grad(self) -> Vector:
        """The gradient. Cost 2b/3; once, since the graph is gone afterwards."""
        self._oracle.spend([self._part], 2 / 3)
        return self.both()[1]

    def both(self) -> tuple[float, Vector]:
        """(the value, its gradient), not counted."""
        return self.value, self._oracle.group.gradient(self._sum, self._oracle.params, self._seed)
