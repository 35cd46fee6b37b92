"""Side-by-side timing on a shared machine: every operation next to a plain gradient, in turn, over and over.

Times are CPU seconds of the process (one thread): others on the machine then cost little but cache. What is kept
is the ratio to the mean of the plain gradients run right before and right after, so that slow drifts cancel.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Action = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """The median of n ratios with its 95 % bootstrap interval."""

    median: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def seconds(action: Action) -> float:
    """CPU seconds of one call, collected garbage apart."""
    start = time.process_time()
    action()
    return time.process_time() - start


def interleaved(actions: Mapping[str, Action], unit: Action, repeats: int, reset: Action) -> dict[str, Ratio]:
    """The time of every action over that of `unit`; `reset` (not timed) before each; all warmed once."""
    order = random.Random(0)
    found: dict[str, list[float]] = {name: [] for name in actions}
    for action in (unit, *actions.values()):
        reset()
        action()
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            for name in order.sample(list(actions), len(actions)):
                reset()
                before = seconds(unit)
                spent = seconds(actions[name])
                reset()
                found[name].append(2 * spent / (before + seconds(unit)))
            gc.collect()
    finally:
        gc.enable()
    return {name: median(ratios) for name, ratios in found.items()}


def median(values: list[float], resamples: int = 1000) -> Ratio:
    """Median with the 2.5 and 97.5 % points of the medians of resampled values."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(resamples))
    low, high = medians[round(0.025 * (resamples - 1))], medians[round(0.975 * (resamples - 1))]
    return Ratio(statistics.median(values), low, high, len(values))
