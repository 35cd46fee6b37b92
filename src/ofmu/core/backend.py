"""Which derivatives for which model: chosen by looking at it, and said in words.

| backend | ∇Φ | outer product | memory | right for |
|---|---|---|---|---|
| exact | double backward, 6 G | triple autograd, 18 G | most | what autograd can differentiate thrice |
| mixed | double backward, 6 G | forward difference, 12 G | middle | smooth, or with branches that can be held |
| mixed, streamed | the same with one graph at a time, 7 G | the same, 14 G | less | the same |
| differences | forward 4 G, central 6 G | difference of a difference, 12 or 18 G | least | the same; sharded too |

G: one gradient of the batch. The outer product's price includes its ∇Φ. Differences are forward where they keep
1e-3, as a trial shows (`core.differences`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Module

from .checks import check_model, sharded
from .graphs import checked, held_kinks
from .group import Part
from .kinks import Held
from .memory import free_memory
from .oracle import Products, Scheme, TorchOracle
from .terms import Loss
from .twice import customs, doubt

Name = Literal["exact", "mixed", "differences"]

SMALL = 5_000_000  # parameters, frozen ones included; below, accuracy costs next to nothing
# Peak memory of an outer product: so many times what a backward pass keeps, and so many vectors; about the largest
# of what was measured (benchmarks/cost.py) on CNNs with and without closed forms, a Llama and an adapter.
PEAK = {"exact": (18.0, 24), "mixed": (8.0, 15), "streamed": (4.5, 15)}


@dataclass(frozen=True)
class Backend:
    """What was chosen, and why (words for a log). The properties and `streamed` are `TorchOracle`'s arguments."""

    name: Name
    why: str
    streamed: bool = False

    @property
    def products(self) -> Products:
        """Hessian-vector products."""
        return "differences" if self.name == "differences" else "exact"

    @property
    def outer(self) -> Products:
        """Outer products."""
        return "exact" if self.name == "exact" else "differences"

    @property
    def scheme(self) -> Scheme:
        """Forward where it was seen to keep 1e-3."""
        return "auto"

    def __str__(self) -> str:
        return f"derivatives: {self.name}{', one graph at a time' if self.streamed else ''} ({self.why})"


@dataclass(frozen=True)
class Facts:
    """What decides. kept: the bytes that a backward pass of one whole batch keeps, estimated from a few samples.

    vector: the bytes of one vector of trained parameters. custom: nodes of a graph whose backward is somebody's
    own; doubt: why exact products cannot be had or trusted (`core.twice`), once that was looked at.
    """

    parameters: int
    trained: int
    adapter: bool
    sharded: bool
    attention: str | None
    holdable: bool
    kinked: bool
    kept: int
    vector: int
    free: int | None
    custom: tuple[str, ...] = ()
    doubt: str | None = None


def choose(model: Module, loss: Loss, batch: Any, micro: int | None = None) -> Backend:
    """The backend for this model, this loss and batches like this one, run `micro` samples at a time.

    Costs two or three gradients of two samples, three more where exact products are meant to be taken, and some
    ten where a custom function has them compared with differences. Raises ValueError for what no backend does
    right.
    """
    check_model(model)
    facts = inspect(model, loss, batch, micro)
    found = decide(facts)
    if found.products == "differences":
        return found
    oracle, kinked = TorchOracle(model), facts.kinked if facts.holdable else None
    why = doubt(oracle, loss, Part(batch.to(oracle.device), len(batch)).few(), kinked, facts.custom)
    return found if why is None else decide(replace(facts, doubt=why))


def decide(facts: Facts) -> Backend:
    """Sharding, fused attention and a doubt rule out autograd; kinks that cannot be held rule out differences."""
    size = f"{facts.trained:,} trained parameters" + (" of an adapter" if facts.adapter else "")
    impossible = _no_double_backward(facts)
    if not facts.holdable:
        if impossible:
            raise ValueError(
                f"oracle: {impossible}, so second derivatives must be differences, and the network has branches "
                "that cannot be held in a probe; use smooth activations (SiLU, GELU), or operations (and a "
                "backward) that torch differentiates twice"
            )
        why = "the network has kinks that differences cannot hold"
        if facts.custom:
            why += f", so the backward of {', '.join(facts.custom)} was not compared with them"
        return Backend("exact", why, streamed=not _fits(facts, "mixed"))
    if impossible:
        return Backend("differences", impossible)
    kinds = "kinks held in probes" if facts.kinked else "smooth"
    if facts.parameters <= SMALL and _fits(facts, "exact") and not facts.custom:
        return Backend("exact", f"small: {size}")
    if _fits(facts, "mixed"):
        return Backend("mixed", f"{kinds}, {size}, double backward fits in memory")
    if _fits(facts, "streamed"):
        return Backend("mixed", f"{kinds}, {size}, one loss's double backward fits in memory", streamed=True)
    return Backend("differences", f"{kinds}, {size}, double backward needs more memory than is free")


def _no_double_backward(facts: Facts) -> str | None:
    if facts.sharded:
        return "the parameters are sharded"
    if facts.attention is not None and facts.attention not in ("eager", "sdpa"):
        return f"{facts.attention} has no second derivative"
    return facts.doubt


def _fits(facts: Facts, name: str) -> bool:
    times, vectors = PEAK[name]
    return facts.free is None or times * facts.kept + vectors * facts.vector <= facts.free


def inspect(model: Module, loss: Loss, batch: Any, micro: int | None = None) -> Facts:
    """Looks at the model, and runs two samples: what it does counts, not what its modules are called."""
    params = list(model.parameters())
    trained = [p for p in params if p.requires_grad]
    device = trained[0].device
    sample = Part(batch, len(batch)).few().batch.to(device)
    model.eval()
    kept, custom = _activations(model, loss, sample, params)

    def gradient(held: Held | None) -> None:
        value, _ = Part(sample, len(sample), held=held).sums(loss, model)
        if sharded(model):  # a sharded module supports nothing else
            value.backward()
            for p in trained:
                p.grad = None
        else:
            torch.autograd.grad(value, trained, allow_unused=True)

    kinked, holdable = False, True
    try:
        kinked = held_kinks(gradient)
    except ValueError:
        kinked, holdable = True, False
    return Facts(
        parameters=sum(p.numel() for p in params),
        trained=sum(p.numel() for p in trained),
        adapter=hasattr(model, "peft_config"),
        sharded=sharded(model),
        attention=getattr(getattr(model, "config", None), "_attn_implementation", None),
        holdable=holdable,
        kinked=kinked,
        kept=kept * min(len(batch), micro or len(batch)) // len(sample),
        vector=sum(p.numel() * p.element_size() for p in trained),
        free=free_memory(device),
        custom=custom,
    )


def _activations(model: Module, loss: Loss, sample: Any, params: Sequence[Tensor]) -> tuple[int, tuple[str, ...]]:
    """(bytes that a backward pass of these samples keeps, its nodes of somebody's own)."""
    own = {p.untyped_storage().data_ptr() for p in params if not hasattr(p, "to_local")}
    sizes: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        place = x.untyped_storage()
        if place.data_ptr() not in own:
            sizes[place.data_ptr()] = place.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        value, _ = checked(lambda: loss(model, sample).sums(), model)
    return sum(sizes.values()), customs([value])
