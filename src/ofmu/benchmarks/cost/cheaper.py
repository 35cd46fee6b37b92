"""Ways to make ∇Φ cheaper, each with its time and with what it costs in accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ...core import vectors
from ...core.inner import Inner, inner
from ...core.oracle import TorchOracle
from ...core.similarity import Cosine, Only, cosine
from ...core.vectors import Vector
from . import bare
from .timing import Action, Ratio
from .workloads import Workload

Ratios = Callable[[dict[str, Action]], dict[str, Ratio]]
BETAS = (0.1, 1.0)


def cheaper_ways(w: Workload, ratios: Ratios) -> list[dict[str, Any]]:
    """Rows of {way, gradients, agreement}.

    agreement: the cosine of the direction g_f − (‖g_f‖/‖∇cos‖) ∇cos (balanced, β = 1) to the exact one.
    """
    oracle, streamed = TorchOracle(w.model), TorchOracle(w.model, streamed=True)
    forget, retain = ((w.loss, batch) for batch in w.batches)
    exact = _direction(inner(oracle, forget, retain), 1.0)
    upper = Only(tuple(upper_half(oracle.names)), Cosine())
    ways: dict[str, Callable[[], Vector]] = {
        "exact, one graph per loss": lambda: _direction(inner(oracle, forget, retain), 1.0),
        "cosine over the upper half of the tensors": lambda: _direction(inner(oracle, forget, retain, upper), 1.0),
        "one graph at a time, g_r twice (streamed)": lambda: _direction(inner(streamed, forget, retain), 1.0),
        "both batches in one forward pass": lambda: _together(w),
    }
    times = ratios(dict(ways))
    rows = [
        {"way": name, "gradients": times[name], "agreement": agreement(way(), exact)} for name, way in ways.items()
    ]
    return rows + stale(w)


def upper_half(names: list[str]) -> list[str]:
    """The names of the later half of the parameter tensors."""
    return names[len(names) // 2 :]


def agreement(a: Vector, b: Vector) -> float:
    """cos(a, b)."""
    return float(cosine(a, b).value)


def _direction(parts: Inner, share: float) -> Vector:
    """g_f − share (‖g_f‖/‖∇cos‖) ∇cos: the direction of the recipe's ascent, in which ∇cos has a fair share."""
    weight = share * vectors.length(parts.forget_grad) / vectors.length(parts.similarity_grad)
    return parts.gradient(weight)


def _together(w: Workload) -> Vector:
    """One concatenated forward pass, the two mean losses from its halves; then as ever."""
    inputs = {k: torch.cat([b.inputs[k] for b in w.batches]) for k in w.batches[0].inputs}
    both = type(w.batches[0])(torch.arange(2 * len(w.forget)), inputs, torch.cat([b.labels for b in w.batches]))
    values = w.loss(w.model, both)
    n = len(w.forget)
    sums = [
        (values.values[s] * values.weights[s]).sum() / values.weights[s].sum() for s in (slice(n), slice(n, None))
    ]
    f, r = (
        list(torch.autograd.grad(x, w.params, create_graph=True, retain_graph=True, materialize_grads=True))
        for x in sums
    )
    a, b = ([x.detach() for x in g] for g in (f, r))
    pull = cosine(a, b)
    pulled = torch.autograd.grad((*f, *r), w.params, grad_outputs=(*pull.u, *pull.w), materialize_grads=True)
    weight = vectors.length(a) / vectors.length(pulled)
    return vectors.combine(1.0, a, -weight, list(pulled))


def stale(w: Workload, steps: int = 4) -> list[dict[str, Any]]:
    """∇cos kept for m further inner steps of the recipe's length (1 % of ‖θ‖): what becomes of the direction."""
    saved = vectors.copy_of(w.params)
    rows = []
    for beta in BETAS:
        oracle = TorchOracle(w.model)
        forget, retain = ((w.loss, batch) for batch in w.batches)
        first = inner(oracle, forget, retain)
        kept, found = first.similarity_grad, []
        step = _direction(first, beta)
        for _ in range(steps):
            oracle.move(0.01 * vectors.length(saved) / vectors.length(step), step)
            now = inner(oracle, forget, retain)
            weight = beta * vectors.length(now.forget_grad) / vectors.length(kept)
            step = _direction(now, beta)
            found.append(agreement(vectors.combine(1.0, now.forget_grad, -weight, kept), step))
        vectors.assign(w.params, saved)
        rows.append({"way": f"∇cos of m steps ago, β = {beta:g}", "gradients": None, "agreement": found})
    return rows


def compiled_way(w: Workload, ratios: Ratios) -> dict[str, Any]:
    """∇Φ compiled beside the same uncompiled: times, relative error, and the CPU seconds that compiling took."""
    start = time.process_time()
    fast = compiled(w)
    found = fast()
    spent = time.process_time() - start

    def eager() -> Vector:
        return bare.phi_gradient(w.model, w.params, w.kind, w.batches, 0.1)[0]

    exact = eager()
    times = ratios({"compiled": fast, "eager": eager})
    error = vectors.distance(found, exact) / vectors.length(exact)
    return {"name": w.name, **times, "error": error, "seconds to compile": spent}


def compiled(w: Workload) -> Callable[[], Vector]:
    """∇Φ (β = 0.1) traced as one graph of plain operations and compiled; needs a C++ compiler. Slow to make.

    A compiled module cannot be differentiated twice; a traced derivative can be compiled.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    names = [name for name, p in w.model.named_parameters() if p.requires_grad]

    def phi(params: list[torch.Tensor]) -> list[torch.Tensor]:
        module = _Functional(w.model, dict(zip(names, params, strict=True)))
        return bare.phi_gradient(module, params, w.kind, w.batches, 0.1)[0]

    traced = make_fx(phi)([p.detach().requires_grad_() for p in w.params])
    fast = torch.compile(traced)
    return lambda: fast([p.detach() for p in w.params])


class _Functional(nn.Module):
    """A module with some of its parameters replaced by given tensors."""

    def __init__(self, module: nn.Module, values: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._call = [module]  # not a submodule: its own parameters stay out of sight
        self._values = values

    def forward(self, *arguments: Any, **options: Any) -> Any:
        return torch.func.functional_call(self._call[0], self._values, arguments, options)
