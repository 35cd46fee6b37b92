"""The oracle for a model and its task: the backend is chosen by looking at both, and logged."""

from __future__ import annotations

import logging

import torch
from torch.nn import Module

from ofmu.core.backend import Backend, choose
from ofmu.core.oracle import TorchOracle
from ofmu.errors import UserError
from ofmu.tasks import Method, Task

log = logging.getLogger(__name__)
NONE = Backend("exact", "no second derivative is asked for")


def build_oracle(
    model: Module,
    task: Task,
    method: Method,
    *,
    backend: Backend | None = None,
    autocast: torch.dtype | None = None,
    micro: int | None = None,
) -> tuple[TorchOracle, Backend]:
    """The oracle and what was chosen for it; backend None: `choose` looks at the model and at one sample.

    Raises UserError for a model whose derivatives could not be right (`ofmu.core.checks`).
    """
    try:
        if backend is None:
            backend = _chosen(model, task, micro) if curved(method) else NONE
        log.info("%s", backend)
        oracle = TorchOracle(
            model,
            products=backend.products,
            outer=backend.outer,
            scheme=backend.scheme,
            autocast=autocast,
            micro=micro,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    return oracle, backend


def curved(method: Method) -> bool:
    """Whether a method says that it asks for second derivatives (`OFMU.curved`)."""
    return bool(getattr(method, "curved", False))


def _chosen(model: Module, task: Task, micro: int | None) -> Backend:
    samples = task.forget.samples
    return choose(model, task.loss, samples.batch(range(min(len(samples), task.forget_batch))), micro)
