"""How a method looks: a step rule on a task, through an oracle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from ..core.oracle import Oracle
from .task import Need, Task


@dataclass(frozen=True)
class Log:
    """What one step reports. numbers: named finite floats. done: the method's own exit rule holds, and why so."""

    numbers: dict[str, float] = field(default_factory=dict)
    done: bool = False
    why: str = "the target holds"


class Method(Protocol):
    """A frozen dataclass whose fields are its hyper-parameters; what changes lives in the state it returns."""

    @property
    def needs(self) -> frozenset[Need]:
        """The optional fields of a task that the method uses."""
        ...

    def init(self, task: Task, oracle: Oracle) -> Any:
        """The state before the first step."""
        ...

    def step(self, task: Task, oracle: Oracle, state: Any) -> tuple[Any, Log]:
        """One step: parameters move through the oracle."""
        ...
