"""The two-sample KS test takes few values: what its p-values can be at all for given numbers of samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class KSLattice:
    """The p-values of a two-sided two-sample KS test nearest to a level.

    step: D is a multiple of it, 1/lcm(n, m). below: the largest p ≤ level that can occur, and the D it takes;
    above: the smallest p > level. So a reported p is one of few numbers, and "p > .05" may mean p ≥ above.
    """

    step: float
    level: float
    below: float | None
    d_below: float | None
    above: float


def ks_p_value(n: int, m: int, h: int) -> float:
    """P(D ≥ h / lcm(n, m)) for two samples of n and m from one continuous distribution; exact.

    Counts the lattice paths from (0, 0) to (n, m) with |i/n − j/m| < h/lcm everywhere (Hodges, 1957), row by row:
    O(n·m). Raises ValueError for numbers below 1.
    """
    if min(n, m, h) < 1:
        raise ValueError(f"n, m, h: found {n}, {m} and {h}, expected at least 1 each")
    common = math.lcm(n, m)
    right, up = common // n, common // m
    j = np.arange(m + 1)
    inside = np.abs(-j * up) < h
    row, scale = np.where(inside, 1.0, 0.0), 0.0
    for i in range(1, n + 1):
        inside = np.abs(i * right - j * up) < h
        row = np.where(inside, np.cumsum(np.where(inside, row, 0.0)), 0.0)  # the band is one piece
        top = row.max()
        if top == 0:
            return 1.0
        row, scale = row / top, scale + math.log(top)
    if row[m] == 0:
        return 1.0
    total = math.lgamma(n + m + 1) - math.lgamma(n + 1) - math.lgamma(m + 1)
    return float(np.clip(-math.expm1(math.log(row[m]) + scale - total), 0.0, 1.0))


def ks_lattice(n: int, m: int, level: float = 0.05) -> KSLattice:
    """See `KSLattice`; n, m: samples of the two sides. O(n·m·log lcm(n, m))."""
    common = math.lcm(n, m)
    if ks_p_value(n, m, common) > level:
        return KSLattice(1 / common, level, None, None, ks_p_value(n, m, common))
    low, high = 0, common  # p(low) > level ≥ p(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if ks_p_value(n, m, middle) <= level else (middle, high)
    below = ks_p_value(n, m, high)
    return KSLattice(1 / common, level, below, high / common, ks_p_value(n, m, low) if low else 1.0)
