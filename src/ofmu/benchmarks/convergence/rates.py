"""Rates from measurements: log-log slopes and their intervals, means with theirs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import t as student


@dataclass(frozen=True)
class Estimate:
    """A mean over n independent runs with its 95 % interval (Student's t; no interval for n = 1)."""

    mean: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.3g}"
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval of independent values."""
    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return Estimate(mean, None, None, n)
    half = float(student.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def geometric(values: Sequence[float]) -> Estimate:
    """Geometric mean and the 95 % interval of its logarithm, taken back: for positive values over orders."""
    if min(values) <= 0:
        raise ValueError(f"geometric mean: expected positive values, found {list(values)}")
    logs = estimate([math.log(v) for v in values])
    low, high = (None if x is None else math.exp(min(x, 700.0)) for x in (logs.low, logs.high))
    return Estimate(math.exp(logs.mean), low, high, logs.n)


def typical(values: Sequence[float]) -> Estimate:
    """The geometric mean of positive values, the arithmetic one where some are not (rounding around 0)."""
    return geometric(values) if min(values) > 0 else estimate(values)


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The least-squares slope of log y over log x: p where y ∝ xᵖ. Raises ValueError for values ≤ 0."""
    if len(x) != len(y) or len(x) < 2 or min(*x, *y) <= 0:
        raise ValueError(f"slope: expected two equal rows of at least 2 positive numbers, found {x} and {y}")
    u, v = [math.log(a) for a in x], [math.log(b) for b in y]
    return statistics.linear_regression(u, v).slope


def slopes(x: Sequence[float], runs: Sequence[Sequence[float]]) -> Estimate:
    """The mean of the slopes of several runs, one row of y each, with its interval."""
    return estimate([slope(x, y) for y in runs])


def added_by_noise(sigma2: Sequence[float], added: Sequence[Sequence[float]]) -> dict[str, Any]:
    """What noise added (a row per run, a column per σ²), and the slope over those σ² where every run shows it."""
    columns = [[row[i] for row in added] for i in range(len(sigma2))]
    clear = [i for i, column in enumerate(columns) if min(column) > 0]
    fit = None
    if len(clear) > 1:
        fit = estimate([slope([sigma2[i] for i in clear], [row[i] for i in clear]) for row in added])
    return {"added": [typical(c) for c in columns], "slope": fit}


def noise_floors(sigma2: Sequence[float], runs: Sequence[Sequence[Sequence[float]]]) -> dict[str, Any]:
    """What noise adds to a measure, given by step: of each run a row without noise, then one per σ².

    added, slope: over the last half, see `added_by_noise`. later: at the largest σ², what is added in the last
    quarter over what is in the third (None where some run does not show it): 1 where it does not shrink with K.
    """
    added = [[_part(row, 2, 4) - _part(run[0], 2, 4) for row in run[1:]] for run in runs]
    quarters = [[_part(run[-1], q, q + 1) - _part(run[0], q, q + 1) for q in (2, 3)] for run in runs]
    shown = all(min(pair) > 0 for pair in quarters)
    later = geometric([pair[1] / pair[0] for pair in quarters]) if shown else None
    return added_by_noise(sigma2, added) | {"later": later}


def _part(row: Sequence[float], start: int, end: int) -> float:
    """The mean from one quarter to another."""
    return statistics.fmean(row[len(row) * start // 4 : len(row) * end // 4])


def log_spaced(most: int, per_decade: int = 6) -> list[int]:
    """1 … most, about evenly spaced on a log scale."""
    count = max(2, round(per_decade * math.log10(most)) + 1) if most > 1 else 1
    return sorted({round(most ** (i / max(count - 1, 1))) for i in range(count)})
