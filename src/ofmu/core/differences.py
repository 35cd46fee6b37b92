"""Directional derivatives of a vector field by differences, with a step that fits the field.

A step fixed in the parameters is wrong almost everywhere: too long for a sharp loss, lost in rounding for a flat
one. What decides the error is how much the *field* changes, so the step is chosen such that
‖g(θ+εv) − g(θ)‖/‖g(θ)‖ meets a wanted value. With a field known to a relative noise η, the error is least near

    η^(1/2)     forward:  (g(θ+εv) − g(θ)) / ε        one evaluation
    η^(1/3)     central:  (g(θ+εv) − g(θ−εv)) / 2ε    two

η is the rounding eps of the parameters' type for a gradient; for a field that is a difference itself it is taken
as eps^(2/3), the error of a central difference at its best. A difference of a difference is central outside, where
the truncation is large, and may be forward inside, at three times the usual change: the truncation of the two
inner differences is nearly the same and cancels, so what matters inside is the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from . import vectors
from .vectors import Vector

PROBE = 1e-4  # ‖εv‖/‖θ‖ of the very first step
REACH = (1e-8, 1e-1)  # no step is shorter or longer than this, relative to ‖θ‖
BAND = 3.0  # a change within this factor of the wanted one will do
TRIALS = 4

Place = Literal["alone", "inside", "outside"]


class Steps:
    """Chooses, remembers and takes difference steps at `params`.

    relative: by slot, the ‖εv‖/‖θ‖ at which the field would change by its own length, were it linear. Every
    derivative corrects it from the change that its own step caused, so a warm one costs no probe: one evaluation
    (forward) or two (central), and the two schemes share what they learn.
    """

    def __init__(self, params: Vector) -> None:
        self.params = params
        self.relative: dict[str, float] = {}
        self.eps = torch.finfo(params[0].dtype).eps

    def wanted(self, central: bool, place: Place = "alone") -> float:
        """The relative change of the field that a step shall cause; place: in a difference of a difference."""
        if place == "outside":
            return self.eps ** (2 / 9)
        if central:
            return self.eps ** (1 / 3)
        return self.eps**0.5 * (3 if place == "inside" else 1)

    def difference(
        self,
        field: Callable[[], Vector],
        v: Vector,
        at: Vector,
        slot: str,
        *,
        central: bool = True,
        place: Place = "alone",
    ) -> Vector:
        """J v of `field`, a new vector; `at` = field(θ). θ comes back bit for bit.

        field must return memory of its own. Raises ZeroDivisionError where the field vanishes: there no step size
        can be chosen.
        """
        length, size = vectors.length(v), vectors.length(at)
        if length == 0.0:
            return vectors.zeros_like(self.params)
        if size == 0.0:
            raise ZeroDivisionError(
                f"differences ({slot}): the field vanishes here, so no step size can be chosen"
            )
        unit = (vectors.length(self.params) or 1.0) / length
        with vectors.restored(self.params) as saved:
            moved, epsilon = self._moved(field, v, at, size, unit, slot, self.wanted(central, place), saved)
            if not central:
                return vectors.difference_(moved, at, 1 / epsilon)
            vectors.assign(self.params, saved)
            vectors.move(self.params, -epsilon, v)
            return vectors.difference_(moved, field(), 1 / (2 * epsilon))

    def _moved(
        self,
        field: Callable[[], Vector],
        v: Vector,
        at: Vector,
        size: float,
        unit: float,
        slot: str,
        wanted: float,
        saved: Vector,
    ) -> tuple[Vector, float]:
        """(field(θ + εv), ε) for an ε whose change is near enough to the wanted one."""
        relative = _clipped(wanted * self.relative[slot]) if slot in self.relative else PROBE
        for _ in range(TRIALS):
            vectors.assign(self.params, saved)
            vectors.move(self.params, relative * unit, v)
            moved = field()
            change = vectors.distance(moved, at) / size
            self.relative[slot] = relative / max(change, 1e-30)
            better = _clipped(wanted * self.relative[slot])
            if 1 / BAND < better / relative < BAND:
                break
            previous, relative = relative, better
        else:
            relative = previous
        return moved, relative * unit


def _clipped(relative: float) -> float:
    return min(max(relative, REACH[0]), REACH[1])
