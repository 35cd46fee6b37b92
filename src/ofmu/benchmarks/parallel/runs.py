"""The same few outer iterations on one process and on all: what is run, and how far apart they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module

from ...core.protocols import Products, Scheme
from ...engine.language import TINY_LLAMA, from_scratch
from ...engine.launched import Parallel, Processes
from ...engine.loop import unlearn
from ...engine.networks import CNN, CNNConfig
from ...engine.parallel import parallel_oracle
from ...engine.shard import shard
from ...losses import BASE_LOSSES
from ...methods import OFMU
from ...tasks import IGNORE, Batch, Method, Stream, Targets, Task, TensorSamples

STEPS = 3
VOCABULARY = 64


@dataclass(frozen=True)
class Run:
    """What runs how: micro is the most samples that are run together, 0 for the whole share."""

    model: str
    engine: Parallel
    products: Products
    scheme: Scheme
    micro: int
    dtype: torch.dtype

    @property
    def derivatives(self) -> str:
        """In words."""
        return self.products if self.products == "exact" else f"differences, {self.scheme}"

    @property
    def mark(self) -> float:
        """The largest distance that is allowed."""
        if self.dtype == torch.float64:
            return 1e-7
        return 1e-5 if self.products == "exact" else 1e-3


@dataclass
class Answers:
    """Questions with answers of unlike lengths, padded on the right: processes' shares differ in tokens too."""

    rows: list[list[int]]
    prompts: list[int]
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    def length(self, row: int) -> int:
        """In tokens."""
        return len(self.rows[row])

    def batch(self, rows: Sequence[int]) -> Batch:
        """The samples at `rows`."""
        chosen = [torch.tensor(self.rows[row]) for row in rows]
        tokens = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(x) for x in chosen], batch_first=True)
        labels = tokens.masked_fill(mask == 0, IGNORE)
        for i, row in enumerate(rows):
            labels[i, : self.prompts[row]] = IGNORE
        return Batch(torch.as_tensor(list(rows)), {"input_ids": tokens, "attention_mask": mask}, labels)


def answers(n: int, seed: int, vocabulary: int = VOCABULARY) -> Answers:
    """Random questions of 2 to 4 tokens with answers of 1 to 5."""
    g = torch.Generator().manual_seed(seed)
    prompts = torch.randint(2, 5, (n,), generator=g).tolist()
    replies = torch.randint(1, 6, (n,), generator=g).tolist()
    rows = [
        torch.randint(3, vocabulary, (p + a,), generator=g).tolist() for p, a in zip(prompts, replies, strict=True)
    ]
    return Answers(rows, prompts, [f"{seed}/{i}" for i in range(n)])


def _cnn() -> Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CNN(CNNConfig(4, 1, 8, (4, 8), 16, "silu"))


def _llama() -> Module:
    shape = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 32}
    return from_scratch({**TINY_LLAMA, **shape, **heads}, 0, "eager")


def _image_task(dtype: torch.dtype) -> Task:
    """Forget batches of 5, 5 and 1: an uneven share, and a process that has none."""
    parts = []
    for n, seed in ((11, 1), (21, 2)):
        g = torch.Generator().manual_seed(seed)
        pixels, labels = torch.randn(n, 1, 8, 8, generator=g), torch.randint(0, 4, (n,), generator=g)
        parts.append(TensorSamples(pixels.to(dtype), labels, [f"{seed}/{i}" for i in range(n)]))
    targets = Targets([torch.tensor(1.6 + 0.1 * i) for i in range(11)], "given")
    streams = Stream(parts[0], 1), Stream(parts[1], 2)
    return Task("image", BASE_LOSSES["image"], *streams, targets, retain_level=1.4, forget_batch=5, retain_batch=7)


def _text_task(dtype: torch.dtype) -> Task:
    """Forget batches of 3, 3 and 1, answers of 1 to 5 tokens."""
    streams = Stream(answers(7, 1), 1), Stream(answers(11, 2), 2)
    targets = Targets([torch.tensor(5.0)] * 7, "given")
    return Task("text", BASE_LOSSES["text"], *streams, targets, retain_level=4.2, forget_batch=3, retain_batch=5)


MODELS: dict[str, tuple[Callable[[], Module], Callable[[torch.dtype], Task]]] = {
    "CNN, SiLU": (_cnn, _image_task),
    "Llama": (_llama, _text_task),
}
METHOD = OFMU.paper(inner_steps=2, inner_lr=0.05, outer_lr=0.05, rho=0.1)
KINDS: tuple[tuple[Parallel, Products, Scheme, int], ...] = (  # the last: samples run together
    ("ddp", "exact", "central", 0),
    ("ddp", "exact", "central", 2),
    ("ddp", "differences", "central", 0),
    ("ddp", "differences", "auto", 2),
    ("fsdp2", "differences", "central", 0),
    ("fsdp2", "differences", "central", 2),
    ("fsdp2", "differences", "auto", 0),
)
# transformers computes Llama's norms and rotary embedding in float32, whatever its parameters are
DTYPES = {"CNN, SiLU": (torch.float32, torch.float64), "Llama": (torch.float32,)}


def runs() -> list[Run]:
    """Every engine, its derivatives, whole shares and accumulated ones, in each precision that means anything."""
    return [Run(model, *kind, dtype) for model, dtypes in DTYPES.items() for kind in KINDS for dtype in dtypes]


def moved(
    module: Module,
    task: Task,
    method: Method,
    processes: Processes,
    engine: Parallel,
    products: Products,
    scheme: Scheme = "central",
    micro: int | None = None,
    steps: int = STEPS,
) -> tuple[Tensor, Tensor]:
    """(θ₀, θ), whole and flat, of `steps` outer iterations; engine "none": this process alone does it all."""
    start = _flat([p for p in module.parameters() if p.requires_grad])
    if engine == "fsdp2":
        shard(module, processes)
    oracle = parallel_oracle(
        module, processes, engine, products=products, outer=products, scheme=scheme, micro=micro
    )
    taken = [event.step for event in unlearn(task, method, oracle, steps)]
    if len(taken) != steps:
        raise RuntimeError(f"parallel: {len(taken)} steps were taken, expected {steps}")
    return start, _flat([p.full_tensor() if hasattr(p, "full_tensor") else p for p in oracle.params])


def _flat(v: Sequence[Tensor]) -> Tensor:
    return torch.cat([x.detach().reshape(-1) for x in v])


def distance(run: Run, processes: Processes) -> float:
    """‖θ(all processes) − θ(one)‖ / ‖θ(one) − θ₀‖; the single process runs every batch at once."""
    make, given = MODELS[run.model]

    def end(engine: Parallel, micro: int | None) -> tuple[Tensor, Tensor]:
        module, task = make().to(run.dtype), given(run.dtype)
        return moved(module, task, METHOD, processes, engine, run.products, run.scheme, micro)

    start, one = end("none", None)
    _, many = end(run.engine, run.micro or None)
    return float((many - one).norm() / (one - start).norm())
