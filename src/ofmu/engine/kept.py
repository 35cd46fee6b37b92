"""Where only the last layers of an image classifier are trained, what the frozen ones put out is computed once.

The image form of `engine.upper`, for any module (`engine.upper_image`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from ..errors import UserError
from ..losses import class_logits
from ..tasks import Batch, Samples, TensorSamples
from .measuring import evaluating
from .upper import CLOSE, MOST_BYTES
from .upper_image import Upper, pixel_batch

LOOKED = 5  # samples on which the cut is made: a number that no other dimension is likely to have
REMEDY = "train all layers (reinit-k instead of head-k), or choose another number of layers"


def frozen_parts(module: Module) -> Iterator[Module]:
    """The largest modules all of whose parameters are frozen, first to last."""
    for child in module.children():
        params = list(child.parameters())
        if params and not any(p.requires_grad for p in params):
            yield child
        elif params:
            yield from frozen_parts(child)


def cut_below(model: Module, samples: Samples) -> tuple[Upper, TensorSamples]:
    """(the upper part of `model`, `samples` as it reads them), for a model whose lower layers are frozen.

    The frozen part runs in evaluation mode, once a sample: dropout in it is off, its running statistics stay.
    Raises UserError as `cut` does.
    """
    upper = cut(model, samples)
    return upper, kept_outputs(model, upper, samples)


def cut(model: Module, samples: Samples) -> Upper:
    """The upper part of `model`, whose lower layers are frozen; it shares the model's weights.

    Raises UserError where the upper part is not exact, as for a frozen module that is called more than once, one
    whose output mixes samples, and an image that is used beside the frozen layers; where nothing is frozen; and
    where the features of `samples` take more than 2 GiB.
    """
    parts = list(frozen_parts(model))
    if not parts:
        raise UserError(f"kept outputs: no layer of {type(model).__name__} is frozen; {REMEDY}")
    batch = samples.batch(range(min(LOOKED, len(samples)))).to(_device(model))
    with evaluating(model):
        upper = Upper(model, _outputs(model, parts, batch), batch.inputs["pixel_values"]).eval()
        numbers = sum(upper.sizes)
        if 4 * numbers * len(samples) > MOST_BYTES:
            raise UserError(f"kept outputs: {len(samples):,} × {numbers:,} numbers are over 2 GiB; {REMEDY}")
        if not _exact(model, upper, parts, samples):
            raise UserError(
                f"kept outputs: {type(model).__name__} needs more than its frozen layers' output; {REMEDY}"
            )
        return upper


def _exact(model: Module, upper: Upper, parts: Sequence[Module], samples: Samples) -> bool:
    """On a sample that was not looked at, alone: what depends on the batch or on other samples is found out."""
    batch = samples.batch([len(samples) - 1]).to(_device(model))
    whole, outputs = class_logits(model, batch), _outputs(model, parts, batch)
    try:
        ours = class_logits(upper, pixel_batch(upper.features(outputs)))
    except (RuntimeError, ValueError, IndexError):  # shapes that do not fit
        return False
    return bool((ours - whole).norm() <= CLOSE * (whole - whole.mean()).norm())


def _outputs(model: Module, parts: Sequence[Module], batch: Batch) -> dict[Module, Any]:
    """What every part gives out."""
    seen: dict[Module, Any] = {}

    def hook(part: Module, _: Any, output: Any) -> None:
        if part in seen:
            raise UserError(f"kept outputs: a frozen {type(part).__name__} is called twice; {REMEDY}")
        seen[part] = output

    with ExitStack() as hooks:
        for part in parts:
            hooks.callback(part.register_forward_hook(hook).remove)
        class_logits(model, batch)
    if len(seen) < len(parts):
        raise UserError(f"kept outputs: {len(parts) - len(seen)} frozen modules are never called; {REMEDY}")
    return seen


def kept_outputs(model: Module, upper: Upper, samples: Samples, size: int = 256) -> TensorSamples:
    """Samples as `upper`, the upper part of `model` by `cut`, reads them."""
    features, labels = _room(upper, len(samples)), torch.empty(len(samples), dtype=torch.int64)
    with evaluating(model):
        for start in range(0, len(samples), size):
            rows = slice(start, min(start + size, len(samples)))
            batch = samples.batch(range(rows.start, rows.stop))
            features[rows] = upper.features(_reached(model, upper, batch.to(_device(model)))).cpu()
            labels[rows] = batch.labels
    return TensorSamples(features, labels, list(samples.ids))


@dataclass
class KeptLater:
    """Samples as the upper part reads them, where each is put through the lower part when it is first asked for.

    done: how many have been, so that what is left early is not paid for whole.
    """

    model: Module
    upper: Upper
    samples: Samples
    done: int = 0

    def __post_init__(self) -> None:
        self._features = _room(self.upper, len(self.samples))
        self._there = torch.zeros(len(self.samples), dtype=torch.bool)

    @property
    def ids(self) -> Sequence[str]:
        """The stable id of every row."""
        return self.samples.ids

    def __len__(self) -> int:
        return len(self.samples)

    def length(self, row: int) -> int:
        """As of the samples themselves."""
        return self.samples.length(row)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The samples at `rows`, in that order."""
        batch = self.samples.batch(rows)
        index = torch.as_tensor(rows, dtype=torch.int64)
        missing = (~self._there[index]).nonzero().flatten().tolist()
        if missing:
            new = self.samples.batch([int(index[i]) for i in missing])
            with evaluating(self.model):
                found = self.upper.features(_reached(self.model, self.upper, new.to(_device(self.model))))
            self._features[index[missing]] = found.cpu()
            self._there[index[missing]] = True
            self.done += len(missing)
        return Batch(index, {"pixel_values": self._features[index]}, batch.labels)


def _room(upper: Upper, n: int) -> Tensor:
    return torch.empty(n, sum(upper.sizes), dtype=next(upper.parameters()).dtype)


class _Done(Exception):  # noqa: N818  ends a pass once every needed part is through
    pass


def _reached(model: Module, upper: Upper, batch: Batch) -> dict[Module, Any]:
    """What the needed parts give out; the pass ends with the last of them."""
    seen: dict[Module, Any] = {}
    needed = {kept.part for kept, _ in upper.needed}

    def hook(part: Module, _: Any, output: Any) -> None:
        seen[part] = output
        if len(seen) == len(needed):
            raise _Done

    with ExitStack() as hooks:
        for part in needed:
            hooks.callback(part.register_forward_hook(hook).remove)
        with suppress(_Done):
            class_logits(model, batch)
    return seen


def _device(model: Module) -> torch.device:
    return next(model.parameters()).device
