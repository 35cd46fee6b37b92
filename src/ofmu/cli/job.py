"""One unlearning run: what is to be done, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch.nn import Module

from ofmu.core.backend import Backend
from ofmu.core.vectors import Vector
from ofmu.engine.launched import ALONE, Parallel, Processes
from ofmu.engine.prepare import UNIT, Parts, Sources
from ofmu.report.model import Point
from ofmu.tasks import Kind, Method


@dataclass(frozen=True)
class Job:
    """What is to be done. identity: all that decides the result, in words; a resumed run must have the same.

    budget in sample-gradients, preparation included. batch: samples a batch (None: the method's preset). micro:
    most samples run at once. All of `processes` do the job together, every one calling what is here.
    """

    module: Module
    kind: Kind
    parts: Parts
    method: Method
    sources: Sources
    seed: int
    budget: float
    steps: int
    identity: Mapping[str, str]
    batch: int | None = None
    autocast: bool = False
    every: int = 10
    processes: Processes = ALONE
    parallel: Parallel = "none"
    micro: int | None = None


@dataclass
class Progress:
    """Where a run stands: all of it is in a checkpoint. due: the cost at which the next point is measured.

    gated: what gates said of states on the way; best: the state to be kept, by their rule (`cli.keeping`).

    backend: how derivatives are taken. What was chosen at the start counts for the whole run: on another
    machine, or with other memory free, the choice might be another one, and so would the numbers.
    """

    points: list[Point] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    cost: float = 0.0
    seconds: float = 0.0
    peak_bytes: int = 0
    due: float = 0.0
    ended: str | None = None
    snapshot: dict[str, Any] | None = None
    backend: Backend | None = None
    gated: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None


class Between(Protocol):
    """What is done between two steps, at some of them: it looks at the model and may write into `progress`."""

    def due(self, progress: Progress) -> bool:
        """Whether it is to be done after the last step of `progress`, and was not yet."""

    def look(self, progress: Progress, params: Vector) -> None:
        """Do it; the parameters and the random state are as before when it is done."""


def gradient(kind: Kind) -> int:
    """Samples in a gradient-equivalent: one forward and backward pass of a batch."""
    return UNIT[kind]
