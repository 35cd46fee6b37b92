"""What an oracle has seen of each loss, once, on two samples, before it takes second derivatives of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .graphs import SecondDerivativeError, checked, held_kinks
from .group import Part
from .kinks import Held
from .terms import Loss
from .twice import customs, doubt
from .vectors import Vector

if TYPE_CHECKING:
    from .oracle import TorchOracle


class Looked:
    """By slot, as losses are told apart by it: what was found when its loss was first asked for."""

    def __init__(self, oracle: TorchOracle) -> None:
        self._oracle = oracle
        self._kinked: dict[str, bool] = {}
        self._fine: set[str] = set()

    def kinked(self, loss: Loss, part: Part, slot: str) -> bool:
        """Whether model or loss have branches to hold in probes. ValueError where one cannot be held."""
        if slot not in self._kinked:
            oracle, sample = self._oracle, part.few()
            one = oracle.zeros(()) + 1

            def gradient(held: Held | None) -> Vector:
                value, _ = checked(lambda: replace(sample, held=held).sums(loss, oracle.model), oracle.model)
                return oracle.group.gradient(value, oracle.params, one)

            with oracle.precision(full=True):
                self._kinked[slot] = held_kinks(gradient)
        return self._kinked[slot]

    def differentiable(self, loss: Loss, part: Part, slot: str) -> None:
        """ValueError for what double backward is wrong for.

        Where somebody's own backward is on the way, its products are compared with differences (`core.twice`).
        """
        if slot in self._fine:
            return
        oracle, sample = self._oracle, part.few()
        with oracle.exactly():
            value, _ = checked(lambda: sample.sums(loss, oracle.model), oracle.model)
        if custom := customs([value]):
            del value
            try:
                kinked = self.kinked(loss, part, slot)
            except ValueError:
                kinked = None
            why = doubt(type(oracle)(oracle.model), loss, sample, kinked, custom)
            if oracle.group.total(oracle.zeros(1) + (why is not None)).any():  # all ranks, or none
                raise SecondDerivativeError(why or "exact products are off on another rank")
        self._fine.add(slot)
