"""Checks of what a metric is given: a metric of broken numbers must fail by name, never return a number."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Floats = NDArray[np.float64]
ROUNDING = 1e-6  # a float32 softmax may give 1.0000001, and its loss −1e-7


def finite(name: str, values: ArrayLike, ndim: int) -> Floats:
    """`values` as float64 with `ndim` axes; ValueError if the shape is another, empty, or not all finite."""
    array = _floats(name, values)
    if array.ndim != ndim or array.size == 0:
        raise ValueError(f"{name}: found shape {array.shape}, expected {ndim} axis/axes and at least one value")
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise ValueError(
            f"{name}: found {bad} of {array.size} values that are nan or infinite, expected finite numbers; "
            "the model or the run that made them has diverged"
        )
    return array


def _floats(name: str, values: ArrayLike) -> Floats:
    if isinstance(values, Tensor):
        return np.asarray(values.detach().double().cpu().numpy(), dtype=np.float64)
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        found = type(values).__name__
        raise ValueError(f"{name}: found a {found} that is no array of numbers ({error})") from None


def vector(name: str, values: ArrayLike, low: float = -np.inf, high: float = np.inf) -> Floats:
    """One number per sample, float64 [n] with n ≥ 1, each inside [low, high]; ValueError otherwise."""
    array = finite(name, values, ndim=1)
    if array.min() < low - ROUNDING or array.max() > high + ROUNDING:
        raise ValueError(
            f"{name}: found values from {array.min():g} to {array.max():g}, expected [{low:g}, {high:g}]"
        )
    return np.clip(array, low, high)


def same_length(name: str, values: NDArray[np.generic], other_name: str, other: NDArray[np.generic]) -> None:
    """ValueError unless the two arrays have one row per sample of the same samples."""
    if len(values) != len(other):
        raise ValueError(
            f"{name} and {other_name}: found {len(values)} and {len(other)} rows, expected the same samples "
            "in the same order"
        )


def classes(name: str, values: ArrayLike) -> NDArray[np.int64]:
    """Class indices, int64 [n] with n ≥ 1 and none negative; ValueError otherwise."""
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name}: found {array.dtype} of shape {array.shape}, expected integer classes [n], n ≥ 1"
        )
    if array.min() < 0:
        raise ValueError(f"{name}: found class {array.min()}, expected classes ≥ 0; leave out ignored samples")
    return array.astype(np.int64)
