"""Parameterised layers of any model in order, and re-initialising the last few of them.

A *layer* is what one would reset together: a module with a weight matrix and the normalisation after it
(convolution and norm), or a whole transformer block, which residual connections make useless in parts. The
order is that of registration, which every model here shares with its forward pass; the parallel branches of a
residual block come in either order.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import Module

from ofmu.errors import UserError

Layer = tuple[tuple[str, Module], ...]  # (name inside the model, module): a weight layer and its norms


def parameterised_layers(module: Module) -> list[Layer]:
    """All layers with parameters, first to last; each is a few named modules that share no other layer's.

    A module without weight matrices (a norm) belongs to the layer before it. A head that is tied to the input
    embedding is that first layer, not a last one. Raises UserError for a model without parameters.
    """
    atoms = frozenset(getattr(module, "_no_split_modules", None) or ())
    layers: list[list[tuple[str, Module]]] = []
    seen: set[int] = set()
    for name, unit in _units(module, "", atoms):
        own = {id(p) for p in unit.parameters()}
        if own <= seen:
            continue
        seen |= own
        starts = not layers or (_has_matrix(unit) and any(_has_matrix(m) for _, m in layers[-1]))
        if starts:
            layers.append([])
        layers[-1].append((name, unit))
    if not layers:
        raise UserError(f"model: {type(module).__name__} has no parameterised layers")
    return [tuple(layer) for layer in layers]


def last_layers(module: Module, k: int) -> list[Layer]:
    """The last k parameterised layers; raises UserError if k is not between 1 and their number."""
    layers = parameterised_layers(module)
    if not 1 <= k <= len(layers):
        raise UserError(
            f"last layers: found {k}, expected 1 to {len(layers)} (the parameterised layers of this "
            f"{type(module).__name__}: {', '.join(layer[0][0] for layer in layers)})"
        )
    return layers[-k:]


@torch.no_grad()
def reset_last(module: Module, k: int, seed: int) -> list[str]:
    """Re-initialise the last k parameterised layers in place, as the model's own class initialises them.

    Everything else stays bit-identical, and so does the global random state. Running statistics of norms
    among them start anew too. Returns the names of the reset modules. Raises UserError for k out of range,
    for a model under an adapter, and for a layer that nobody knows how to initialise.
    """
    if hasattr(module, "peft_config"):
        raise UserError("reset: the model carries an adapter, expected a plain model; merge the adapter first")
    chosen = [pair for layer in last_layers(module, k) for pair in layer]
    devices = sorted({p.device.index for p in module.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for name, unit in chosen:
            _reset(module, name, unit)
    return [name for name, _ in chosen]


def _units(module: Module, prefix: str, atoms: frozenset[str]) -> Iterator[tuple[str, Module]]:
    """Modules to be taken whole: blocks that the model names, and the innermost owners of parameters."""
    own = next(module.parameters(recurse=False), None) is not None
    if prefix and (own or type(module).__name__ in atoms):
        if next(module.parameters(), None) is not None:
            yield prefix, module
        return
    # parameters of the root itself (position embeddings of some models) come before every layer: never reset
    for name, child in module.named_children():
        yield from _units(child, f"{prefix}.{name}" if prefix else name, atoms)


def _has_matrix(module: Module) -> bool:
    return any(p.ndim >= 2 for p in module.parameters())


def _reset(root: Module, name: str, unit: Module) -> None:
    initialise = getattr(root, "_init_weights", None)
    if initialise is not None:  # transformers: one function for the whole model, skipped for loaded weights
        for tensor in (*unit.parameters(), *unit.buffers()):
            tensor._is_hf_initialized = False  # type: ignore[attr-defined]
        unit.apply(initialise)
        return
    for part in unit.modules():
        if next(part.parameters(recurse=False), None) is None:
            continue
        if not callable(getattr(part, "reset_parameters", None)):
            raise UserError(
                f"reset: layer {name} holds a {type(part).__name__}, expected a method reset_parameters; "
                "choose fewer layers or give that class the method"
            )
        part.reset_parameters()  # type: ignore[operator]
