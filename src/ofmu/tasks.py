"""What is to be forgotten and what is to be kept, and how a method looks: the types that all layers share.

A method sees nothing else of the world: no device, no data loader, no file. Every sample has a stable id
(see `ofmu.data`), and inside one data set a *row*, its position, by which per-sample values such as targets
are looked up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import Module

from .core.oracle import Oracle
from .core.terms import Loss

Kind = Literal["image", "text"]
# optional fields of a task, and where the run begins: "start", "head" (`engine.prepare`)
Need = Literal[
    "targets", "unseen", "confidence", "reference", "neutral", "forget_nll", "refusals", "layer", "start", "head"
]
Cursor = tuple[int, int, int]  # where a stream stands: epoch, position, group
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
        if self.position >= len(self.samples):
            self.epoch, self.position, self._order = self.epoch + 1, 0, None
        if self.position == 0:
            self.group, self._order = n, None
        if self._order is None:
            self._order = self._epoch_order(self.group or n)
        rows = self._order[self.position : self.position + n]
        self.position += len(rows)
        return self.samples.batch(rows)

    def _epoch_order(self, n: int) -> list[int]:
        generator = torch.Generator().manual_seed(_mix(self.seed, self.epoch))
        order = torch.randperm(len(self.samples), generator=generator).tolist()
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


@dataclass(frozen=True)
class Targets:
    """The loss each forget sample would have, had it never been seen: τ.

    values: one tensor per forget row, in the order of the forget samples: a scalar [] (per sample) or [m], the
    loss of each of its m answer tokens. source says in words how it was estimated; cost is what that took, in
    sample-gradients (one forward and backward pass of one sample).
    """

    values: list[Tensor]
    source: str
    cost: float = 0.0

    def __post_init__(self) -> None:
        for row, value in enumerate(self.values):
            if value.numel() == 0 or not bool(torch.isfinite(value).all()) or bool((value < 0).any()):
                raise ValueError(f"targets: row {row} has {value.tolist()}, expected finite losses ≥ 0")

    @cached_property
    def per_sample(self) -> Tensor:
        """float32 [n]: the mean target of every forget sample. Formed once."""
        return torch.stack([value.float().mean() for value in self.values])

    @cached_property
    def means(self) -> Tensor:
        """[n]: the same in the targets' own precision. Formed once."""
        return torch.stack([value.mean() for value in self.values])


@dataclass(frozen=True)
class Settled:
    """Nothing is left to forget at a start: why, and ‖θ‖ of the trained parameters there, by which it is known."""

    why: str
    size: float


@dataclass
class Task:
    """One unlearning request: the streams that a method may draw from, and what it must reach.

    loss: the base loss L(model, batch). kind picks a method's preset. targets: the unseen level of the forget
    samples (None for methods that need none). reference: the frozen original, for losses of the KL type. unseen:
    a frozen model that never saw the forget samples (the base model, or a short reference). confidence: what its
    logits are multiplied with to be as sure of wrong tokens as the original is on held-out text (1: as they are).
    neutral: held-out text, on which a model should stay as it was (None: there is none). forget_nll [n]: the
    original's mean loss of every forget sample, for losses of the NPO type. refusals: the forget questions, row
    by row, with an answer that declines, and refusal_nll [n] the original's mean loss of those, for losses of the
    DPO type. layer: the name of the module whose output representation methods steer. retain_level: the
    original's mean retain loss; unseen_level: its mean held-out loss (None where there is no held-out data);
    together they say when retention counts as repaired. settled: nothing is left to forget where the run begins, and why
    (None: something is). Batch sizes are in samples.
    """

    kind: Kind
    loss: Loss
    forget: Stream
    retain: Stream
    targets: Targets | None = None
    reference: Module | None = None
    unseen: Module | None = None
    confidence: float = 1.0
    neutral: Stream | None = None
    forget_nll: Tensor | None = None
    refusals: Samples | None = None
    refusal_nll: Tensor | None = None
    layer: str | None = None
    retain_level: float = 0.0
    unseen_level: float | None = None
    settled: Settled | None = None
    forget_batch: int = 8
    retain_batch: int = 8
    neutral_batch: int = 4

    def original_forget(self, who: str) -> Tensor:
        """`forget_nll`, or a ValueError that says who needs it."""
        if self.forget_nll is None:
            raise ValueError(f"{who}: task.forget_nll is None, expected the original's loss of each forget sample")
        return self.forget_nll

    def cursors(self) -> dict[str, Cursor]:
        """Where the streams stand, to be saved with a checkpoint."""
        streams = {"forget": self.forget, "retain": self.retain, "neutral": self.neutral}
        return {name: stream.cursor() for name, stream in streams.items() if stream is not None}

    def seek(self, cursors: Mapping[str, Cursor]) -> None:
        """Set the streams back to saved cursors."""
        self.forget.seek(cursors["forget"])
        self.retain.seek(cursors["retain"])
        if self.neutral is not None:
            self.neutral.seek(cursors["neutral"])


@dataclass(frozen=True)
class Log:
    """What one step reports. numbers: named finite floats. done: the method's own exit rule holds, and why so."""

    numbers: dict[str, float] = field(default_factory=dict)
    done: bool = False
    why: str = "the target holds"


class Method(Protocol):
    """A frozen dataclass whose fields are its hyper-parameters; what changes lives in the state it returns."""

    @property
    def needs(self) -> frozenset[Need]:
        """The optional fields of a task that the method uses."""
        ...

    def init(self, task: Task, oracle: Oracle) -> Any:
        """The state before the first step."""
        ...

    def step(self, task: Task, oracle: Oracle, state: Any) -> tuple[Any, Log]:
        """One step: parameters move through the oracle."""
        ...
