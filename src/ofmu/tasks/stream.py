"""An endless walk over a data set that can be set back to where it stood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .samples import Batch, Samples

Cursor = tuple[int, int, int]  # where a stream stands: epoch, position, group


@dataclass
class Stream:
    """An endless, seeded, shuffled walk over a data set; where it stands is three integers.

    Each epoch is a permutation drawn from (seed, epoch, group) alone, so a stream set back to a saved cursor goes
    on with exactly the batches it would have given. Batches group samples of similar length within a window, so
    that text is padded little; a last batch shorter than `n` closes an epoch. group: the first batch size asked
    for in the epoch; later ones may differ, and every sample still comes once.
    """

    samples: Samples
    seed: int
    epoch: int = 0
    position: int = 0
    group: int = 0
    _order: list[int] | None = field(default=None, repr=False, compare=False)

    WINDOW = 16  # batches whose samples are sorted by length together

    def __post_init__(self) -> None:
        if len(self.samples) == 0:
            raise ValueError("stream: the data set is empty, expected at least one sample")

    def next(self, n: int) -> Batch:
        """The next min(n, what is left of the epoch) samples."""
        if n < 1:
            raise ValueError(f"stream: the batch size is {n}, expected at least 1")
        if self.position >= self._size:
            self.epoch, self.position, self._order = self.epoch + 1, 0, None
        if self.position == 0:
            self.group, self._order = n, None
        if self._order is None:
            self._order = self._epoch_order(self.group or n)
        rows = self._order[self.position : self.position + n]
        self.position += len(rows)
        return self.samples.batch(rows)

    def saw(self, rows: Tensor, losses: Callable[[], Tensor]) -> None:
        """What came of a batch, for a stream that heeds it: the losses of its rows."""

    @property
    def _size(self) -> int:
        return len(self.samples)

    def _epoch_rows(self) -> Sequence[int]:
        return range(len(self.samples))

    def _epoch_order(self, n: int) -> list[int]:
        generator = torch.Generator().manual_seed(_mix(self.seed, self.epoch))
        rows = self._epoch_rows()
        order = [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
        return _grouped(order, self.samples, n, generator)

    def cursor(self) -> Cursor:
        """Where the stream stands: (epoch, position, group)."""
        return self.epoch, self.position, self.group

    def seek(self, cursor: Cursor) -> None:
        """Go (back) to a cursor."""
        self.epoch, self.position, self.group = cursor
        self._order = None


def _mix(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch * 7_919 + 17) % (2**63)


def _grouped(order: list[int], samples: Samples, n: int, generator: torch.Generator) -> list[int]:
    """Sort by length inside windows of some batches, then shuffle the full batches of each window."""
    grouped: list[int] = []
    for start in range(0, len(order), Stream.WINDOW * n):
        window = sorted(order[start : start + Stream.WINDOW * n], key=samples.length)
        parts = [window[i : i + n] for i in range(0, len(window), n)]
        last = [parts.pop()] if parts and len(parts[-1]) < n else []
        mixed = [parts[i] for i in torch.randperm(len(parts), generator=generator).tolist()]
        grouped += [row for part in mixed + last for row in part]
    return grouped
