"""The models that costs are measured on, each with one forget and one retain batch of the same size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal

import torch
from torch import Tensor, nn

from ...core.terms import Loss
from ...engine.language import TINY_LLAMA, from_scratch
from ...engine.models import LoadedModel
from ...engine.networks import CNN, CNNConfig
from ...engine.trainable import apply_trainable
from ...losses import BASE_LOSSES
from ...tasks import Batch, Kind, Samples, Stream, Targets, Task, TensorSamples

RANK = 8


@dataclass
class Tokens:
    """Random token sequences of one length; the second half of each is the answer."""

    ids_: Tensor
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    def length(self, row: int) -> int:
        """All alike."""
        return self.ids_.shape[1]

    def batch(self, rows: Sequence[int]) -> Batch:
        """The sequences at `rows`."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        tokens = self.ids_[index]
        labels = tokens.clone()
        labels[:, : tokens.shape[1] // 2] = -100
        return Batch(index, {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}, labels)


@dataclass(frozen=True)
class Workload:
    """A model and its two data sets of one batch each. smooth: finite differences are meaningful.

    backends: those that are measured, and whether a printed iteration of each is (None: all, with the cheaper ways
    and the default recipe too).
    """

    name: str
    kind: Kind
    smooth: bool
    model: nn.Module
    forget: Samples
    retain: Samples
    backends: Mapping[str, bool] | None = None

    @property
    def params(self) -> list[Tensor]:
        """What is trained."""
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def loss(self) -> Loss:
        """Cross-entropy."""
        return BASE_LOSSES[self.kind]

    @cached_property
    def batches(self) -> tuple[Batch, Batch]:
        """All of D_f and all of D_r, made once."""
        return tuple(s.batch(range(len(s))) for s in (self.forget, self.retain))  # type: ignore[return-value]

    def task(self) -> Task:
        """A fresh task: every batch is the whole set; targets at the loss of a uniform guess."""
        size = len(self.forget)
        loss = float(self.loss(self.model, self.batches[0]).detach().mean())
        targets = Targets([torch.tensor(2.0 * loss)] * size, "given")
        streams = Stream(self.forget, 0), Stream(self.retain, 0)
        return Task(self.kind, self.loss, *streams, targets, forget_batch=size, retain_batch=size)


def cnn(
    activation: Literal["silu", "relu"], batch: int, size: int = 16, widths: tuple[int, int] = (16, 32)
) -> Workload:
    """The two-convolution network on random images."""
    torch.manual_seed(0)
    model = CNN(CNNConfig(10, 3, size, widths, 64, activation))
    forget, retain = (_images(batch, size, seed) for seed in (1, 2))
    return Workload(f"CNN, {activation}", "image", activation == "silu", model.eval(), forget, retain)


def _images(n: int, size: int, seed: int) -> TensorSamples:
    g = torch.Generator().manual_seed(seed)
    pixels, labels = torch.randn(n, 3, size, size, generator=g), torch.randint(0, 10, (n,), generator=g)
    return TensorSamples(pixels, labels, [f"{seed}/{i}" for i in range(n)])


def llama(batch: int, length: int, adapter: bool, layers: int = 4) -> Workload:
    """A Llama of a million parameters with eager attention, in full or under an adapter of rank 8."""
    model = from_scratch({**TINY_LLAMA, "num_hidden_layers": layers}, 0, "eager")
    if adapter:
        model = adapted(model, RANK, 0.02)
    forget, retain = (_tokens(batch, length, seed) for seed in (1, 2))
    name = f"Llama with LoRA {RANK}" if adapter else "Llama, eager"
    return Workload(name, "text", True, model.eval(), forget, retain)


def adapted(model: nn.Module, rank: int, std: float) -> nn.Module:
    """The model under an adapter whose B is random: at B = 0, as it is made, half of its gradients vanish."""
    module = apply_trainable(LoadedModel(model, "text", "scratch"), f"lora:{rank}").module
    with torch.no_grad():
        for name, p in module.named_parameters():
            if "lora_B" in name:
                p.normal_(0, std)
    return module


def long_llama(batch: int, length: int) -> Workload:
    """Two layers and batches so long that activations outweigh the parameters, as they do in training."""
    found = llama(batch, length, False, 2)
    backends = dict.fromkeys(("exact", "mixed", "differences, forward", "differences, auto"), True)
    return replace(found, name=f"Llama, {batch} × {length} tokens", backends=backends)


def _tokens(n: int, length: int, seed: int) -> Tokens:
    g = torch.Generator().manual_seed(seed)
    return Tokens(torch.randint(3, 2000, (n, length), generator=g), [f"{seed}/{i}" for i in range(n)])


def growing(smoke: bool) -> list[Callable[[], Workload]]:
    """A Llama trained in full, on longer and longer batches; the last one an adapter of it."""
    if smoke:
        return [lambda: llama(2, 12, False, 1)]
    shapes = [(4, 32, False), (16, 32, False), (16, 64, False), (16, 128, False), (16, 64, True)]
    return [partial(llama, batch, length, adapter, 2) for batch, length, adapter in shapes]


def workloads(smoke: bool) -> dict[str, Callable[[], Workload]]:
    """By name, made when asked for."""
    if smoke:
        return {"cnn-relu": lambda: cnn("relu", 8, 8, (2, 4)), "lora": lambda: llama(2, 12, True, 1)}
    return {
        "cnn-relu": lambda: cnn("relu", 256),
        "cnn-silu": lambda: cnn("silu", 256),
        "llama": lambda: llama(4, 32, False),
        "lora": lambda: llama(4, 32, True),
        "llama-long": lambda: long_llama(16, 128),
    }
