"""A walk over a data set that comes back to what is not learnt yet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .stream import Cursor, Stream


@dataclass
class HardStream(Stream):
    """The first epoch is of all samples, every later one of the `share` whose losses were largest when last met.

    What a short training lacks is what it has not fitted, and a sample that is fitted has next to no gradient. The
    losses come from the training itself (`saw`) and cost nothing. share: in (0, 1], rounded up to whole batches;
    with 1 it walks as a `Stream`. It cannot be set back to a cursor, which holds no losses: `seek` raises
    ValueError. Like Loshchilov and Hutter, "Online batch selection for faster training of neural networks" (2015),
    arXiv 1511.06343, which draws by the rank of such losses.
    """

    share: float = 1.0
    losses: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise ValueError(f"share: found {self.share}, expected a number in (0, 1]")
        self.losses = torch.full((len(self.samples),), math.inf)

    def saw(self, rows: Tensor, losses: Callable[[], Tensor]) -> None:
        """Remember the losses of a batch's rows, from before the step that it made."""
        self.losses[rows] = losses().detach().float().cpu()

    def seek(self, cursor: Cursor) -> None:
        """Raises ValueError."""
        raise ValueError("a stream that depends on losses cannot be set back to a cursor")

    @property
    def _size(self) -> int:
        return super()._size if self._order is None else len(self._order)

    def _epoch_rows(self) -> Sequence[int]:
        if self.epoch == 0 or self.share == 1:
            return super()._epoch_rows()
        n, batch = len(self.samples), max(1, self.group)
        most = min(n, batch * math.ceil(self.share * n / batch))
        found: list[int] = self.losses.topk(most).indices.sort().values.tolist()
        return found
