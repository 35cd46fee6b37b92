"""The convex case: quadratics, where every assumption of the theory holds and every limit has a closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .problems import FAR, Point, Quadratic
from .rates import estimate, geometric, log_spaced, noise_floors, slopes, typical
from .runs import Measure, Numbers, anchored, ascended, follow, theta

INNER_LR = 0.5  # half of 1/L_Φ
Rows = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How much is run."""

    seeds: int
    T: tuple[int, ...]
    K: int
    together: tuple[int, ...]
    rho: tuple[float, ...]
    sigma2: tuple[float, ...]
    noisy: int


FULL = Size(4, (0, 1, 5, 20), 200, (4, 8, 16, 32), (1.0, 3.0, 10.0, 30.0), (1e-4, 1e-3, 1e-2, 1e-1), 120)
SMOKE = Size(2, (0, 2), 12, (2, 4), (1.0, 3.0), (1e-3, 1e-2), 16)


def measured(q: Quadratic, T: int, rho: float, inner_lr: float = INNER_LR) -> Measure:
    """F − F* and ‖∇F‖² after the outer step; ‖∇Φ‖² and the squared distance to the bi-level solution after the
    inner loop that would follow it.
    """
    problem, target = q.problem(), q.bilevel()
    least = problem.penalised(Point(q.minimiser(rho)), rho)[0]

    def measure(model: nn.Module, k: int) -> dict[str, float]:
        value, square = problem.penalised(model, rho)
        end = ascended(problem, model, T, inner_lr)
        phi = sum(float(g.square().sum()) for g in problem.inner_gradient(end))
        away = float((theta(end) - target).square().sum())
        return {"gap": value - least, "gradient": square, "stationarity": phi, "bilevel": away}

    return measure


def quadratics(size: Size) -> list[Quadratic]:
    """One random instance per seed."""
    return [Quadratic.random(seed) for seed in range(size.seeds)]


def outer_lr(q: Quadratic, rho: float) -> float:
    """1/L_F."""
    return 1 / q.smoothness(rho)


def run(q: Quadratic, T: int, K: int, rho: float = 1.0, at: Sequence[int] | None = None) -> Numbers:
    """The printed algorithm, β = 0, fixed ρ, η_out = 1/L_F."""
    method = q.problem().printed(T=T, inner_lr=INNER_LR, outer_lr=outer_lr(q, rho), rho=rho)
    return follow(q.problem(), method, K, measured(q, T, rho), at=at)


def limit(q: Quadratic, T: int, rho: float = 1.0) -> dict[str, float]:
    """The same measures at the algorithm's fixed point, from the closed form."""
    point = Point(q.fixed_point(T, INNER_LR, outer_lr(q, rho), rho))
    return measured(q, T, rho)(point, 0)


def fixed_inner(size: Size, say: Say) -> Rows:
    """T fixed, K growing: curves, the closed-form limits, and the slope of F − F* over K before its floor."""
    instances, ks = quadratics(size), log_spaced(size.K)
    rows: Rows = {"k": ks, "T": {}}
    for T in size.T:
        say(f"convex: T = {T}, K = {size.K}, {size.seeds} instances")
        runs = [run(q, T, size.K, at=ks) for q in instances]
        ends = [limit(q, T) for q in instances]
        rows["T"][str(T)] = {
            name: {
                "curve": [geometric([r[name][i] for r in runs]) for i in range(len(ks))],
                "limit": typical([point[name] for point in ends]),
            }
            for name in ("gap", "gradient", "stationarity", "bilevel")
        } | {"slope": slopes(ks, [r["gap"] for r in runs])}
    rows["bound"] = [geometric([_classic(q, k) for q in instances]) for k in ks]
    return rows


def _classic(q: Quadratic, k: int, rho: float = 1.0) -> float:
    """‖θ⁰ − θ*‖² L_F / (2k): gradient descent's bound on F − F*, with the constants of this problem."""
    start = theta(q.problem().start())
    return float((start - q.minimiser(rho)).square().sum()) * q.smoothness(rho) / (2 * k)


def together(size: Size, say: Say) -> Rows:
    """T = K: the regime that would make O(1/K) + O(K/T²) vanish."""
    say(f"convex: T = K up to {size.together[-1]}")
    runs = [[run(q, K, K, at=[K]) for K in size.together] for q in quadratics(size)]
    names = ("gap", "gradient", "stationarity", "bilevel")
    return {"K": list(size.together)} | {
        name: {
            "curve": [geometric([r[i][name][0] for r in runs]) for i in range(len(size.together))],
            "slope": slopes(size.together, [[max(x[name][0], 1e-300) for x in r] for r in runs]),
        }
        for name in names
    }


def limits(size: Size) -> Rows:
    """What is left after K → ∞, by T, from the closed form that `fixed_inner` checks against runs."""
    ts, instances = log_spaced(256, 8), quadratics(size)
    found = [[limit(q, T) for T in ts] for q in instances]
    return {"T": ts} | {
        name: [geometric([each[i][name] for each in found]) for i in range(len(ts))]
        for name in ("gap", "stationarity", "bilevel")
    }


def other_reading(size: Size, say: Say) -> Rows:
    """The outer step taken from θ⁽ᵏ⁾ with the gradient at the inner loop's end."""
    T, ks = size.T[-1], log_spaced(size.K)
    say(f"convex: the other reading of the outer step, T = {T}")
    runs = []
    for q in quadratics(size):
        method = q.problem().printed(T=T, inner_lr=INNER_LR, outer_lr=outer_lr(q, 1.0), rho=1.0)
        numbers = anchored(q.problem(), method, size.K, measured(q, 0, 1.0))
        runs.append([numbers["gap"][k - 1] for k in ks])
    return {"T": T, "k": ks, "gap": [geometric([r[i] for r in runs]) for i in range(len(ks))]}


def penalty_to_infinity(size: Size, say: Say) -> Rows:
    """ρ large and steps kept stable: outer iterations that halve the distance to the bi-level solution, and the
    slowest mode's time constant.
    """
    T, most = size.T[-1] // 4 or 1, 10 * size.K
    rows = []
    for q in quadratics(size)[:3]:
        say("convex: rising ρ with η_out = 1/L_F")
        rows.append([_halving(q, T, rho, most) for rho in size.rho])
    return {
        "rho": list(size.rho),
        "T": T,
        "iterations": [geometric([r[i] for r in rows]) for i in range(len(size.rho))],
        "slope": slopes(size.rho, rows),
    } | _time_constants(size, T)


def _time_constants(size: Size, T: int) -> Rows:
    """Outer iterations in which the slowest error shrinks by e: −1/log of the cycle's spectral radius."""
    rows = []
    for q in quadratics(size):
        radii = [_spectral_radius(q, T, outer_lr(q, rho), rho) for rho in size.rho]
        rows.append([-1 / math.log(radius) for radius in radii])
    columns = [[r[i] for r in rows] for i in range(len(size.rho))]
    return {"constant": [geometric(c) for c in columns], "constant slope": slopes(size.rho, rows)}


def _halving(q: Quadratic, T: int, rho: float, most: int) -> float:
    """Outer iterations until ‖θ' − θ_bi-level‖² is half of what the first inner loop left of it."""
    problem = q.problem()
    method = problem.printed(T=T, inner_lr=INNER_LR, outer_lr=outer_lr(q, rho), rho=rho)
    target = q.bilevel()
    first: list[float] = []

    def measure(model: nn.Module, k: int) -> dict[str, float]:
        away = float((theta(ascended(problem, model, T, INNER_LR)) - target).square().sum())
        first.append(away)
        return {"done": 2 * FAR if away <= first[0] / 2 else 0.0}

    return follow(problem, method, most, measure)["k"][-1]


def growing(size: Size, say: Say, start: float = 0.1, growth: float = 1.1) -> Rows:
    """ρ_k = ρ₀γᵏ at a fixed η_out: when the run blows up, and when its spectrum says that it will."""
    T, seen, predicted = 1, [], []
    for q in quadratics(size):
        lr = outer_lr(q, 1.0)
        method = q.problem().printed(T=T, inner_lr=INNER_LR, outer_lr=lr, rho=start, growth=growth)
        ends = follow(q.problem(), method, 400, _until_risen(q))["k"]
        seen.append(ends[-1])
        predicted.append(float(_first_unstable(q, T, lr, start, growth)))
    say(f"convex: geometric ρ at a fixed step: risen by iteration {estimate(seen)}")
    return {
        "start": start,
        "growth": growth,
        "T": T,
        "unstable from": estimate(predicted),
        "risen tenfold at": estimate(seen),
    }


def _until_risen(q: Quadratic) -> Measure:
    """Ends a run once ‖∇F‖² (ρ = 1) is ten times its least."""
    problem, lowest = q.problem(), [math.inf]

    def measure(model: nn.Module, k: int) -> dict[str, float]:
        square = problem.penalised(model, 1.0)[1]
        lowest[0] = min(lowest[0], square)
        return {"risen": 2 * FAR if square > 10 * lowest[0] else 0.0}

    return measure


def _first_unstable(q: Quadratic, T: int, lr: float, start: float, growth: float) -> int:
    """The first k whose cycle has spectral radius > 1."""
    k = 0
    while _spectral_radius(q, T, lr, start * growth**k) <= 1:
        k += 1
    return k + 1


def _spectral_radius(q: Quadratic, T: int, lr: float, rho: float) -> float:
    return float(torch.linalg.eigvals(q.cycle(T, INNER_LR, lr, rho)).abs().max())


def noise(size: Size, say: Say) -> Rows:
    """Gradient noise of variance σ²: what it adds to the floor of F − F*, mean over the last half of the run."""
    T, K = size.T[1], size.noisy
    runs: list[list[list[float]]] = []
    for seed, q in enumerate(quadratics(size)):
        say(f"convex: noise, T = {T}, instance {seed}")
        method = q.problem().printed(T=T, inner_lr=INNER_LR, outer_lr=outer_lr(q, 1.0), rho=1.0)
        measure = measured(q, T, 1.0)
        runs.append(
            [
                follow(q.problem(), method, K, measure, sigma=math.sqrt(s2), seed=seed)["gap"]
                for s2 in (0.0, *size.sigma2)
            ]
        )
    return {"sigma2": list(size.sigma2), "T": {str(T): noise_floors(size.sigma2, runs)}}
