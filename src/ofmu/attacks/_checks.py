"""Checks of what an attack is given (attacks and metrics never import each other: each checks its own)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def finite_vector(name: str, values: ArrayLike) -> Floats:
    """One number per sample, float64 [n], n ≥ 1; ValueError if empty, of another shape, or not all finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: found shape {array.shape}, expected [n] with at least one sample")
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise ValueError(
            f"{name}: found {bad} of {array.size} values that are nan or infinite, expected finite numbers; "
            "an attack on a diverged model says nothing about privacy"
        )
    return array


def not_constant(names: str, values: Floats) -> None:
    """ValueError when all values are equal: nothing can be learnt there, and .5 would look like privacy."""
    if values.min() == values.max():
        raise ValueError(
            f"{names}: found the one value {values[0]:g} in all {values.size} samples, expected values that "
            "differ; the attack scores all rows alike"
        )
