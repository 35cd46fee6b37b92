"""The penalty ρ_k of F = L_r + ρ‖∇Φ‖² over the outer iterations k = 0, 1, 2 and so on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Geometric:
    """ρ_k = start · growth^k: the printed schedule (OFMU, arXiv 2509.22483)."""

    start: float = 0.01
    growth: float = 1.1

    def weight(self, k: int, retain_norm: float, penalty_norm: float) -> float:
        """ρ_k; the norms are not used."""
        return self.start * self.growth**k


@dataclass(frozen=True)
class Relative:
    """ρ_k such that ρ_k‖∇‖∇Φ‖²‖ = min(start · growth^k, ceiling) · ‖g_r‖.

    ‖∇‖∇Φ‖²‖ is 10³ to 10⁵ times ‖g_r‖ near a minimum, so a fixed ρ either does nothing or runs over retention
    (17 points of retain accuracy class-wise); a share of the retain gradient's length cannot.
    """

    start: float = 0.1
    growth: float = 1.1
    ceiling: float = 0.3

    def weight(self, k: int, retain_norm: float, penalty_norm: float) -> float:
        """ρ_k for these two gradient norms (0 where the penalty's gradient vanishes)."""
        if penalty_norm == 0.0:
            return 0.0
        return min(self.start * self.growth**k, self.ceiling) * retain_norm / penalty_norm
