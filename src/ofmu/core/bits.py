"""Yes-or-no tensors at one bit an element, and products with them.

A probe that holds its branches keeps a mask for every activation of the batch: at a byte each they are a quarter
of the activations, for both losses at once; at a bit they do not count.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Eight bytes of 0 or 1, read as one integer: its product with GATHER has the eight bits in its highest byte.
GATHER = 0x0102040810204080
SPREAD = 0x0101010101010101  # a byte, eight times over
PICK = 0x8040201008040201 - 2**64  # of the k-th copy the k-th bit


@cache
def _table(device: torch.device) -> Tensor:
    """int64 [256]: of every packed byte its eight bits, a byte each."""
    spread = torch.arange(256).mul_(SPREAD).bitwise_and_(PICK)
    return spread.view(torch.uint8).ne(0).view(torch.int64).to(device)


class Bits:
    """A mask, packed."""

    def __init__(self, mask: Tensor) -> None:
        self.shape = mask.shape
        flat = mask.detach().reshape(-1)
        rest = -flat.numel() % 8
        flat = F.pad(flat, (0, rest)) if rest else flat
        self.packed = (flat.view(torch.int64) * GATHER).view(torch.uint8)[7::8].clone()

    def values(self, dtype: torch.dtype) -> Tensor:
        """The mask as zeros and ones of `dtype`, in memory of its own."""
        device = self.packed.device
        piece = 2**14 if device.type == "cpu" else 2**20  # the bytes between do not count
        out = torch.empty(8 * self.packed.numel(), dtype=dtype, device=device)
        for packed, place in zip(self.packed.split(piece), out.split(8 * piece), strict=True):
            place.copy_(_table(device).index_select(0, packed.int()).view(torch.bool))
        return out[: self.shape.numel()].view(self.shape)


class _Masked(torch.autograd.Function):
    """X times a mask, differentiable as often as wanted, with nothing but the bits kept for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: Bits) -> Tensor:
        ctx.bits = bits
        return bits.values(x.dtype).mul_(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return masked(grad, ctx.bits), None


def masked(x: Tensor, bits: Bits) -> Tensor:
    """X where the mask is set, else 0."""
    found: Tensor = _Masked.apply(x, bits)
    return found
