"""Problems so small that every number can be worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from ofmu.engine.language import from_scratch
from ofmu.losses import BASE_LOSSES
from ofmu.tasks import IGNORE, Batch, Samples, Stream, Targets, Task, TensorSamples

LN2 = math.log(2)
LLAMA = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}


def images(n: int, seed: int, classes: int = 3, features: int = 4) -> TensorSamples:
    """n random float64 "images" with random classes."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(n, features, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (n,), generator=generator)
    return TensorSamples(pixels, labels, [f"{seed}/{i}" for i in range(n)])


def net(seed: int = 0, features: int = 4, classes: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(features, 6), nn.Tanh(), nn.Linear(6, classes)).double()


def identity(size: int = 2) -> nn.Linear:
    """Logits = pixels."""
    model = nn.Linear(size, size, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.eye(size))
    return model


class Table(nn.Module):
    """A language model whose next token depends on the current one alone: log-probabilities from a table."""

    def __init__(self, probabilities: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(probabilities, dtype=torch.float64).log())

    def forward(self, input_ids: Tensor, attention_mask: Tensor, use_cache: bool) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits[input_ids])


class Texts:
    """Token ids as (prompt, answer) pairs; padding on the right."""

    def __init__(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], width: int = 0) -> None:
        self.pairs, self.width = pairs, width
        self.ids = [str(i) for i in range(len(pairs))]

    def __len__(self) -> int:
        return len(self.pairs)

    def length(self, row: int) -> int:
        return sum(map(len, self.pairs[row]))

    def batch(self, rows: Sequence[int]) -> Batch:
        width = max(self.width, *(self.length(row) for row in rows))
        ids = torch.zeros(len(rows), width, dtype=torch.int64)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORE)
        for i, row in enumerate(rows):
            prompt, answer = self.pairs[row]
            n = len(prompt) + len(answer)
            ids[i, :n] = torch.tensor([*prompt, *answer])
            mask[i, :n] = 1
            labels[i, len(prompt) : n] = torch.tensor(answer)
        return Batch(torch.as_tensor(list(rows)), {"input_ids": ids, "attention_mask": mask}, labels)


def texts(n: int, seed: int, vocabulary: int = 32) -> Texts:
    """n random question-answer pairs of unlike lengths."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(low: int, high: int) -> list[int]:
        size = int(torch.randint(low, high, (), generator=generator))
        return torch.randint(3, vocabulary, (size,), generator=generator).tolist()

    return Texts([(tokens(2, 5), tokens(1, 6)) for _ in range(n)])


def llama(seed: int = 0) -> nn.Module:
    return from_scratch(LLAMA, seed)


def vit(layers: int = 2) -> nn.Module:
    import transformers

    config = transformers.ViTConfig(
        hidden_size=8,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=12,
        image_size=8,
        patch_size=4,
    )
    return transformers.ViTForImageClassification(config)


def disturb(module: nn.Module) -> None:
    """Give an adapter something to say: B starts at zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, p in module.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.1)


def task(
    forget: Samples, retain: Samples, targets: Sequence[float | Tensor] | None = None, **more: object
) -> Task:
    """A task for images or texts, seeded."""
    kind = "text" if isinstance(forget, Texts) else "image"
    tau = None if targets is None else Targets([torch.as_tensor(t) for t in targets], "given")
    return Task(kind, BASE_LOSSES[kind], Stream(forget, 1), Stream(retain, 2), tau, **more)  # type: ignore[arg-type]


def flat(vectors: Sequence[Tensor]) -> Tensor:
    return torch.cat([v.detach().reshape(-1) for v in vectors])


def pictures(n: int, seed: int, classes: int = 3) -> TensorSamples:
    """Vectors of six numbers that lean towards their label's."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=generator)
    pixels = torch.randn(n, 6, generator=generator) + 0.7 * nn.functional.one_hot(labels, 6)
    return TensorSamples(pixels, labels, [f"{seed}/{i}" for i in range(n)])
