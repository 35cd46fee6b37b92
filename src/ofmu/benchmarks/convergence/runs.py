"""Runs of the project's own algorithm on a problem, with F and ∇F measured exactly beside them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ...core import vectors
from ...core.inner import inner, penalty_gradient
from ...core.oracle import TorchOracle
from ...core.schedule import Geometric
from ...core.similarity import Nothing
from ...engine.loop import Diverged, unlearn
from ...methods import OFMU
from .problems import FAR, Problem

Numbers = dict[str, list[float]]
Measure = Callable[[nn.Module, int], dict[str, float]]  # (model, outer iterations done) -> named numbers


def follow(
    problem: Problem,
    method: OFMU,
    K: int,
    measure: Measure,
    *,
    sigma: float = 0.0,
    seed: int = 0,
    at: Sequence[int] | None = None,
) -> Numbers:
    """The measures after the outer iterations named in `at` (all of 1…K where None), with their k under "k".

    A run ends early where it diverges: a non-finite number, or a measure beyond 1e9 (kept as the last one).
    """
    model = problem.start()
    wanted = range(1, K + 1) if at is None else {k for k in at if k <= K}
    found: Numbers = {}
    try:
        for event in unlearn(problem.task(sigma, seed), method, TorchOracle(model), K):
            if event.step not in wanted:
                continue
            numbers = {"k": float(event.step)} | measure(model, event.step)
            for name, value in numbers.items():
                found.setdefault(name, []).append(value)
            if max(abs(v) for v in numbers.values()) > FAR:
                break
    except Diverged:
        pass
    return found


def anchored(problem: Problem, method: OFMU, K: int, measure: Measure) -> Numbers:
    """The other reading of the printed outer step: θ⁽ᵏ⁺¹⁾ = θ⁽ᵏ⁾ − η_out ∇F(θ'), θ' the inner loop's end.

    Only the direction is taken at θ'; the inner loop's movement is not kept. Measured at θ'. The inner loop and
    the gradient of the penalty are the project's own; no noise, β = 0.
    """
    model = problem.start()
    oracle, task = TorchOracle(model), problem.task()
    batch = task.forget.next(1)
    forget = (method.forget.bind(task), batch)
    retain = (method.retain.bind(task), batch)
    found: Numbers = {}
    for k in range(1, K + 1):
        home = vectors.copy_of(oracle.params)
        for _ in range(method.inner_steps):
            oracle.move(method.rate, oracle.grad(*forget)[1])
        for name, value in ({"k": float(k)} | measure(model, k)).items():
            found.setdefault(name, []).append(value)
        push = penalty_gradient(oracle, inner(oracle, forget, retain, Nothing(), again=True), 0.0)
        rho = method.penalty.weight(k - 1, 1.0, 1.0) if isinstance(method.penalty, Geometric) else 0.0
        step = vectors.combine(1.0, oracle.grad(*retain)[1], rho, push)
        vectors.assign(oracle.params, home)
        oracle.move(-method.outer.lr, step)
    return found


def ascended(problem: Problem, model: nn.Module, T: int, inner_lr: float) -> nn.Module:
    """A copy of the model after T inner steps, without noise: what the inner loop hands to the outer step."""
    model = copy.deepcopy(model)
    for _ in range(T):
        vectors.move(list(model.parameters()), inner_lr, problem.inner_gradient(model))
    return model


def theta(model: nn.Module) -> Tensor:
    """The only parameter of a `Point`."""
    return next(model.parameters()).detach()
