"""What changes over the outer iterations k = 0, 1, …: the penalty ρ_k of F = L_r + ρ‖∇Φ‖², and the priority."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol


@dataclass(frozen=True)
class Memory:
    """What a penalty remembers of the run: how often it grew, and the last ‖∇Φ‖ it grew or fell against."""

    growths: int = 0
    last: float = math.inf


START = Memory()


class Penalty(Protocol):
    """How ρ_k is chosen."""

    def observe(self, memory: Memory, stationarity: float) -> Memory:
        """What to remember once ‖∇Φ‖ was seen; asked before `weight`."""
        ...

    def weight(self, k: int, retain_norm: float, penalty_norm: float, memory: Memory = START) -> float:
        """ρ_k for ‖g_r‖ and ‖∇‖∇Φ‖²‖."""
        ...


class _Memoryless:
    def observe(self, memory: Memory, stationarity: float) -> Memory:
        """Nothing is remembered."""
        return memory


@dataclass(frozen=True)
class Geometric(_Memoryless):
    """ρ_k = start · growth^k: the printed schedule (OFMU, arXiv 2509.22483)."""

    start: float = 0.01
    growth: float = 1.1

    def weight(self, k: int, retain_norm: float, penalty_norm: float, memory: Memory = START) -> float:
        """ρ_k; the norms are not used."""
        return self.start * self.growth**k


@dataclass(frozen=True)
class Relative(_Memoryless):
    """ρ_k such that ρ_k‖∇‖∇Φ‖²‖ = min(start · growth^k, ceiling) · ‖g_r‖.

    ‖∇‖∇Φ‖²‖ is 10³ to 10⁵ times ‖g_r‖ near a minimum, so a fixed ρ either does nothing or runs over retention
    (17 points of retain accuracy class-wise); a share of the retain gradient's length cannot.
    """

    start: float = 0.1
    growth: float = 1.1
    ceiling: float = 0.3

    def weight(self, k: int, retain_norm: float, penalty_norm: float, memory: Memory = START) -> float:
        """ρ_k for these two gradient norms (0 where the penalty's gradient vanishes)."""
        if penalty_norm == 0.0:
            return 0.0
        return min(self.start * self.growth**k, self.ceiling) * retain_norm / penalty_norm


@dataclass(frozen=True)
class Driven:
    """ρ grows, by `schedule`'s own growth, only when ‖∇Φ‖ failed to fall to `fall` of its last mark.

    A fixed schedule goes on growing while the constraint is being met already, and so buys nothing for retention's
    loss. This is the usual rule for penalty and augmented Lagrangian methods (Nocedal & Wright 2006, §17.4).
    """

    schedule: Geometric | Relative = field(default_factory=Relative)
    fall: float = 0.9

    def observe(self, memory: Memory, stationarity: float) -> Memory:
        """One growth more, or a new mark to fall from."""
        if stationarity <= self.fall * memory.last:
            return replace(memory, last=stationarity)
        return replace(memory, growths=memory.growths + 1)

    def weight(self, k: int, retain_norm: float, penalty_norm: float, memory: Memory = START) -> float:
        """The schedule's weight after as many iterations as there were growths."""
        return self.schedule.weight(memory.growths, retain_norm, penalty_norm)


@dataclass(frozen=True)
class Lagrangian:
    """The augmented Lagrangian of  min L_r  subject to ∇Φ = 0:  L_r + λ·∇Φ + ρ‖∇Φ‖²,  then  λ ← λ + 2ρ∇Φ.

    Its gradient is g_r + ∇²Φ (λ + 2ρ∇Φ), one outer product along another direction, so it costs what the penalty
    costs. The multiplier meets the constraint at a finite ρ, which a pure penalty meets only as ρ → ∞. ρ grows
    only where ‖∇Φ‖ failed to fall. (Hestenes 1969; Nocedal & Wright 2006, §17.3.) reach: ‖λ‖ is kept within
    reach · 2ρ‖∇Φ‖, since the multiplier is estimated on small batches.
    """

    rho: float = 0.01
    growth: float = 1.1
    fall: float = 0.9
    reach: float = 10.0

    def observe(self, memory: Memory, stationarity: float) -> Memory:
        """As `Driven`."""
        return Driven(fall=self.fall).observe(memory, stationarity)

    def weight(self, k: int, retain_norm: float, penalty_norm: float, memory: Memory = START) -> float:
        """ρ."""
        return self.rho * self.growth**memory.growths


@dataclass(frozen=True)
class Priority:
    """How much forgetting counts against retention: p_k in [0, 1], from `start` to `end` over `over` iterations.

    The ascent's rate is multiplied by 2p and the descent's by 2(1 − p), so ½ changes nothing. end None: constant.
    shape: how it gets there. "triangle": linearly, and p does not stay at `end`, but returns to `start` over as
        many iterations, and sets out again.
    """

    start: float = 0.5
    end: float | None = None
    over: int = 10
    shape: Literal["linear", "cosine", "triangle"] = "linear"

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("end", self.end)):
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"priority: {name} is {value}, expected 0 (retain alone) to 1 (forget alone)")
        if self.over < 1:
            raise ValueError(f"priority: over is {self.over}, expected at least 1 outer iteration")

    def at(self, k: int) -> float:
        """p_k."""
        if self.end is None:
            return self.start
        t = 1 - abs(1 - k / self.over % 2) if self.shape == "triangle" else min(k / self.over, 1.0)
        share = (1 - math.cos(math.pi * t)) / 2 if self.shape == "cosine" else t
        return self.start + (self.end - self.start) * share

    def factors(self, k: int) -> tuple[float, float]:
        """What the ascent's and the descent's rates are multiplied by: (2p, 2(1 − p))."""
        p = self.at(k)
        return 2 * p, 2 * (1 - p)
