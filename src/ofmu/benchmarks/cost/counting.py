"""How often the model is run, forwards and backwards, however the engine phrases it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import nn


@dataclass
class Calls:
    """forwards: runs of the model. backwards: calls of autograd. sample_gradients: the oracle's own account."""

    forwards: int = 0
    backwards: int = 0


@contextmanager
def counted(model: nn.Module) -> Iterator[Calls]:
    """Counts what happens inside."""
    calls = Calls()
    grad: Callable[..., object] = torch.autograd.grad

    def forward(*_: object) -> None:
        calls.forwards += 1

    def backward(*arguments: object, **options: object) -> object:
        calls.backwards += 1
        return grad(*arguments, **options)

    handle = model.register_forward_pre_hook(forward)
    try:
        with patch("torch.autograd.grad", backward):
            yield calls
    finally:
        handle.remove()
