"""What OFMU does where the budget is small for what is to be forgotten."""

from __future__ import annotations

from dataclasses import dataclass

from ..tasks import Task


@dataclass(frozen=True)
class Brief:
    """Rounds of one ascent, up to `rate` times as long, and of at most `repair` outer steps, for small budgets.

    Rounds of many careful ascents end nearest to the targets where there is time for them; with less they are
    broken off halfway. One long ascent, which the Polyak length cuts where the target is near, and a repair that
    lags behind it, come most of the way sooner.

    until: the largest budget, in sample-gradients for each forget sample, with which rounds are brief.
    """

    until: float = 24.0
    rate: float = 6.0
    repair: int = 2

    def __post_init__(self) -> None:
        if self.until < 0 or self.rate <= 0 or self.repair < 1:
            raise ValueError(f"OFMU: found {self}, expected until ≥ 0, rate > 0 and repair ≥ 1")

    def due(self, task: Task) -> bool:
        """Whether this task's budget is known, and small."""
        return task.budget is not None and task.budget <= self.until * len(task.forget.samples)
