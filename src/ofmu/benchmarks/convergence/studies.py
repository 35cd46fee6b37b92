"""All convergence studies in one go, as plain data: the page and the figure are made from this alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import asdict, is_dataclass
from typing import Any

from . import convex, network
from .convex import Rows, Say


def studies(smoke: bool, say: Say) -> dict[str, dict[str, Callable[[], Rows]]]:
    """What is measured, by problem and name."""
    c = convex.SMOKE if smoke else convex.FULL
    n = network.SMOKE if smoke else network.FULL
    return {
        "convex": {
            "settings": lambda: asdict(c),
            "over K": lambda: convex.fixed_inner(c, say),
            "over T": lambda: convex.limits(c),
            "T = K": lambda: convex.together(c, say),
            "other reading": lambda: convex.other_reading(c, say),
            "large rho": lambda: convex.penalty_to_infinity(c, say),
            "growing rho": lambda: convex.growing(c, say),
            "noise": lambda: convex.noise(c, say),
        },
        "network": {
            "settings": lambda: asdict(n),
            "over K": lambda: network.fixed_inner(n, say),
            "T = K": lambda: network.together(n, say),
            "noise": lambda: network.noise(n, say),
            "repairs": lambda: network.repairs(n, say),
            "no maximiser": lambda: network.no_maximiser(n, say),
            "one batch": lambda: network.one_batch_bias(n, say),
        },
    }


def measure(smoke: bool, say: Say, only: Collection[str] = ()) -> Rows:
    """{"convex": …, "network": …}: numbers, lists, and estimates as {mean, low, high, n}.

    only: parts such as "network/noise" (none: all); settings are always there.
    """
    return plain(
        {
            problem: {
                name: study()
                for name, study in parts.items()
                if not only or name == "settings" or f"{problem}/{name}" in only
            }
            for problem, parts in studies(smoke, say).items()
        }
    )


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
