"""A language model of which only the last blocks are trained, cut in two: the frozen part's output is kept.

Training, unlearning and measuring then pass through the upper part alone, a third of the work, with the very
numbers of the whole model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Module

from ..data.encode import TextSamples
from ..engine.hashing import ids_fingerprint
from ..engine.store import Store
from ..tasks import Batch, batches


@dataclass(frozen=True)
class Halves:
    """The pretrained model, and how many of its last blocks (with the norm after them) are trained.

    key: what the lower part is, for the store: it never changes.
    """

    base: Module
    k: int
    key: Mapping[str, Any]

    def top(self, state: Mapping[str, Tensor] | None = None) -> Module:
        """A new upper part: the base's, or with these trained weights; what is trained requires gradients."""
        top: Any = copy.deepcopy(self.base).requires_grad_(False)
        top.model.layers = top.model.layers[-self.k :]
        for part in (top.model.layers, top.model.norm):
            part.requires_grad_(True)
        if state is not None:
            top.load_state_dict(state, strict=False)
        return top.eval()

    def whole(self, top: Module) -> Module:
        """The whole model with this upper part: a copy, with nothing marked as trained."""
        whole: Any = copy.deepcopy(self.base)
        upper: Any = copy.deepcopy(top)
        whole.model.layers = nn.ModuleList([*whole.model.layers[: -self.k], *upper.model.layers])
        whole.model.norm = upper.model.norm
        return whole.eval().requires_grad_(False)

    def samples(self, samples: TextSamples, store: Store) -> TopSamples:
        """The same samples, as the upper part sees them; made once."""
        from safetensors.torch import load_file, save_file

        def make(folder: Path) -> None:
            states = self._lower(samples)
            save_file({str(row): state for row, state in enumerate(states)}, folder / "states.safetensors")

        answers = ids_fingerprint([samples.records[row].completion for row in range(len(samples))])
        ids = ids_fingerprint(samples.ids)
        parts = {"made": "tofu lower states", "k": self.k, "ids": ids, "answers": answers, **self.key}
        states = load_file(store.get_or_make(parts, make, note="lower states") / "states.safetensors")
        return TopSamples(samples, [states[str(row)] for row in range(len(samples))])

    @torch.no_grad()
    def _lower(self, samples: TextSamples) -> list[Tensor]:
        low: Any = copy.deepcopy(self.base).eval()
        low.model.layers = low.model.layers[: -self.k]
        low.model.norm = nn.Identity()
        states: dict[int, Tensor] = {}
        for rows in batches(samples, 8):
            inputs = samples.batch(rows).inputs
            out = low.model(**inputs, use_cache=False).last_hidden_state
            for row, state, mask in zip(rows, out, inputs["attention_mask"], strict=True):
                states[row] = state[: int(mask.sum())].clone()
        return [states[row] for row in range(len(samples))]


@dataclass(frozen=True)
class TopSamples:
    """Samples for an upper part: inputs_embeds [b, t, d] in place of the token ids."""

    samples: TextSamples
    states: Sequence[Tensor]

    @property
    def ids(self) -> Sequence[str]:
        """The records' ids."""
        return self.samples.ids

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, rows: Sequence[int]) -> Batch:
        """As `TextSamples.batch`, with the kept states (padding is zero, and masked)."""
        batch = self.samples.batch(rows)
        embedded = nn.utils.rnn.pad_sequence([self.states[int(row)] for row in rows], batch_first=True)
        inputs = {"inputs_embeds": embedded, "attention_mask": batch.inputs["attention_mask"]}
        return Batch(batch.rows, inputs, batch.labels)

    def length(self, row: int) -> int:
        """As `TextSamples.length`."""
        return self.samples.length(row)
