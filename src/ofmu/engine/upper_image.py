"""The trained part of an image classifier, in a form that is fed with what the frozen parts put out.

No list of blocks is needed, and a cut may pass through a block.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..losses import class_logits
from ..tasks import Batch
from .twin import twin


class Upper(Module):
    """The trained part of a classifier, fed with kept outputs; it shares the whole model's weights.

    pixel_values of `forward` are features [b, f]: the needed outputs, flattened, one beside the other.
    """

    def __init__(self, whole: Module, outputs: dict[Module, Any], image: Tensor) -> None:
        super().__init__()
        self.image = tuple(image.shape[1:])
        self.kept = [_Kept(part, output, len(image)) for part, output in outputs.items()]
        self.twin = twin(whole, {kept.part: kept.module for kept in self.kept})
        self.needed = self._used(image)
        self.shapes = [tuple(kept.leaves[i].shape[1:]) for kept, i in self.needed]
        self.sizes = [math.prod(shape) for shape in self.shapes]

    def forward(self, pixel_values: Tensor) -> Any:
        """The classifier's own output, from features."""
        b, nothing = len(pixel_values), pixel_values.new_zeros(())
        for kept in self.kept:
            for i in kept.own:
                kept.leaves[i] = nothing.expand(b, *kept.leaves[i].shape[1:])
        pieces = pixel_values.split(self.sizes, dim=1)
        for (kept, i), piece, shape in zip(self.needed, pieces, self.shapes, strict=True):
            kept.leaves[i] = piece.view(b, *shape)
        return self.twin(nothing.expand(b, *self.image))

    def features(self, outputs: dict[Module, Any]) -> Tensor:
        """[b, f] from what the parts gave out."""
        return torch.cat([kept.of(outputs[kept.part], i).flatten(1) for kept, i in self.needed], dim=1)

    def _used(self, image: Tensor) -> list[tuple[_Kept, int]]:
        """The leaves that reach the logits otherwise than through another frozen part."""
        places = [(kept, i) for kept in self.kept for i in kept.own]
        with torch.enable_grad():
            for kept, i in places:
                kept.leaves[i] = kept.leaves[i].detach().requires_grad_()
            leaves = [kept.leaves[i] for kept, i in places]
            logits = class_logits(self.twin, pixel_batch(torch.zeros_like(image)))
            found = torch.autograd.grad(logits.sum(), leaves, allow_unused=True) if leaves else ()
        return [place for place, grad in zip(places, found, strict=True) if grad is not None]


class _Kept:
    """In the place of a frozen part: gives out what the part gave, whatever it is given.

    leaves: the tensors and constants that the output is made of; own: which of them hold a row a sample.
    """

    def __init__(self, part: Module, output: Any, b: int) -> None:
        self.part = part
        self.leaves, spec = tree_flatten(output)
        self.own = [i for i, leaf in enumerate(self.leaves) if _rows(leaf) == b]
        self.module = copy.copy(part)  # its attributes stay: a forward pass may look at them
        self.module.forward = lambda *_, **__: tree_unflatten(self.leaves, spec)

    def of(self, output: Any, i: int) -> Tensor:
        """Leaf i of such an output."""
        leaf: Tensor = tree_flatten(output)[0][i]
        return leaf


def _rows(leaf: Any) -> int | None:
    return len(leaf) if isinstance(leaf, Tensor) and leaf.ndim and leaf.is_floating_point() else None


def pixel_batch(pixels: Tensor) -> Batch:
    """A batch of these inputs, for a forward pass alone: its labels mean nothing."""
    rows = torch.arange(len(pixels))
    return Batch(rows, {"pixel_values": pixels}, rows.to(pixels.device))
