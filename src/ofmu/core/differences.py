"""Directional derivatives of a vector field by central differences, with a step that fits the field.

A step fixed in the parameters is wrong almost everywhere: too long for a sharp loss, lost in rounding for a flat
one. What decides the error is how much the *field* changes, so the step is chosen such that
‖g(θ+εv) − g(θ)‖/‖g(θ)‖ meets a wanted value: eps^(1/3), where the error of a central difference is least (about
1e-2 in float32), and eps^(1/6) for a difference of a difference, whose field is itself only as exact as that.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from . import vectors
from .vectors import Vector

PROBE = 1e-4  # ‖εv‖/‖θ‖ of the first trial step
REACH = (1e-8, 1e-1)  # no step is shorter or longer than this, relative to ‖θ‖
TRIALS = 3


class Steps:
    """Chooses, remembers and takes difference steps at `params`.

    relative: ‖εv‖/‖θ‖ by slot. A remembered step is used again and corrected from the change that it caused, so a
    warm derivative costs two field evaluations and no probe.
    """

    def __init__(self, params: Vector) -> None:
        self.params = params
        self.relative: dict[str, float] = {}
        self.eps = torch.finfo(params[0].dtype).eps

    def difference(
        self, field: Callable[[], Vector], v: Vector, at: Vector, slot: str, nested: bool = False
    ) -> Vector:
        """(field(θ+εv) − field(θ−εv)) / 2ε; `at` = field(θ). θ comes back bit for bit."""
        length, size = vectors.length(v), vectors.length(at)
        if length == 0.0:
            return vectors.zeros_like(self.params)
        if size == 0.0:
            raise ZeroDivisionError(
                f"differences ({slot}): the field vanishes here, so no step size can be chosen"
            )
        wanted = self.eps ** (1 / 6) if nested else self.eps ** (1 / 3)
        unit = vectors.length(self.params) / length
        if slot not in self.relative:
            self.relative[slot] = self._search(field, v, at, size, unit, wanted)
        epsilon = self.relative[slot] * unit
        up, down = self._at(field, v, epsilon), self._at(field, v, -epsilon)
        out = vectors.combine(1 / (2 * epsilon), up, -1 / (2 * epsilon), down)
        change = vectors.length(out) * epsilon / size
        self.relative[slot] = _clipped(self.relative[slot] * _correction(wanted, change))
        return out

    def _at(self, field: Callable[[], Vector], v: Vector, epsilon: float) -> Vector:
        with vectors.restored(self.params):
            vectors.move(self.params, epsilon, v)
            return field()

    def _search(
        self, field: Callable[[], Vector], v: Vector, at: Vector, size: float, unit: float, wanted: float
    ) -> float:
        relative = PROBE
        for _ in range(TRIALS):
            moved = self._at(field, v, relative * unit)
            change = vectors.length(vectors.combine(1.0, moved, -1.0, at)) / size
            factor = _correction(wanted, change)
            relative = _clipped(relative * factor)
            if 0.5 < factor < 2.0:
                break
        return relative


def _correction(wanted: float, change: float) -> float:
    return min(max(wanted / max(change, 1e-30), 1e-3), 1e3)


def _clipped(relative: float) -> float:
    return min(max(relative, REACH[0]), REACH[1])
