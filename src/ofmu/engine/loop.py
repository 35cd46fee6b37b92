"""The unlearning loop: a generator of events. The caller logs, evaluates, saves and stops: no callbacks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import Module

from ..core import vectors
from ..core.oracle import TorchOracle
from ..tasks import Log, Method, Task
from .checkpoint import random_state, set_random_state


class Diverged(Exception):  # noqa: N818  an outcome of a run, not a fault of the program
    """A loss or a parameter stopped being a finite number; the parameters are those of the last good step."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(
            f"step {step}: {what} is not a finite number; the parameters are those before that step. "
            "Lower the learning rate"
        )
        self.step, self.what = step, what


@dataclass(frozen=True)
class Event:
    """The end of one step: its number (from 1), the method's log, the cost so far in sample-gradients, and how
    to go on from here (`snapshot`). last: the run is over, and why.
    """

    step: int
    log: Log
    cost: float
    last: str | None
    _task: Task
    _oracle: TorchOracle
    _state: Any

    @property
    def model(self) -> Module:
        """The model as this step left it: to be looked at, not changed."""
        return self._oracle.model

    def snapshot(self) -> dict[str, Any]:
        """All that a run needs to go on exactly from here: plain data and tensors (copies), for a checkpoint."""
        return {
            "step": self.step,
            "parameters": vectors.copy_of(self._oracle.params),
            "method": plain_state(self._state),
            "oracle": self._oracle.state(),
            "cursors": self._task.cursors(),
            "random": random_state(),
        }


def unlearn(
    task: Task,
    method: Method,
    oracle: TorchOracle,
    steps: int,
    *,
    budget: float | None = None,
    resume: dict[str, Any] | None = None,
) -> Iterator[Event]:
    """Run `method` for at most `steps` steps, and until `budget` sample-gradients are spent or it is done.

    A budget is checked between steps: the step that exceeds it is finished. resume: a snapshot to go on from.
    Raises Diverged at the first non-finite loss or parameter, after setting the parameters back.
    """
    state = method.init(task, oracle)
    first = 1
    if resume is not None:
        state = _resumed(resume, task, oracle, state)
        first = resume["step"] + 1
    good = vectors.copy_of(oracle.params)
    for step in range(first, steps + 1):
        if step > first:
            vectors.assign(good, oracle.params)
        try:
            state, log = method.step(task, oracle, state)
            _check_finite(step, log, oracle)
        except Diverged:
            vectors.assign(oracle.params, good)
            raise
        last = _reason(step, steps, log, oracle.cost, budget)
        yield Event(step, log, oracle.cost, last, task, oracle, state)
        if last is not None:
            return


def _reason(step: int, steps: int, log: Log, cost: float, budget: float | None) -> str | None:
    if log.done:
        return log.why
    if budget is not None and cost >= budget:
        return "the budget is spent"
    return "all steps are done" if step == steps else None


def _check_finite(step: int, log: Log, oracle: TorchOracle) -> None:
    for name, value in log.numbers.items():
        if not math.isfinite(value):
            raise Diverged(step, name.replace("_", " "))
    if float(oracle.group.total(vectors.bad(oracle.params))) > 0:
        raise Diverged(step, "a parameter")


def _resumed(saved: dict[str, Any], task: Task, oracle: TorchOracle, state: Any) -> Any:
    vectors.assign(oracle.params, saved["parameters"])
    oracle.restore(saved["oracle"])
    task.seek(saved["cursors"])
    set_random_state(saved["random"])
    return restored_state(state, saved["method"])


def plain_state(state: Any) -> dict[str, Any]:
    """A method's state dataclass as plain data: optimisers by their state_dict, tensors copied."""
    plain = {}
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if isinstance(value, torch.optim.Optimizer):
            value = _copied(value.state_dict())
        plain[field.name] = _copied(value)
    return plain


def restored_state(state: Any, saved: dict[str, Any]) -> Any:
    """`state` (fresh from init) with the saved values; its optimisers take up their saved moments."""
    values = {}
    for field in dataclasses.fields(state):
        now = getattr(state, field.name)
        if isinstance(now, torch.optim.Optimizer):
            now.load_state_dict(saved[field.name])
            values[field.name] = now
        else:
            values[field.name] = _copied(saved[field.name])
    return dataclasses.replace(state, **values)


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    return value
