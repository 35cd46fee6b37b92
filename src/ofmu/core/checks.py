"""Models that no derivative can be right for are refused, with a remedy, before anything is computed."""

from __future__ import annotations

import torch
from torch.nn import Module

FLOATS = (torch.float32, torch.float64)


def sharded(model: Module) -> bool:
    """Whether any parameter is a DTensor."""
    return any(hasattr(p, "to_local") for p in model.parameters())


def check_model(model: Module) -> None:
    """Raises ValueError for a model whose gradients would be wrong, or silently those of one rank."""
    trained = {id(p): p for p in model.parameters() if p.requires_grad}
    if not trained:
        raise ValueError("oracle: the model has no trainable parameter (requires_grad is False everywhere)")
    _check_types(model)
    kinds = {kind.__name__ for part in model.modules() for kind in type(part).__mro__}
    if "DistributedDataParallel" in kinds:
        raise ValueError(
            "oracle: the model, or a part of it, is wrapped in DistributedDataParallel, under which autograd.grad "
            "is silently that of one rank; pass model.module, and the ranks as group="
        )
    if "OptimizedModule" in kinds or any(part._compiled_call_impl is not None for part in model.modules()):
        raise ValueError(
            "oracle: the model is compiled: what it does cannot be looked at, nor differentiated twice; pass "
            "model._orig_mod, or the model as it was before model.compile()"
        )
    if kinds & {"FSDPModule", "FullyShardedDataParallel"} and not sharded(model):
        raise ValueError(
            "oracle: the model is wrapped for sharding, but no parameter is a DTensor: sharding is not engaged; "
            "use torch.distributed.fsdp.fully_shard on a device that supports it"
        )
    for name, part in model.named_modules():
        if isinstance(part, torch.nn.Embedding | torch.nn.EmbeddingBag) and id(part.weight) in trained:
            _check_embedding(name, part)


def _check_embedding(name: str, part: torch.nn.Embedding | torch.nn.EmbeddingBag) -> None:
    if part.padding_idx is not None and isinstance(part, torch.nn.Embedding):  # a bag leaves it out of its sum too
        raise ValueError(
            f"oracle: embedding {name!r} has padding_idx {part.padding_idx}, which drops the gradient of real "
            "tokens of that id (often the end of text); set its padding_idx to None"
        )
    odd = {"max_norm": "writes to it in every pass", "scale_grad_by_freq": "gives the gradient of no function"}
    for option, what in (odd | {"sparse": "gives sparse gradients"}).items():
        if getattr(part, option):
            raise ValueError(
                f"oracle: embedding {name!r} has {option}={getattr(part, option)}, which {what}; expected none: "
                f"set its {option} to {None if option == 'max_norm' else False}"
            )


def _check_types(model: Module) -> None:
    types = {p.dtype: name for name, p in model.named_parameters() if p.requires_grad}
    half = set(types) - set(FLOATS)
    if half:
        raise ValueError(f"oracle: trainable parameters are {half}, expected float32: model.float() first")
    if len(types) > 1:
        (one, first), (other, second) = types.items()
        raise ValueError(
            f"oracle: trainable parameters are of two types ({first!r} is {one}, {second!r} {other}), expected "
            "one, from which steps and precision follow: model.float() or model.double() first"
        )


def check_fields(model: Module, exact: bool) -> None:
    """Raises ValueError where second derivatives by autograd are asked of sharded parameters."""
    if exact and sharded(model):
        raise ValueError(
            "oracle: the parameters are sharded, and sharded modules support .backward() only; use "
            "products='differences', outer='differences'"
        )


def check_splits(model: Module) -> None:
    """Raises ValueError for a model that gives a batch in parts, or on ranks, other values than the whole."""
    for name, part in model.named_modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            raise ValueError(
                f"oracle: {name!r} normalises by the statistics of each batch alone (track_running_stats=False), "
                "so parts of a batch (micro=, --micro-batch, several processes) give another function than the "
                "whole; expected running statistics, or the whole batch at once on one process"
            )
