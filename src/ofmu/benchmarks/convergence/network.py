"""The non-convex case: a small tanh network in float64, a smooth bounded forget loss, and cross-entropy without a
maximum.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from ...core import vectors
from ...core.inner import inner, penalty_gradient
from ...core.oracle import TorchOracle
from ...core.similarity import Nothing
from ...core.terms import Loss, Terms
from ...core.vectors import Vector
from ...methods import OFMU
from ...tasks import Batch
from .convex import Rows, Say
from .problems import Blobs, Given, noisy
from .rates import Estimate, estimate, geometric, log_spaced, noise_floors, slope
from .runs import Measure, Numbers, follow

LR, RHO = 0.1, 0.1


@dataclass(frozen=True)
class Size:
    """How much is run."""

    seeds: int
    T: tuple[int, ...]
    K: int
    together: tuple[int, ...]
    sigma2: tuple[float, ...]
    repairs: tuple[int, ...]
    rounds: int
    noisy: tuple[int, ...] = (0, 5)  # T


FULL = Size(4, (0, 1, 5, 20), 160, (4, 8, 16, 32), (1e-3, 1e-2, 1e-1), (1, 5, 20), 40)
SMOKE = Size(2, (0, 2), 8, (2, 4), (1e-3, 1e-2), (1, 3), 5, (0, 2))


def run(blobs: Blobs, T: int, K: int, sigma2: float = 0.0, seed: int = 0) -> list[float]:
    """‖∇F‖² after every outer iteration, on the bounded forget loss."""
    problem = blobs.problem("bounded")
    method = problem.printed(T=T, inner_lr=LR, outer_lr=LR, rho=RHO)

    def measure(model: nn.Module, k: int) -> dict[str, float]:
        return {"gradient": problem.penalised(model, RHO)[1]}

    return follow(problem, method, K, measure, sigma=math.sqrt(sigma2), seed=seed)["gradient"]


def means(values: list[float]) -> list[float]:
    """(1/k) Σ_{j ≤ k} of them: what non-convex rates are about."""
    return [total / (i + 1) for i, total in enumerate(itertools.accumulate(values))]


def fixed_inner(size: Size, say: Say) -> Rows:
    """T fixed: the running mean of ‖∇F‖² and its slope over K, the last value, without noise."""
    ks = log_spaced(size.K)
    rows: Rows = {"k": ks, "T": {}}
    for T in size.T:
        say(f"network: T = {T}, K = {size.K}, {size.seeds} seeds")
        runs = [run(Blobs.random(seed), T, size.K) for seed in range(size.seeds)]
        curves = [[means(r)[k - 1] for k in ks] for r in runs]
        rows["T"][str(T)] = {
            "mean": [geometric([c[i] for c in curves]) for i in range(len(ks))],
            "last": geometric([r[-1] for r in runs]),
            "slope": estimate([slope(ks, c) for c in curves]),
        }
    return rows


def together(size: Size, say: Say) -> Rows:
    """T = K: the running mean of ‖∇F‖² at the end of each run."""
    say(f"network: T = K up to {size.together[-1]}")
    ends = [[means(run(Blobs.random(s), K, K))[-1] for K in size.together] for s in range(size.seeds)]
    return {
        "K": list(size.together),
        "mean": [geometric([e[i] for e in ends]) for i in range(len(size.together))],
        "slope": estimate([slope(size.together, e) for e in ends]),
    }


def noise(size: Size, say: Say) -> Rows:
    """What noise of variance σ² adds to the mean of ‖∇F‖² over a run's last half; T = 0 is descent of F."""
    rows: Rows = {"sigma2": list(size.sigma2), "T": {}}
    for T in size.noisy:
        runs = []
        for seed in range(size.seeds):
            say(f"network: noise, T = {T}, seed {seed}")
            blobs = Blobs.random(seed)
            runs.append([run(blobs, T, size.K, s2, seed) for s2 in (0.0, *size.sigma2)])
        rows["T"][str(T)] = noise_floors(size.sigma2, runs)
    return rows


# ---- where Φ has no maximiser, and how many outer steps an inner loop needs


def watched(blobs: Blobs, forget: str) -> Measure:
    """L_f (as cross-entropy), ‖∇Φ‖ (β = 0), L_r, accuracy on the kept samples, ‖∇F‖²."""
    problem = blobs.problem(forget)
    rows = slice(blobs.kept, None)

    def measure(model: nn.Module, k: int) -> dict[str, float]:
        phi = vectors.length(problem.inner_gradient(model))
        with torch.no_grad():
            lost = float(blobs.losses(model, rows).mean())
            kept = float(blobs.retain(model))
        square = problem.penalised(model, RHO)[1]
        accuracy = 100 * blobs.accuracy(model)
        return {"forget": lost, "phi": phi, "retain": kept, "accuracy": accuracy, "gradient": square}

    return measure


def repairs(size: Size, say: Say) -> Rows:
    """The end of a run by the number of outer steps per inner loop (T = 5), for both forget losses."""
    rows: Rows = {}
    for forget in ("bounded", "entropy"):
        for n in size.repairs:
            say(f"network: {forget} forget loss, {n} outer steps per inner loop")
            ends = [_end(Blobs.random(s), forget, n, size.rounds) for s in range(size.seeds)]
            rows[f"{forget}, {n}"] = {name: estimate([e[name] for e in ends]) for name in ends[0]}
    return {"T": 5, "rounds": size.rounds, "rows": rows}


def _end(blobs: Blobs, forget: str, n: int, rounds: int) -> dict[str, float]:
    problem = blobs.problem(forget)
    method = replace(problem.printed(T=5, inner_lr=LR, outer_lr=LR, rho=RHO), repair=(n, n))
    numbers = follow(problem, method, rounds, watched(blobs, forget))
    return {name: values[-1] for name, values in numbers.items()}


def no_maximiser(size: Size, say: Say) -> Rows:
    """The printed algorithm, β = 0.1 and growing ρ, on cross-entropy: medians over seeds, by k."""
    ks = log_spaced(size.K)
    runs: list[Numbers] = []
    for seed in range(size.seeds):
        say(f"network: the printed algorithm on cross-entropy, seed {seed}")
        blobs = Blobs.random(seed)
        problem = blobs.problem("entropy")
        method = OFMU.paper(inner_lr=LR, outer_lr=LR)
        method = replace(method, forget=Given(noisy(problem.forget)))
        runs.append(follow(problem, method, size.K, watched(blobs, "entropy"), at=ks))
    length = min(len(r["k"]) for r in runs)
    names = [name for name in runs[0] if name != "k"]
    table = {name: [_median([r[name][i] for r in runs]) for i in range(length)] for name in names}
    return {"k": ks[:length], "diverged": sum(len(r["k"]) < len(ks) for r in runs)} | table


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


# ---- one batch for both factors of the penalty's gradient


def one_batch_bias(size: Size, say: Say) -> Rows:
    """‖E[2 H_b g_b] − 2 H g‖ / ‖2 H g‖ for batches of b forget samples, the expectation taken over all of them.

    The same batch stands in both factors, so E[H_b g_b] = H g + (E[H_i g_i] − H g)/b (drawn with replacement).
    """
    most = 2 if size.seeds < FULL.seeds else 3
    errors = []
    for seed in range(size.seeds):
        say(f"network: bias of the penalty's gradient on one batch, seed {seed}")
        blobs = Blobs.random(seed)
        oracle = TorchOracle(blobs.problem("bounded").start())
        rows = list(range(blobs.kept, len(blobs.x)))
        full = _push(blobs, oracle, rows)
        errors.append([_bias(blobs, oracle, rows, b, full) for b in range(1, most + 1)])
    sizes = list(range(1, most + 1))
    found: list[Estimate] = [estimate([e[b - 1] for e in errors]) for b in sizes]
    return {"b": sizes, "bias": found, "slope": estimate([slope(sizes, e) for e in errors])}


def _bias(blobs: Blobs, oracle: TorchOracle, rows: list[int], b: int, full: Vector) -> float:
    """Over all multisets of b rows, each with its probability."""
    total = vectors.zeros_like(full)
    for chosen in itertools.combinations_with_replacement(rows, b):
        ways = math.factorial(b) / math.prod(math.factorial(chosen.count(r)) for r in set(chosen))
        vectors.move(total, ways / len(rows) ** b, _push(blobs, oracle, list(chosen)))
    return vectors.length(vectors.combine(1.0, total, -1.0, full)) / vectors.length(full)


def _push(blobs: Blobs, oracle: TorchOracle, rows: list[int]) -> Vector:
    """∇‖∇Φ_b‖² on these forget rows, β = 0, by the project's own functions."""

    def bounded(model: nn.Module, batch: Batch) -> Terms:
        values = -(blobs.losses(model, batch.rows) - blobs.tau).square() / 2
        return Terms(values, torch.ones_like(values))

    def kept(model: nn.Module, batch: Batch) -> Terms:
        return Terms(blobs.retain(model)[None], torch.ones(1, dtype=torch.float64))

    batch = Batch(torch.tensor(rows), {}, torch.zeros(len(rows), dtype=torch.int64))
    losses: tuple[Loss, Loss] = bounded, kept
    forget, retain = (losses[0], batch), (losses[1], batch)
    return penalty_gradient(oracle, inner(oracle, forget, retain, Nothing(), again=True), 0.0)
