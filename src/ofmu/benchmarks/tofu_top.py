"""What of the pretrained model is trained; where that is the last blocks, the frozen part's output is kept.

Training, unlearning and measuring then pass through the upper part alone (`engine.upper`), a third of the work,
with the very numbers of the whole model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import Module

from ..data.encode import TextSamples
from ..engine.hashing import ids_fingerprint
from ..engine.models import LoadedModel
from ..engine.store import Store
from ..engine.trainable import apply_trainable, block_list, parse_trainable
from ..engine.upper import Cut, UpperSamples, cut_below
from ..tasks import Samples


@dataclass(frozen=True)
class Halves:
    """The pretrained model, and what of it the references train: its last blocks with the norm after them, or all.

    trained: "top:K" or "full". key: what the model and its inputs are, for the store: it never changes. cut: where
    the model falls in two; None: it passes as a whole.
    """

    base: LoadedModel
    trained: str
    key: Mapping[str, Any]
    cut: Cut | None

    @classmethod
    def of(cls, base: LoadedModel, trained: str, key: Mapping[str, Any], data: Sequence[Samples]) -> Halves:
        """Cut as `trained` says, where the upper part gives the whole model's numbers on `data`."""
        marked = apply_trainable(base, trained)
        cut = cut_below(marked.module, data)
        marked.module.requires_grad_(False)
        return cls(marked, trained, key, cut)

    def top(self, state: Mapping[str, Tensor] | None = None) -> Module:
        """A new upper part: the base's, or with these trained weights; what is trained requires gradients."""
        fresh = replace(self.base, module=copy.deepcopy(self.base.module))
        whole = apply_trainable(fresh, self.trained).module
        if state is not None:
            put(whole, {self._numbered(name, self._below): value for name, value in state.items()})
        return self.upper(whole).eval()

    def upper(self, whole: Module) -> Module:
        """The upper part of a model with this lower part; the model itself where nothing is cut."""
        upper = whole if self.cut is None else self.cut.upper(whole)
        assert upper is not None  # a copy of what was cut
        return upper

    def state(self, top: Module) -> dict[str, Tensor]:
        """What of an upper part is trained, by name; its blocks are numbered from 0."""
        trained = ((name, p) for name, p in top.named_parameters() if p.requires_grad)
        return {self._numbered(name, -self._below): p.detach().clone() for name, p in trained}

    def whole(self, top: Module) -> Module:
        """The whole model with this upper part: a copy, with nothing marked as trained."""
        whole = copy.deepcopy(self.base.module)
        put(whole, top.state_dict())
        return whole.eval().requires_grad_(False)

    def samples(self, samples: Samples, store: Store) -> Samples:
        """The same samples, as the upper part sees them; made once."""
        return samples if self.cut is None else self._upper(samples, store)

    def _upper(self, samples: Samples, store: Store) -> UpperSamples:
        from safetensors.torch import load_file, save_file

        assert self.cut is not None
        assert isinstance(samples, TextSamples)  # as this benchmark's all are
        cut = self.cut

        def make(folder: Path) -> None:
            states = cut.states(samples)
            save_file({str(row): state for row, state in enumerate(states)}, folder / "states.safetensors")

        answers = ids_fingerprint([samples.records[row].completion for row in range(len(samples))])
        ids = ids_fingerprint(samples.ids)
        k = parse_trainable(self.trained).n
        parts = {"made": "tofu lower states", "k": k, "ids": ids, "answers": answers, **self.key}
        states = load_file(store.get_or_make(parts, make, note="lower states") / "states.safetensors")
        kept = [states[str(row)] for row in range(len(samples))]
        return UpperSamples(samples, kept, partial(self._upper, store=store))

    @property
    def _below(self) -> int:
        """How many blocks are frozen."""
        chosen = parse_trainable(self.trained)
        return 0 if chosen.form == "full" else len(block_list(self.base.module)[0]) - chosen.n

    def _numbered(self, name: str, by: int) -> str:
        """The parameter's name with the number of its block moved by so many."""
        if by == 0:
            return name
        blocks = block_list(self.base.module)[0]
        start = next(place for place, part in self.base.module.named_modules() if part is blocks) + "."
        if not name.startswith(start):
            return name
        number, rest = name.removeprefix(start).split(".", 1)
        return f"{start}{int(number) + by}.{rest}"


def put(model: Module, state: Mapping[str, Tensor]) -> None:
    """Set these parameters of `model`, which must have them all; the others stay."""
    unknown = model.load_state_dict(state, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"state: {unknown[:3]} are no parameters of this model")
