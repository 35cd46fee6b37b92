"""One workload: every operation of every backend, the engine beside hand-written loops, and cheaper ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ...core import vectors
from ...engine.loop import Event, unlearn
from ...methods import OFMU
from . import bare
from .cheaper import cheaper_ways
from .counting import counted
from .memory import peak
from .operations import (
    BACKENDS,
    OUTER,
    PHI,
    RATE,
    Backend,
    derivatives,
    engine_step,
    plain_descent,
    printed,
    recipes,
)
from .timing import Action, Ratio, interleaved
from .workloads import Workload

Rows = dict[str, Any]
STEPS = 5  # of plain descent, to time the engine's own work


@dataclass(frozen=True)
class Bench:
    """A workload with its unit of cost and the way back to the parameters it started from."""

    w: Workload
    repeats: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "saved", vectors.copy_of(self.w.params))

    def reset(self) -> None:
        """The parameters as they were."""
        vectors.assign(self.w.params, self.saved)  # type: ignore[attr-defined]

    def unit(self) -> object:
        """One plain gradient: a hand-written forward and backward pass of one batch."""
        return bare.gradient(self.w.model, self.w.params, self.w.kind, self.w.batches[0])

    def ratios(self, actions: dict[str, Action], unit: Action | None = None) -> dict[str, Ratio]:
        """Interleaved, in plain gradients or in `unit`."""
        return interleaved(actions, unit or self.unit, self.repeats, self.reset)


def measure(w: Workload, repeats: int) -> Rows:
    """All numbers of one workload; memory in bytes."""
    bench = Bench(w, repeats)
    assert w.batches  # made now, or the unit's memory would count them
    resident = sum(p.numel() * p.element_size() for p in w.model.parameters())
    found: Rows = {
        "name": w.name,
        "batch": len(w.forget),
        "parameters": sum(p.numel() for p in w.model.parameters()),
        "trained": sum(p.numel() for p in w.params),
        "gradient bytes": peak(bench.unit),
        "parameter bytes": resident,
    }
    exact = {o.name: o.action() for o in derivatives(w, BACKENDS["exact"]) if o.name in (PHI, OUTER)}
    found["operations"] = [
        row
        for b in BACKENDS.values()
        if w.backends is None or b.name in w.backends
        for row in _backend(bench, b, found["gradient bytes"], exact)
    ]
    found["engine"] = _engine(bench)
    found["recipe"] = recipe_rows(bench) if w.backends is None else []
    found["cheaper"] = cheaper_ways(w, bench.ratios) if w.backends is None else []
    return found


def memory_row(w: Workload) -> Rows:
    """The memory of ∇Φ by every backend, times a plain gradient's; exact to the byte, so once is enough."""
    bench = Bench(w, 1)
    assert w.batches
    bench.unit()
    used = peak(bench.unit)
    times = {}
    for b in BACKENDS.values():
        if b.name == "differences, auto":  # it is forward or central
            continue
        phi = next(o.action for o in derivatives(w, b) if o.name == PHI)
        phi()  # step sizes are found
        bench.reset()
        times[b.name] = peak(phi) / used
        bench.reset()
    tokens = w.batches[0].inputs["input_ids"].numel()
    vector = sum(p.numel() * p.element_size() for p in w.params)
    return {"name": w.name, "tokens": tokens, "gradient bytes": used, "vector bytes": vector, "times": times}


def _backend(bench: Bench, backend: Backend, unit_bytes: int, exact: dict[str, Any]) -> list[Rows]:
    operations = derivatives(bench.w, backend)
    times = bench.ratios({o.name: o.action for o in operations})
    rows = []
    for o in operations:
        bench.reset()
        with counted(bench.w.model) as calls:
            result = o.action()
        error = distance(exact[o.name], result) if o.name in exact else None
        del result
        bench.reset()
        used = peak(o.action)
        rows.append(
            {
                "backend": backend.name,
                "operation": o.name,
                "gradients": times[o.name],
                "least": o.least,
                "memory": used / unit_bytes,
                "bytes": used,
                "error": error,
                "forwards": calls.forwards,
                "backwards": calls.backwards,
            }
        )
    bench.reset()
    return rows


def distance(expected: Any, found: Any) -> float:
    """‖found − expected‖ / ‖expected‖."""
    gap = vectors.distance([x.detach() for x in found], [x.detach() for x in expected])
    return gap / vectors.length(expected)


def _engine(bench: Bench) -> Rows:
    """The engine's time over that of the same arithmetic by hand: a printed iteration and plain descent."""
    w = bench.w

    def by_hand() -> None:
        bare.printed(w.model, w.params, w.kind, w.batches, T=1, beta=0.1, inner_lr=RATE, outer_lr=RATE, rho=0.01)

    optimizer = torch.optim.SGD(w.params, lr=RATE)

    def descent() -> None:
        for _ in range(STEPS):
            bare.descent(w.model, optimizer, w.kind, w.retain, len(w.retain))

    return {
        "printed iteration, T = 1": bench.ratios({"": engine_step(w, printed(1))}, by_hand)[""],
        "plain descent": bench.ratios({"": engine_step(w, plain_descent(), STEPS)}, descent)[""],
        "by hand against itself": bench.ratios({"": descent}, descent)[""],
    }


def recipe_rows(bench: Bench) -> list[Rows]:
    """One outer iteration of the default recipe, with both terms and as it runs: time, memory, and the
    sample-gradients that its steps need, in batches.
    """
    w, rows = bench.w, []
    assert w.batches
    unit = peak(bench.unit)
    for name, method in recipes(w).items():
        for backend in ("exact", "differences, auto") if method.curved else ("exact",):

            def iterate(method: OFMU = method, backend: str = backend) -> Event:
                return next(unlearn(w.task(), method, BACKENDS[backend].make(w), 1))

            bench.reset()
            event = iterate()
            bench.reset()
            rows.append(
                {
                    "recipe": name,
                    "backend": backend if method.curved else "first order",
                    "gradients": bench.ratios({"": iterate})[""],
                    "memory": peak(iterate) / unit,
                    "counted": event.cost / len(w.forget),
                    "ascents": event.log.numbers["ascents"],
                    "outer steps": event.log.numbers["repairs"],
                }
            )
    bench.reset()
    return rows
