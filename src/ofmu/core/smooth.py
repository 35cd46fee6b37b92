"""Operations whose higher derivatives torch holds too much for (SiLU), takes wrongly (norms) or not at all.

torch differentiates SiLU's gradient through half a dozen elementwise operations, each of which keeps its result:
∇Φ of a small CNN then holds nearly twice as much. With σ the logistic
function, m = 1 − 2σ and d = σ(1 − σ),

    s(x) = xσ,    s'(x) = σ + xd,    s''(x) = d (2 + xm),    s'''(x) = d (3m + x (1 − 6d)),

and every backward needs x and what comes in alone.

The double backward of layer, instance and batch normalisation takes mean and deviation for constants
(github.com/pytorch/pytorch/issues/175754), so third derivatives through them are off by some percent or more.
That of group normalisation is right, and all are group normalisations: of one group, of one for each channel, and
of the batch laid out as one sample. That of weight normalisation, where it is fused, is wrong itself, so that H v
is; made of a norm, a quotient and a product it is right.
Hardsigmoid has no double backward; the functions that it is made of do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _SiLU(torch.autograd.Function):
    """s(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.silu(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        found: Tensor = _Slope.apply(grad, *ctx.saved_tensors)
        return found


class _Slope(torch.autograd.Function):
    """G s'(x)."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(grad, x)
        return torch.ops.aten.silu_backward(grad, x)

    @staticmethod
    def backward(ctx: Any, again: Tensor) -> tuple[Tensor, Tensor]:
        grad, x = ctx.saved_tensors
        return _Slope.apply(again, x), _Bend.apply(again, grad, x)


class _Bend(torch.autograd.Function):
    """A b s''(x)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(a, b, x)
        return _second(x).mul_(a).mul_(b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b, x = ctx.saved_tensors
        if torch.is_grad_enabled():
            bent = _Bend.apply(grad, torch.ones_like(x), x)
            return bent * b, bent * a, _third(x) * (grad * a * b)
        bent = _second(x).mul_(grad)
        return bent * b, bent.mul_(a), _third(x).mul_(grad).mul_(a).mul_(b)


def _second(x: Tensor) -> Tensor:
    """s''(x), a new tensor without a graph."""
    s = torch.sigmoid(x)
    bent = torch.addcmul(x, x, s, value=-2).add_(2)
    return bent.mul_(s.addcmul_(s, s, value=-1))


def _third(x: Tensor) -> Tensor:
    """s'''(x); differentiable."""
    s = torch.sigmoid(x)
    if torch.is_grad_enabled():
        d = s * (1 - s)
        return d * (3 * (1 - 2 * s) + x * (1 - 6 * d))
    d = torch.addcmul(s, s, s, value=-1)
    return s.mul_(-6).add_(3).addcmul_(x, d.mul(-6).add_(1)).mul_(d)


def silu(x: Tensor, inplace: bool = False) -> Tensor:
    """SiLU, differentiable as often as wanted; in place it is torch's own."""
    found: Tensor = F.silu(x, inplace=True) if inplace else _SiLU.apply(x)
    return found


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Layer normalisation with right third derivatives."""
    found = F.group_norm(x.reshape(-1, 1, math.prod(shape)), 1, eps=eps).view_as(x)
    found = found if weight is None else found * weight
    return found if bias is None else found + bias


def instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Instance normalisation with right third derivatives; by running statistics it is torch's own."""
    if not use_input_stats:
        return F.instance_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    return F.group_norm(x, x.shape[1], weight, bias, eps)


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalisation with right third derivatives; by running statistics it is torch's own.

    By the batch's, running statistics are left as they are.
    """
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    lines = x.transpose(0, 1)  # channels first: a group for each, over the samples
    found = F.group_norm(lines.reshape(1, len(lines), -1), len(lines), weight, bias, eps)
    return found.view(lines.shape).transpose(0, 1)


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """G v/‖v‖, a norm for each index of `dim`, or of the whole for dim = -1, with right second derivatives."""
    return v * (g / torch.norm_except_dim(v, 2, dim))


def hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    """The same function out of parts that torch differentiates twice."""
    found = F.relu6(x + 3) / 6
    return x.copy_(found) if inplace else found


OURS: dict[Callable[..., Any], Callable[..., Tensor]] = {
    F.silu: silu,
    F.hardsigmoid: hardsigmoid,
    F.layer_norm: layer_norm,
    F.instance_norm: instance_norm,
    F.batch_norm: batch_norm,
    torch._weight_norm: weight_norm,
}


class Closed(TorchFunctionMode):
    """A context in which `OURS` take torch's place."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return OURS.get(func, func)(*args, **(kwargs or {}))
