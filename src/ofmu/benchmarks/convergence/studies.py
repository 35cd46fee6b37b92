"""All convergence studies in one go, as plain data: the page and the figure are made from this alone."""

from __future__ import annotations

import math
from dataclasses import asdict, is_dataclass
from typing import Any

from . import convex, network
from .convex import Rows, Say


def measure(smoke: bool, say: Say) -> Rows:
    """{"convex": …, "network": …}: numbers, lists, and estimates as {mean, low, high, n}."""
    c = convex.SMOKE if smoke else convex.FULL
    n = network.SMOKE if smoke else network.FULL
    found = {
        "convex": {
            "settings": c,
            "over K": convex.fixed_inner(c, say),
            "over T": convex.limits(c),
            "T = K": convex.together(c, say),
            "other reading": convex.other_reading(c, say),
            "large rho": convex.penalty_to_infinity(c, say),
            "growing rho": convex.growing(c, say),
            "noise": convex.noise(c, say),
        },
        "network": {
            "settings": n,
            "over K": network.fixed_inner(n, say),
            "T = K": network.together(n, say),
            "noise": network.noise(n, say),
            "repairs": network.repairs(n, say),
            "no maximiser": network.no_maximiser(n, say),
            "one batch": network.one_batch_bias(n, say),
        },
    }
    return plain(found)


def plain(value: Any) -> Any:
    """JSON's types only; ValueError for a number that is not finite."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"result: found {value}, expected a finite number")
    return value
