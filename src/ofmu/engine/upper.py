"""Where only the last blocks of a language model are trained, what the blocks below put out is computed once.

Training, unlearning and measuring then pass through the upper part alone, about half of the work where a third
of the blocks is trained, with the numbers of the whole model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Module

from ofmu.data.encode import TextSamples
from ofmu.engine.predictions import sequences
from ofmu.engine.trainable import block_list
from ofmu.engine.twin import twin
from ofmu.errors import UserError
from ofmu.losses import answer_logits
from ofmu.tasks import Batch, Samples, batches

MOST_BYTES = 2**31  # of kept states; larger data passes through the whole model
MOST_ROWS = 50_000  # beyond this, counting the tokens would itself take long
TRIED = 4  # rows on which the upper part is compared with the whole before it is used
CLOSE = 1e-4  # the largest difference of their logits, relative to the logits' own spread


class Passed(Module):
    """In the place of a frozen block: its work is in the input already."""

    def forward(self, states: Tensor, *_: Any, **__: Any) -> Tensor:
        """The states as they came."""
        return states


class _Reached(Exception):  # noqa: N818  ends a pass once the frozen blocks are through
    """Carries the states [b, t, d] that enter the first trained block."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


@dataclass(frozen=True)
class UpperSamples:
    """Samples as the upper part reads them: `inputs_embeds` [b, t, d] in the place of the token ids.

    also: makes the same of other samples, such as these questions with other answers.
    """

    samples: TextSamples
    states: Sequence[Tensor]
    also: Callable[[Samples], UpperSamples]

    @property
    def ids(self) -> Sequence[str]:
        """The stable id of every row."""
        return self.samples.ids

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, rows: Sequence[int]) -> Batch:
        """As the whole model's batch, with the kept states (padding is zero, and masked)."""
        batch = self.samples.batch(rows)
        kept = nn.utils.rnn.pad_sequence([self.states[int(row)] for row in rows], batch_first=True)
        inputs = {"inputs_embeds": kept, "attention_mask": batch.inputs["attention_mask"]}
        return Batch(batch.rows, inputs, batch.labels)

    def length(self, row: int) -> int:
        """About how long a sample is."""
        return self.samples.length(row)

    def encoded(self, row: int) -> tuple[list[int], list[int]]:
        """(input ids, labels) of a row, as the whole model reads it."""
        return self.samples.encoded(row)

    def span(self, row: int, first: int, stop: int) -> dict[str, Tensor]:
        """The kept states at places `first` … `stop` − 1 of a row, [1, stop − first, d]."""
        return {"inputs_embeds": self.states[row][None, first:stop]}


@dataclass(frozen=True)
class Cut:
    """A language model whose blocks below the `first` are frozen, with all that stands before them."""

    whole: Module
    first: int
    _kept: dict[int, UpperSamples] = field(default_factory=dict, repr=False)

    def upper(self, module: Module) -> Module | None:
        """The upper part of `module`, which shares its weights; None unless its lower part is this one's."""
        if module is not self.whole and not _alike(self._lower(self.whole), self._lower(module)):
            return None
        blocks = block_list(module)[0]
        kept = nn.ModuleList([*(Passed() for _ in blocks[: self.first]), *blocks[self.first :]])
        return twin(module, {blocks: kept})

    def samples(self, samples: Samples) -> UpperSamples:
        """The samples with their states; computed once for each data set."""
        if id(samples) not in self._kept:
            assert isinstance(samples, TextSamples)  # as all are that a model is cut for
            self._kept[id(samples)] = UpperSamples(samples, self.states(samples), self.samples)
        return self._kept[id(samples)]

    @torch.no_grad()
    def states(self, samples: Samples) -> list[Tensor]:
        """Per row, [t, d]: what enters the first trained block, computed now."""
        device = next(self.whole.parameters()).device
        states: list[Tensor] = [torch.empty(0)] * len(samples)
        for inputs, paths in sequences(self.whole, samples, 16):
            entering = self._entering(inputs)[0]
            for row, path in paths.items():
                states[row] = entering[path].cpu().clone()
        if all(len(state) for state in states):
            return states
        for rows in batches(samples, 16):
            batch = samples.batch(rows).to(device)
            mask = batch.inputs["attention_mask"]
            for row, state, length in zip(rows, self._entering(batch.inputs), mask.sum(1).tolist(), strict=True):
                states[row] = state[:length].cpu().clone()
        return states

    def _lower(self, module: Module) -> dict[str, Tensor]:
        if hasattr(module, "peft_config"):
            # its names are those of a model without an adapter
            module = module.get_base_model()  # type: ignore[operator]
        blocks = block_list(module)[0]
        above = {id(p) for block in blocks[self.first :] for p in block.parameters()}
        above |= {id(p) for after in block_list(module)[1] for p in after.parameters()}
        return {name: p for name, p in module.named_parameters() if id(p) not in above}

    def _entering(self, inputs: Mapping[str, Tensor]) -> Tensor:
        def reached(_: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            raise _Reached(inputs[0] if inputs else named["hidden_states"])

        block = block_list(self.whole)[0][self.first]
        handle = block.register_forward_pre_hook(reached, with_kwargs=True)
        try:
            self.whole(**inputs, use_cache=False)
        except _Reached as stop:
            return stop.states
        finally:
            handle.remove()
        raise RuntimeError("the model did not run its blocks")


def cut_below(module: Module, data: Sequence[Samples]) -> Cut | None:
    """Where a text model can be cut, judged on its data; None where nothing is gained, or it would not be exact.

    It is exact where the model takes `inputs_embeds` as they are; models that scale them or add positions to
    them are found out by comparing the logits of a few rows, and so pass as a whole.
    """
    try:
        blocks, after = block_list(module)
    except UserError:
        return None
    trained = [any(p.requires_grad for p in block.parameters()) for block in blocks]
    first = trained.index(True) if True in trained else 0
    cut = Cut(module, first)
    if first == 0 or any(p.requires_grad for p in cut._lower(module).values()) or _drops(module):
        return None
    width = sum(p.numel() for p in after[0].parameters()) if after else 0
    if not all(isinstance(samples, TextSamples) for samples in data) or not _fits(data, width):
        return None
    return cut if _exact(cut, data[0]) else None


def _drops(module: Module) -> bool:
    """Whether dropout is on anywhere: frozen blocks then put out something else at every step of training."""
    config = getattr(module, "config", None)
    settings = config.to_dict() if config is not None else {}
    named = (value for name, value in settings.items() if "drop" in name)
    return any(isinstance(value, float) and value > 0 for value in named)


def _fits(data: Sequence[Any], width: int) -> bool:
    if sum(map(len, data)) > MOST_ROWS:
        return False
    tokens = sum(len(samples.encoded(row)[0]) for samples in data for row in range(len(samples)))
    return tokens * width * 4 <= MOST_BYTES


@torch.no_grad()
def _exact(cut: Cut, samples: Samples) -> bool:
    rows = range(min(TRIED, len(samples)))
    batch, device = samples.batch(rows), next(cut.whole.parameters()).device
    states = cut._entering(batch.to(device).inputs)
    inputs = {"inputs_embeds": states, "attention_mask": batch.inputs["attention_mask"]}
    upper = cut.upper(cut.whole)
    assert upper is not None  # its own
    before = cut.whole.training
    cut.whole.eval()
    try:
        ours = answer_logits(upper, Batch(batch.rows, inputs, batch.labels).to(device))[0]
        whole = answer_logits(cut.whole, batch.to(device))[0]
    except (TypeError, ValueError):  # a forward that takes no inputs_embeds
        return False
    finally:
        cut.whole.train(before)
    return bool((ours - whole).norm() <= CLOSE * (whole - whole.mean()).norm())


def _alike(ours: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return ours.keys() == others.keys() and all(
        p.shape == others[name].shape and torch.equal(p, others[name].to(p)) for name, p in ours.items()
    )
