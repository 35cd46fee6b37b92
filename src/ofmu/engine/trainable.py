"""Which parameters are trained: all, the top of the model, or a low-rank adapter."""

from __future__ import annotations

import re
from collections.abc import Sized
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from ofmu.engine.models import LoadedModel
from ofmu.engine.pretrained import clear_errors, need, quiet_peft
from ofmu.engine.reset import parameterised_layers
from ofmu.errors import UserError

HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Trainable:
    """What is trained: form "full", the last n layers ("top"), or an adapter of rank n ("lora").

    blocks: an adapter is on the last so many transformer blocks alone (None: on all).
    """

    form: Literal["full", "top", "lora"]
    n: int = 0
    blocks: int | None = None


def parse_trainable(spec: str) -> Trainable:
    """`full`, `top:K`, `lora:R` or `lora:R,top:K` with K, R ≥ 1; raises UserError for anything else."""
    if spec == "full":
        return Trainable("full")
    found = re.fullmatch(r"(?:lora:(?P<rank>\d+))?(?P<comma>,)?(?:top:(?P<top>\d+))?", spec, re.ASCII)
    numbers = [int(n) for n in found.group("rank", "top") if n] if found is not None else []
    if found is not None and min(numbers, default=0) >= 1 and bool(found["comma"]) == (len(numbers) == 2):
        top = int(found["top"]) if found["top"] else None
        return Trainable("lora", int(found["rank"]), top) if found["rank"] else Trainable("top", numbers[0])
    raise UserError(
        f"trainable: found {spec!r}, expected full, top:K (the last K transformer blocks or image layers, "
        "such as top:10), lora:R (an adapter of rank R, such as lora:8) or lora:R,top:K (one on the last K blocks)"
    )


def apply_trainable(loaded: LoadedModel, spec: str, seed: int = 0) -> LoadedModel:
    """Set requires_grad as `spec` says, in place; parameters that are trained become float32.

    full: everything. top:K: of a language model the last K transformer blocks and the norm after them
    (embeddings and the output head stay); of an image model the last K parameterised layers. lora:R:
    W + (α/R)·B·A on every linear projection, α = 2R, no dropout, B = 0 at first and A drawn from `seed`; the
    rest is frozen. lora:R,top:K: those of the last K transformer blocks alone. Curvature in half precision is
    noise, so a half-precision model is converted, with a note;
    under an adapter only the adapter is. Raises UserError for an unknown spec, K out of range, and an adapter
    that does not fit. Source: Hu et al. 2022 (LoRA).
    """
    chosen = parse_trainable(spec)
    if chosen.form == "lora":
        return _adapted(loaded, chosen, seed)
    parameters = _trained_parameters(loaded, spec, chosen)
    loaded.module.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    return _in_single_precision(loaded)


def check_trainable(loaded: LoadedModel, spec: str) -> None:
    """The UserError that `apply_trainable` would raise for this model, which stays as it is."""
    chosen = parse_trainable(spec)
    if chosen.form == "lora":
        _check_adapter(loaded, chosen)
    else:
        _trained_parameters(loaded, spec, chosen)


def merge_adapter(loaded: LoadedModel) -> LoadedModel:
    """The plain model W + (α/R)·B·A of a model under an adapter; a plain model is returned as it is.

    The result shares its weights with `loaded`, which is not to be used any more, and nothing in it is marked
    as trainable.
    """
    if not hasattr(loaded.module, "peft_config"):
        return loaded
    return replace(loaded, module=loaded.module.merge_and_unload())  # type: ignore[operator]


def _trained_parameters(loaded: LoadedModel, spec: str, chosen: Trainable) -> list[nn.Parameter]:
    if hasattr(loaded.module, "peft_config"):
        raise UserError(f"trainable: {spec} needs a plain model, found one under an adapter; merge it first")
    return _top(loaded, chosen.n) if chosen.form == "top" else list(loaded.module.parameters())


def _top(loaded: LoadedModel, k: int) -> list[nn.Parameter]:
    if loaded.kind == "image":
        layers = parameterised_layers(loaded.module)
        _at_most(k, layers, "layers")
        return [p for layer in layers[-k:] for _, part in layer for p in part.parameters()]
    blocks, after = block_list(loaded.module)
    _at_most(k, blocks, "blocks")
    return [p for part in (*blocks[-k:], *after) for p in part.parameters()]


def _at_most(k: int, parts: Sized, what: str) -> None:
    if k > len(parts):
        raise UserError(f"trainable: found top:{k}, expected at most top:{len(parts)} (the model's {what})")


def block_list(module: nn.Module) -> tuple[nn.ModuleList, list[nn.Module]]:
    """The transformer blocks (the outermost ModuleList), and the norms that come after them.

    Raises UserError for a model that has no such list.
    """
    for parent in module.modules():
        children = list(parent.children())
        for i, child in enumerate(children):
            if isinstance(child, nn.ModuleList) and len(child):
                # an output head has a matrix: it is not a norm, and often it is the input embedding
                return child, [c for c in children[i + 1 :] if all(p.ndim < 2 for p in c.parameters())]
    raise UserError(f"trainable: {type(module).__name__} has no list of blocks; use full or lora:R")


def _in_single_precision(loaded: LoadedModel) -> LoadedModel:
    found = {p.dtype for p in loaded.module.parameters() if p.requires_grad}
    if found <= {torch.float32, torch.float64}:
        return loaded
    # all of it: a block in float32 cannot read the activations of one in half precision
    note = f"the model was converted from {', '.join(sorted(map(str, found)))} to float32: it is trained"
    return replace(loaded, module=loaded.module.float(), notes=(*loaded.notes, note))


def _adapted(loaded: LoadedModel, chosen: Trainable, seed: int) -> LoadedModel:
    _check_adapter(loaded, chosen)
    if hasattr(loaded.module, "peft_config"):
        return _same_adapter(loaded)
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=chosen.n,
        lora_alpha=2 * chosen.n,
        lora_dropout=0.0,
        target_modules=_projections(loaded.module, chosen),
        task_type="CAUSAL_LM" if loaded.kind == "text" else None,
    )
    with torch.random.fork_rng(devices=[]), quiet_peft(), clear_errors(f"{loaded.source} with lora:{chosen.n}"):
        torch.manual_seed(seed)
        module = get_peft_model(loaded.module, config)
    module.peft_config["default"].base_model_name_or_path = loaded.source
    return _noted(replace(loaded, module=module))


def _check_adapter(loaded: LoadedModel, chosen: Trainable) -> None:
    if hasattr(loaded.module, "peft_config"):
        _check_same_adapter(loaded, chosen)
        return
    if not hasattr(loaded.module, "save_pretrained"):
        raise UserError(
            f"trainable: lora:{chosen.n} needs a transformers model, found a {type(loaded.module).__name__}; "
            "use full or top:K"
        )
    need("peft", "llm")
    _projections(loaded.module, chosen)


def _projections(module: nn.Module, chosen: Trainable) -> list[str] | str:
    """The names of the linear layers that an adapter is put on."""
    if chosen.blocks is None:
        return "all-linear"
    from transformers.pytorch_utils import Conv1D

    blocks, _ = block_list(module)
    _at_most(chosen.blocks, blocks, "blocks")
    inside = {id(part) for block in blocks[-chosen.blocks :] for part in block.modules()}
    found = (
        name
        for name, part in module.named_modules()
        if id(part) in inside and isinstance(part, (nn.Linear, Conv1D))
    )
    return sorted(found)


def _check_same_adapter(loaded: LoadedModel, chosen: Trainable) -> None:
    ranks = {getattr(c, "r", None) for c in loaded.module.peft_config.values()}  # type: ignore[operator]
    if ranks != {chosen.n}:
        raise UserError(
            f"trainable: found lora:{chosen.n} for a model that has an adapter of rank "
            f"{', '.join(sorted(map(str, ranks)))}; use that rank to train the adapter on, or merge it first"
        )
    if chosen.blocks is not None:
        blocks, _ = block_list(loaded.module)
        on = [any(".lora_" in f".{name}" for name, _ in block.named_parameters()) for block in blocks]
        if on != [i >= len(blocks) - chosen.blocks for i in range(len(blocks))]:
            raise UserError(
                f"trainable: found lora:{chosen.n},top:{chosen.blocks} for an adapter on other blocks "
                f"({sum(on)} of {len(blocks)}); give lora:{chosen.n} to train that adapter on, or merge it first"
            )


def _same_adapter(loaded: LoadedModel) -> LoadedModel:
    loaded.module.requires_grad_(False)
    for name, parameter in loaded.module.named_parameters():
        if ".lora_" in name:
            parameter.requires_grad_(True)
            parameter.data = parameter.data.float()
    return loaded


def _noted(loaded: LoadedModel) -> LoadedModel:
    frozen = {str(p.dtype) for p in loaded.module.parameters() if p.dtype in HALF}
    if not frozen:
        return loaded
    note = f"the frozen base stays in {', '.join(sorted(frozen))}: differences of gradients need float32"
    return replace(loaded, notes=(*loaded.notes, note))
