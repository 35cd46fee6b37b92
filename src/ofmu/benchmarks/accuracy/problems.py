"""Networks of every kind, so small that their Hessians can be written down, each with a loss and two batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from ...core.terms import Loss
from ...engine.language import TINY_LLAMA, Attention, from_scratch
from ...losses import class_nll, token_nll
from ...tasks import Batch, TensorSamples
from ..cost.workloads import adapted
from ..parallel.runs import answers

WORDS = 32  # the vocabulary
TINY = {
    **TINY_LLAMA,
    "vocab_size": WORDS,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}


@dataclass(frozen=True)
class Problem:
    """A network with D_f and D_r of one batch each."""

    model: nn.Module
    loss: Loss
    forget: Batch
    retain: Batch

    @property
    def params(self) -> list[Tensor]:
        """What is trained."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def double(self) -> Problem:
        """In float64 (the module itself is converted)."""
        return replace(self, model=self.model.double(), forget=double(self.forget), retain=double(self.retain))


def double(batch: Batch) -> Batch:
    """Its images in float64."""
    inputs = {k: v.double() if v.is_floating_point() else v for k, v in batch.inputs.items()}
    return replace(batch, inputs=inputs)


class Words(nn.Module):
    """A causal language model in the parameters' precision throughout (transformers' Llama has float32 inside)."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.embedding = nn.Embedding(WORDS, 6)
            self.blocks = nn.ModuleList(
                [nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 6)) for _ in range(2)]
            )
            self.head = nn.Linear(6, WORDS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, use_cache: bool) -> CausalLMOutput:
        """Logits from the mean of the embeddings so far."""
        hidden = self.embedding(input_ids) * attention_mask[..., None]
        for block in self.blocks:
            seen = hidden.cumsum(1) / torch.arange(1, hidden.shape[1] + 1)[:, None].to(hidden)
            hidden = hidden + block(seen)
        return CausalLMOutput(logits=self.head(hidden))


def mlp(seed: int = 0) -> nn.Module:
    """Tanh between two layers, 51 parameters."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def cnn(act: type[nn.Module] = nn.SiLU, pool: type[nn.Module] = nn.AvgPool2d) -> nn.Module:
    """A convolution, BatchNorm on running statistics, and a pool, on images of two by two."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)),
        nn.Conv2d(1, 3, 2, padding=1),
        nn.BatchNorm2d(3),
        act(),
        pool(2, stride=1),
        nn.Flatten(),
        nn.Linear(12, 3),
    )
    with torch.no_grad():
        net(torch.randn(32, 4))  # running statistics worth having
    return net.eval()


def llama(attention: Attention, adapter: bool = False) -> nn.Module:
    """A Llama of one block and a thousand parameters, in full or under an adapter of rank 2."""
    net = from_scratch(TINY, 0, attention)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2.0)  # away from uniform predictions, where nothing bends; at 3 LoRA's outer product is
            # conditioned so badly that its float32 error is 2e-6 to 3e-5 by the processor's instructions
    torch.manual_seed(1)
    return (adapted(net, 2, 0.05) if adapter else net).eval()


NETS: Mapping[str, Callable[[], nn.Module]] = {
    "MLP, tanh": mlp,
    "CNN, BatchNorm, SiLU": cnn,
    "CNN, BatchNorm, ReLU, max-pool": lambda: cnn(nn.ReLU, nn.MaxPool2d),
    "Llama, eager": lambda: llama("eager"),
    "Llama, SDPA": lambda: llama("sdpa"),
    "LoRA, rank 2": lambda: llama("eager", adapter=True),
    "words": Words,
}
IMAGES = ("MLP, tanh", "CNN, BatchNorm, SiLU", "CNN, BatchNorm, ReLU, max-pool")
DOUBLE = (*IMAGES, "words")  # in float64 throughout: a Llama's norms and rotary embedding are float32


def problem(name: str) -> Problem:
    """The network of that name in float32, with 5 and 9 images or 3 and 4 answers of unlike lengths."""
    if name in IMAGES:
        return Problem(NETS[name](), class_nll, _images(5, 1), _images(9, 2))
    forget, retain = (answers(n, seed, WORDS).batch(range(n)) for n, seed in ((3, 1), (4, 2)))
    return Problem(NETS[name](), token_nll, forget, retain)


def _images(n: int, seed: int) -> Batch:
    g = torch.Generator().manual_seed(seed)
    pixels, labels = torch.randn(n, 4, generator=g), torch.randint(0, 3, (n,), generator=g)
    return TensorSamples(pixels, labels, [f"{seed}/{i}" for i in range(n)]).batch(range(n))
