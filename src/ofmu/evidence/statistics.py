"""What a run of attacks can show before it is made, and what its numbers may be said to show afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from scipy.stats import beta, binom, nct, norm, t

LEVEL, POWER = 0.05, 0.8


# power


def auc_power(auc: float, forget: int, heldout: int, level: float = LEVEL) -> float:
    """Probability that a two-sided test at `level` tells an attack of this AUC from .5.

    forget, heldout: samples on each side. Normal approximation: error √((n+m+1)/(12nm)) at .5 (Mann–Whitney), and
    Hanley & McNeil's (1982) at `auc`. Raises ValueError for an AUC outside [0, 1] and fewer than 2 samples.
    """
    _auc(auc, forget, heldout)
    limit = float(norm.isf(level / 2)) * null_error(forget, heldout)
    a = max(auc, 1 - auc)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    n, m = forget, heldout
    error = math.sqrt(max(a * (1 - a) + (n - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a), 0.0) / (n * m))
    if error == 0:
        return 1.0 if a - 0.5 > limit else 0.0
    return float(norm.sf((limit - a + 0.5) / error) + norm.cdf((-limit - a + 0.5) / error))


def null_error(forget: int, heldout: int) -> float:
    """The standard error of an AUC whose true value is .5, without ties: √((n+m+1)/(12nm))."""
    return math.sqrt((forget + heldout + 1) / (12 * forget * heldout))


def detectable_auc(forget: int, heldout: int, power: float = POWER, level: float = LEVEL) -> float | None:
    """The smallest AUC above .5 that is detected with this power; None where not even AUC 1 is.

    A leak of that size on the other side, 1 − AUC, is detected as well.
    """
    low, high = 0.5, 1.0
    if auc_power(high, forget, heldout, level) < power:
        return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if auc_power(middle, forget, heldout, level) >= power else (middle, high)
    return high


def samples_needed(auc: float, power: float = POWER, level: float = LEVEL) -> int:
    """How many forget samples, and as many held-out ones, detect this AUC with this power.

    Raises ValueError for an AUC of .5 (no number detects nothing) and outside [0, 1].
    """
    _auc(auc, 2, 2)
    if abs(auc - 0.5) < 1e-3:
        raise ValueError(f"auc: found {auc:g}, expected one that differs from .5 by .001 or more")
    return _fewest(lambda n: auc_power(auc, n, n, level) >= power)


def detectable_tpr(fpr: float, members: int, power: float = POWER, level: float = LEVEL) -> float | None:
    """The smallest true-positive rate whose exact interval lies above `fpr` with this power; None if none does.

    members: samples it is a share of. Clopper–Pearson at 1 − level, for a threshold taken as known. Exact
    binomial.
    """
    counts = np.arange(1, members + 1)
    above = counts[beta.ppf(level / 2, counts, members - counts + 1) > fpr]
    if not len(above):
        return None
    low, high = fpr, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if binom.sf(above[0] - 1, members, middle) >= power else (middle, high)
    return high


def shift_power(shift: float, models: int, retrains: int, level: float = LEVEL) -> float:
    """Probability that a two-sided t test at `level` tells so many unlearned models from `retrains`.

    shift: of all rows together, in standard deviations between seeds, the same on both sides. Raises ValueError
    for less than 1 unlearned or 2 retrained models.
    """
    if models < 1 or retrains < 2:
        raise ValueError(f"models, retrains: found {models} and {retrains}, expected at least 1 and 2")
    freedom, apart = models + retrains - 2, abs(shift) * math.sqrt(models * retrains / (models + retrains))
    limit = float(t.isf(level / 2, freedom))
    return float(nct.sf(limit, freedom, apart) + nct.cdf(-limit, freedom, apart))


def detectable_shift(models: int, retrains: int, power: float = POWER, level: float = LEVEL) -> float:
    """The smallest shift, in standard deviations between seeds, seen with this power (`shift_power`)."""
    low, high = 0.0, 1.0
    while shift_power(high, models, retrains, level) < power:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if shift_power(middle, models, retrains, level) >= power else (middle, high)
    return high


def models_needed(shift: float, power: float = POWER, level: float = LEVEL) -> int:
    """How many unlearned models, and as many retrained ones, show a shift of this size (`shift_power`).

    Raises ValueError for a shift below .01, which more than 100,000 models would be needed for.
    """
    if not abs(shift) >= 0.01:
        raise ValueError(f"shift: found {shift}, expected at least .01 standard deviations")
    return _fewest(lambda n: shift_power(shift, n, n, level) >= power)


def _fewest(enough: Callable[[int], bool]) -> int:
    """The smallest number, from 2, that is enough; more are enough too."""
    low, high = 2, 4
    while not enough(high):
        high *= 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


# many attacks at once


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's (1979) adjusted p-values: below α, the family's chance of any false alarm is below α.

    The i-th smallest of m (from 0) becomes max over j ≤ i of (m − j)·p_j, at most 1; nothing is assumed of how the
    attacks depend on each other. Raises ValueError for values outside [0, 1].
    """
    bad = {name: p for name, p in p_values.items() if not 0 <= p <= 1}
    if bad:
        raise ValueError(f"p_values: found {bad}, expected numbers in [0, 1]")
    adjusted, largest = {}, 0.0
    for i, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - i) * p))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _auc(auc: float, forget: int, heldout: int) -> None:
    if not 0 <= auc <= 1 or min(forget, heldout) < 2:
        raise ValueError(
            f"auc, forget, heldout: found {auc}, {forget} and {heldout}, expected an AUC in [0, 1] and at least 2 "
            "samples on each side"
        )
