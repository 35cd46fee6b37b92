"""Directional derivatives of a vector field by differences, with a step that fits the field.

A step fixed in the parameters is wrong almost everywhere: too long for a sharp loss, lost in rounding for a flat
one. What decides the error is how much the *field* changes, so the step is chosen such that
‖g(θ+εv) − g(θ)‖/‖g(θ)‖ meets a wanted value. With a field known to a relative noise η, the error is least near

    η^(1/2)     forward:  (g(θ+εv) − g(θ)) / ε        one evaluation
    η^(1/3)     central:  (g(θ+εv) − g(θ−εv)) / 2ε    two

η is the rounding eps of the parameters' type for a gradient; for a field that is a difference itself it is taken
as eps^(2/3), the error of a central difference at its best. A difference of a difference is central outside, where
the truncation is large, and may be forward inside, at ten times the usual change: the truncation of the two
inner differences is nearly the same and cancels, so what matters inside is the noise.

How much a network makes of rounding differs by tens, and at its best step a forward difference in float32 is off
by 3e-4 on a tiny network, by 7e-4 on a CNN, by 2e-3 on transformers. So "auto" tries. The first product of a
loss is central, out of g₊ and g₋, with a forward one beside it, out of g₁ at a shorter step ε₁. Its truncation
and its noise there are

    t = ε₁ ‖g₊ − 2g + g₋‖ / 2ε²  and  n, n² = ‖forward − central‖² − t²,

so at ε₁ √(n/t) they are equal and it is off by √(2nt): from then on forward differences are taken at that step
where this is at most `GOOD` of what the product is for, central ones elsewhere. What it is for: itself, or, where
it is known to be added to something of another length (β H u to g_f), √(its length² + that length²).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

from . import vectors
from .protocols import Direction, Scheme, formed
from .vectors import Combination, Vector

PROBE = 1e-4  # ‖εv‖/‖θ‖ of the very first step
REACH = (1e-8, 1e-1)  # no step is shorter or longer than this, relative to ‖θ‖
BAND = 3.0  # a change within this factor of the wanted one will do
TRIALS = 4
GOOD = 6e-4  # forward differences expected to be so exact give a ∇Φ within 1e-3 (at 8e-4 one was off by 1.06e-3)
INSIDE = 1e-3  # and so exact inside a difference of a difference an outer product within 3e-2 (9e-4: 1e-2)
SHORTER = 30.0  # by which a step is shortened whose end has no finite field
RANGE = 10.0  # its best step is looked for within this factor of the usual one

Place = Literal["alone", "inside", "outside"]
LIMITS: dict[Place, float] = {"alone": GOOD, "inside": INSIDE, "outside": 0.0}
# (field(θ + εv) − field(θ))/ε and the field's relative change, for an ε that is given by ‖εv‖/‖θ‖
Probe = Callable[[float], tuple[Vector, float]]


class Trial(NamedTuple):
    """What a forward difference beside a central one showed.

    relative: `Steps.relative` then; change: of the field, to aim at; error: the length to expect of its error
    there; size: that of the product, both per ‖v‖.
    """

    relative: float
    change: float
    error: float
    size: float

    def off(self, length: float, beside: float = 0.0) -> float:
        """The error to expect of H v, ‖v‖ = length, relative to it and what of such a length it is added to."""
        whole = math.hypot(self.size * length, beside)
        return self.error * length / whole if whole > 0 else math.inf


class Steps:
    """Chooses, remembers and takes difference steps at `params`.

    scale: ‖θ‖ at the start, the unit of steps. relative: by slot, the ‖εv‖/‖θ‖ at which the field would change by
    its own length, were it linear. Every derivative corrects it from the change that its own step caused, so a
    warm one costs no probe: one evaluation (forward) or two (central), and the two schemes share what they learn.
    tried: by slot, what a forward difference beside a central one showed. Once `relative` has left a factor `BAND`
    of what it was, it is tried again.
    """

    def __init__(self, params: Vector) -> None:
        self.params = params
        self.scale = vectors.size(params) or 1.0
        self.relative: dict[str, float] = {}
        self.tried: dict[str, Trial] = {}
        self.eps = torch.finfo(params[0].dtype).eps

    def wanted(self, central: bool, place: Place = "alone") -> float:
        """The relative change of the field that a step shall cause; place: in a difference of a difference."""
        if place == "outside":
            return self.eps ** (2 / 9)
        if central:
            return self.eps ** (1 / 3)
        return self.eps**0.5 * (10 if place == "inside" else 1)

    def difference(
        self,
        field: Callable[[], Vector],
        v: Direction,
        at: Vector,
        slot: str,
        *,
        scheme: Scheme = "central",
        place: Place = "alone",
        beside: float = 0.0,
    ) -> Vector:
        """J v of `field`, a new vector; `at` = field(θ). θ comes back bit for bit.

        beside: the length of what the product will be added to, beside which "auto" judges it.

        field must return memory of its own. A `Combination` is never formed; a v that is given by how to form it
        is in memory only while θ is moved. Raises ZeroDivisionError where the field vanishes: there no step size
        can be chosen.
        """
        length, size = _length(v), vectors.size(at)
        if length == 0.0:
            return vectors.zeros_like(self.params)
        if size == 0.0:
            raise ZeroDivisionError(
                f"differences ({slot}): the field vanishes here, so no step size can be chosen"
            )
        unit = self.scale / length
        with vectors.restored(self.params) as saved:

            def probe(relative: float) -> tuple[Vector, float]:
                vectors.place(self.params, saved, relative * unit, v if isinstance(v, Combination) else formed(v))
                change = vectors.difference_(field(), at)
                changed = vectors.size(change) / size
                return vectors.scale_(1 / (relative * unit), change), changed

            known = scheme != "auto" or place == "inside" or self._known(slot)
            off = 0.0 if slot not in self.tried else self.tried[slot].off(length, beside)
            forward = scheme == "forward" or (scheme == "auto" and known and off <= LIMITS[place])
            best = forward and scheme == "auto" and place == "alone"
            wanted = self.tried[slot].change if best else self.wanted(not forward, place)
            ahead, relative = self._moved(probe, slot, wanted)
            if forward:
                return ahead
            back, _ = probe(-relative)
            bend = 0.0 if known else vectors.distance(ahead, back)  # (g₊ − 2g + g₋)/ε
            found = vectors.scale_(0.5, vectors.added(ahead, back))
            del back
            if not known and slot in self.relative:
                self._try(probe, slot, found, length, bend / (2 * relative))
            return found

    def _known(self, slot: str) -> bool:
        """Whether a forward difference was tried at such a step size."""
        return slot in self.tried and 1 / BAND < self.relative[slot] / self.tried[slot].relative < BAND

    def _try(self, probe: Probe, slot: str, central: Vector, length: float, bend: float) -> None:
        """The best change and the error of a forward difference; bend: its truncation per relative step."""
        usual = self.wanted(False)
        relative = _clipped(usual * self.relative[slot])
        forward, _ = probe(relative)
        off, truncation = vectors.size(vectors.difference_(forward, central)), bend * relative
        noise = max(off**2 - truncation**2, 0.0) ** 0.5
        factor = (noise / max(truncation, noise / RANGE**2, 1e-30)) ** 0.5
        factor = min(max(factor, 1 / RANGE), RANGE)
        error = math.hypot(factor * truncation, noise / factor)
        if math.isfinite(error):
            self.tried[slot] = Trial(
                self.relative[slot], factor * usual, error / length, vectors.size(central) / length
            )

    def _moved(self, probe: Probe, slot: str, wanted: float) -> tuple[Vector, float]:
        """(the forward difference, ‖εv‖/‖θ‖) for an ε whose change is near enough to the wanted one."""
        relative = _clipped(wanted * self.relative[slot]) if slot in self.relative else PROBE
        for _ in range(TRIALS):
            ahead, change = probe(relative)
            if not math.isfinite(change):  # the field has no value there: nothing is learned but to stay nearer
                previous, relative = relative, _clipped(relative / SHORTER)
                continue
            self.relative[slot] = relative / max(change, 1e-30)
            better = _clipped(wanted * self.relative[slot])
            if 1 / BAND < better / relative < BAND:
                break
            previous, relative = relative, better
        else:
            relative = previous
        return ahead, relative


def _length(v: Direction) -> float:
    """‖v‖; what a measure says suffices, as it only sets the step."""
    if isinstance(v, Combination) and not math.isnan(v.length):
        return v.length
    return vectors.size(formed(v))


def _clipped(relative: float) -> float:
    return min(max(relative, REACH[0]), REACH[1])
