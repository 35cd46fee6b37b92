"""Changes of a model that take no data: what is only hidden comes back when the weights are disturbed.

Each function returns a changed copy, an adapter merged into it (apart from the weights a small update survives
what it does not survive in them); the model itself is left as it is. Threat model: the attacker holds the
weights. Cost: no training; one look at the changed model.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Module

from .case import copy_of


@torch.no_grad()
def quantised(module: Module, bits: int) -> Module:
    """Every weight matrix and kernel rounded to `bits` bits, one scale an output channel, as float again.

    w → s · clamp(round(w / s), −q, q) with q = 2^(bits−1) − 1 and s = max |w| of the channel / q: symmetric, to
    the nearest, no calibration. Vectors (biases, norms) stay. An own implementation, so that it runs everywhere;
    real 4-bit formats differ in grouping and in which layers they leave out. Source of the attack: Zhang et al.,
    "Does your LLM truly unlearn?" (2024), arXiv 2410.16454. Raises ValueError for bits outside 2 … 16.
    """
    if not 2 <= bits <= 16:
        raise ValueError(f"bits: found {bits}, expected 2 to 16")
    changed, most = _merged(module), 2 ** (bits - 1) - 1
    for weight in _matrices(changed):
        flat = weight.data.flatten(1)
        scale = flat.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / most
        flat.copy_((flat / scale).round().clamp_(-most, most) * scale)
        weight.data.copy_(flat.view_as(weight))
    return changed


@torch.no_grad()
def pruned(module: Module, share: float) -> Module:
    """The smallest `share` of every matrix's weights, by size, set to 0.

    Source: magnitude pruning as in Han et al. (2015); as an attack Łucki et al., "An adversarial perspective on
    machine unlearning for AI safety" (2024). Raises ValueError for a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"share: found {share}, expected a share inside (0, 1)")
    changed = _merged(module)
    for weight in _matrices(changed):
        size = weight.data.abs().flatten()
        count = int(share * size.numel())
        if count:
            limit = size.kthvalue(count).values
            weight.data[weight.data.abs() <= limit] = 0
    return changed


@torch.no_grad()
def noisy(module: Module, relative: float, seed: int) -> Module:
    """Every matrix w → w + relative · std(w) · ε, ε standard normal from `seed`: the same ε for every model."""
    if not relative > 0:
        raise ValueError(f"relative: found {relative}, expected a number above 0")
    changed, generator = _merged(module), torch.Generator().manual_seed(seed)
    for weight in _matrices(changed):
        drawn = torch.randn(weight.shape, generator=generator).to(weight)
        weight.data += relative * weight.data.std() * drawn
    return changed


@torch.no_grad()
def interpolated(module: Module, other: Module, share: float) -> Module:
    """(1 − share) · θ + share · θ_other, parameter by parameter; buffers are the first model's.

    Under an adapter θ are the weights with it merged, so that the other model may be a plain one.
    Not an attack of its own (who has the original needs none): it shows whether a model lies in the original's
    basin, a small step away from remembering. Raises ValueError for models of other shapes.
    """
    changed = _merged(module)
    ours, theirs = dict(changed.named_parameters()), dict(_merged(other).named_parameters())
    if {n: p.shape for n, p in ours.items()} != {n: p.shape for n, p in theirs.items()}:
        raise ValueError("the two models have other parameters, expected one architecture")
    for name, weight in ours.items():
        weight.data.lerp_(theirs[name].data.to(weight), share)
    return changed


def without_adapter(module: Module) -> Module:
    """The base model under an adapter: what is left when the file with the adapter is deleted.

    Raises ValueError for a model that has none.
    """
    if not hasattr(module, "peft_config"):
        raise ValueError("the model has no adapter that could be taken off")
    changed = copy_of(module)
    return changed.unload()  # type: ignore[operator]


def merged_in_half(module: Module) -> Module:
    """The adapter merged into weights kept in bfloat16, back in float32: a small update can be lost in rounding.

    Of a model without adapter: its weights rounded to bfloat16.
    """
    changed = _merged(module)
    for weight in changed.parameters():
        weight.data = weight.data.to(torch.bfloat16).to(weight.dtype)
    return changed.eval()


def _merged(module: Module) -> Module:
    """A copy that may be changed, its adapter merged into the weights if it has one."""
    changed = copy_of(module)
    return changed.merge_and_unload() if hasattr(changed, "peft_config") else changed  # type: ignore[operator]


def _matrices(module: Module) -> list[Tensor]:
    """Weights of two axes or more, each once (tied ones too)."""
    return [p for p in module.parameters() if p.ndim >= 2 and p.numel() and p.is_floating_point()]
