"""What attacks are given: the models, the rows, and one way to look at a model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from torch.nn import Module

from ..core.terms import Loss
from ..data.encode import Encoder
from ..data.records import Record
from ..engine.prepare import Parts
from ..engine.targets import Rows
from ..engine.training import Recipe
from ..losses import BASE_LOSSES
from ..tasks import Kind, Samples
from .finding import Finding, Pair, judged
from .shadows import Setup

MOST = 2000  # rows of a part that attacks look at
T = TypeVar("T")


class Memory:
    """What looks at models found, for cases that attack one model after another beside the same others."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], tuple[Module, Any]] = {}

    def once(self, what: str, module: Module, look: Callable[[Module], T]) -> T:
        """What `look` finds of a model; `what` names the look. A look that raises is not remembered."""
        key = what, id(module)
        if key not in self._found:
            self._found[key] = module, look(module)  # the model is kept so that its id stays its own
        found: T = self._found[key][1]
        return found


@dataclass(frozen=True)
class Case:
    """One request under attack.

    model: the unlearned one. retrains: models trained without the forget rows (none: attacks compare with
    chance). original: from before unlearning, the positive control. parts: heldout must not be None; rows that no
    model saw, of the same kind as the forget rows, and not those that targets were made from where that can be
    had. base: a model from before fine-tuning (text), for the reference attack. recipe: how the models were
    trained. shadows: how more models would be made. probes: text questions of the caller's own by name, about
    forgotten and about held-out facts, to be asked beside the rows themselves. alike: the forget and the held-out
    rows were drawn at random, row by row, from one pool, which sharpens the comparison with retrained models
    (`attacks.auc_difference`); not so where whole classes, people or documents were chosen. unrelated: rows that
    no model saw and that have nothing to do with the request, for relearning; None: half of the held-out ones.
    memory: one for all cases that differ in `model` alone (`replace(case, model=…)`): the retrained models and the
    original are then attacked once. None: nothing is remembered.
    """

    kind: Kind
    model: Module
    parts: Parts
    retrains: tuple[Module, ...] = ()
    original: Module | None = None
    base: Module | None = None
    encoder: Encoder | None = None
    recipe: Recipe | None = None
    seed: int = 0
    shadows: Setup | None = None
    probes: Mapping[str, tuple[Sequence[Record], Sequence[Record]]] = field(default_factory=dict)
    alike: bool = False
    unrelated: Samples | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        if self.parts.heldout is None or len(self.parts.heldout) < 4 or len(self.parts.forget) < 2:
            raise ValueError("case: found too few rows, expected at least 2 to forget and 4 held out")

    @property
    def loss(self) -> Loss:
        """The loss of this kind of model."""
        return BASE_LOSSES[self.kind]

    @property
    def heldout(self) -> Samples:
        """The rows that no model saw, at most `MOST`."""
        assert self.parts.heldout is not None
        return some(self.parts.heldout, MOST)

    @property
    def forget(self) -> Samples:
        """The rows that were to be forgotten, at most `MOST`."""
        return some(self.parts.forget, MOST)

    @property
    def models(self) -> list[Module]:
        """All models that an attack runs on."""
        return [self.model, *self.retrains, *([] if self.original is None else [self.original])]

    def with_rows(self, forget: Samples, heldout: Samples) -> Case:
        """The same models on other rows; what was remembered was of these."""
        return replace(self, parts=Parts(forget, self.parts.retain, heldout), memory=None)


def looked(case: Case, what: str, look: Callable[[Module], T]) -> tuple[T, list[T], T | None]:
    """What one look finds of the model, of every retrained model and of the original, if there is one."""

    def other(module: Module) -> T:
        return look(module) if case.memory is None else case.memory.once(what, module, look)

    gold = [other(each) for each in case.retrains]
    if case.original is None:
        return look(case.model), gold, None
    before = other(case.original)
    return before if case.model is case.original else look(case.model), gold, before


def ask(case: Case, finding: Finding, scores: Callable[[Module], Pair]) -> Finding:
    """One attack on all models alike; what breaks down becomes `missing` and `failed`, never a number."""
    try:
        found = looked(case, finding.attack, scores)
    except ValueError as error:
        return replace(finding, missing=str(error), failed=True)
    return judged(finding, *found, case.alike)


def some(samples: Samples, most: int) -> Samples:
    """At most `most` rows, evenly spread."""
    n = len(samples)
    return samples if n <= most else Rows(samples, [i * n // most for i in range(most)])


def halves(samples: Samples, seed: int) -> tuple[Samples, Samples]:
    """Two random halves of a data set."""
    order = np.random.default_rng(seed).permutation(len(samples)).tolist()
    middle = len(order) // 2
    return Rows(samples, sorted(order[:middle])), Rows(samples, sorted(order[middle:]))


def copy_of(module: Module) -> Module:
    """A copy that may be changed; in evaluation mode."""
    return copy.deepcopy(module).eval()
