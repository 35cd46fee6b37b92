"""From ranks to losses: the maps behind targets ("the loss a sample would have, had it never been seen").

A reference that never saw the forget samples says how *hard* each one is, relative to held-out samples; the
original model's held-out losses say what an unseen sample of that hardness costs in *its* units.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor


def ranks_within(scores: Tensor) -> Tensor:
    """u_i = (rank_i + ½)/n in (0, 1): where each score stands among its own."""
    order = scores.argsort().argsort().to(torch.float32)
    return (order + 0.5) / len(scores)


def quantiles(u: Tensor, losses: Tensor) -> Tensor:
    """The u-quantiles of `losses` (linear interpolation); u in [0, 1], [n] -> [n]."""
    return torch.quantile(losses.to(torch.float32), u.clamp(0, 1).to(torch.float32))


def weighted_quantiles(u: Tensor, losses: Tensor, weights: Tensor) -> Tensor:
    """The u-quantiles of `losses` [m] where loss j counts `weights`_j ≥ 0 times; u in [0, 1], [n] -> [n].

    Linear between the points ((W_j − w_j/2)/W, loss j) in rising order of losses, W_j the running sum of weights
    and W their total; constant outside.
    """
    order = losses.argsort()
    y, w = losses[order].double(), weights[order].double()
    x = (w.cumsum(0) - w / 2) / w.sum()
    u = u.double().clamp(float(x[0]), float(x[-1]))
    right = torch.searchsorted(x, u.contiguous()).clamp(1, max(len(x) - 1, 1)).clamp(max=len(x) - 1)
    left = (right - 1).clamp_min(0)
    gap = x[right] - x[left]
    t = torch.where(gap > 0, (u - x[left]) / gap.clamp_min(1e-300), torch.zeros_like(u))
    return (y[left] + t * (y[right] - y[left])).float()


class MonotoneMap:
    """A non-decreasing piecewise-linear map y(x), fitted on the means of quantile bins of paired values."""

    def __init__(self, x: Tensor, y: Tensor, bins: int = 20) -> None:
        if x.shape != y.shape or x.ndim != 1 or len(x) < 2 * bins:
            raise ValueError(
                f"MonotoneMap: expected two equal vectors of at least {2 * bins} values, found {tuple(x.shape)} "
                f"and {tuple(y.shape)}: use more held-out text or fewer bins"
            )
        x, y = x.double(), y.double()
        edges = torch.quantile(x, torch.linspace(0, 1, bins + 1, dtype=x.dtype))
        inside = [(x >= low) & (x <= high) for low, high in pairwise(edges)]
        knots = [(x[i].mean(), y[i].mean()) for i in inside if bool(i.any())]
        self.x = torch.stack([a for a, _ in knots])
        self.y = torch.stack([b for _, b in knots]).cummax(0).values

    def __call__(self, x: Tensor) -> Tensor:
        """y(x), constant outside the fitted range."""
        x = x.double().clamp(float(self.x[0]), float(self.x[-1]))
        right = torch.searchsorted(self.x, x.contiguous()).clamp(1, len(self.x) - 1)
        x0, x1, y0, y1 = self.x[right - 1], self.x[right], self.y[right - 1], self.y[right]
        t = torch.where(x1 > x0, (x - x0) / (x1 - x0).clamp_min(1e-300), torch.zeros_like(x))
        return (y0 + t * (y1 - y0)).float()
