"""Samples, and batches of them: every sample has a stable id, and inside one data set a *row*, its position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

IGNORE = -100  # the label of a token that carries no loss (the convention of torch and transformers)


@dataclass(frozen=True)
class Batch:
    """A few samples of one data set.

    rows: int64 [b], positions in the data set. inputs: tensors by the name of the model's argument
    ("pixel_values", or "input_ids" and "attention_mask"). labels: int64 [b] classes, or [b, t] token ids that
    are aligned with the inputs (not shifted) and `IGNORE` where there is no loss.
    """

    rows: Tensor
    inputs: Mapping[str, Tensor]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Batch:
        """Some of its samples, as a batch."""
        inputs = {name: value[part] for name, value in self.inputs.items()}
        return Batch(self.rows[part], inputs, self.labels[part])

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device` (rows stay where they are: they index tables in host memory)."""
        if self.labels.device == device:
            return self
        moved = {name: value.to(device) for name, value in self.inputs.items()}
        return replace(self, inputs=moved, labels=self.labels.to(device))


class Samples(Protocol):
    """A finite data set that makes batches of chosen rows; it may live on disk."""

    @property
    def ids(self) -> Sequence[str]:
        """The stable id of every row."""
        ...

    def __len__(self) -> int: ...

    def batch(self, rows: Sequence[int]) -> Batch:
        """The samples at `rows`, in that order."""
        ...

    def length(self, row: int) -> int:
        """About how long a sample is (tokens or bytes; 1 for an image): batches group similar lengths."""
        ...


@dataclass
class TensorSamples:
    """A data set in memory: images [n, c, h, w] (or any inputs) and classes [n]."""

    pixels: Tensor
    labels: Tensor
    ids: Sequence[str]

    def __post_init__(self) -> None:
        if not len(self.pixels) == len(self.labels) == len(self.ids):
            raise ValueError(
                f"pixels, labels and ids must have one length, found {len(self.pixels)}, {len(self.labels)} "
                f"and {len(self.ids)}"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The samples at `rows`, in that order."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        return Batch(index, {"pixel_values": self.pixels[index]}, self.labels[index])

    def length(self, row: int) -> int:
        """Every image is as long as another."""
        return 1

    def subset(self, rows: Sequence[int]) -> TensorSamples:
        """The samples at `rows` as a data set of their own."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        return TensorSamples(self.pixels[index], self.labels[index], [self.ids[int(i)] for i in index])


def batches(samples: Samples, size: int) -> list[list[int]]:
    """All rows once, in groups of `size` of similar length: the order in which a data set is measured."""
    order = sorted(range(len(samples)), key=samples.length)
    return [order[start : start + size] for start in range(0, len(order), size)]
