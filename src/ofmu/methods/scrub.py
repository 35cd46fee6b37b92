"""SCRUB: disobey the original on the forget set, obey it on the rest, pass by pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch.nn import Module

from ..core.oracle import Oracle
from ..core.terms import Loss, Terms
from ..losses import Ascend, KLToReference, class_logits
from ..tasks import Batch, Log, Need, Stream, Task
from .base import Descent


@dataclass(frozen=True)
class Imitate:
    """α KL(p_o ‖ p_θ) + γ ℓ(x, y), p_o the original's prediction; one term a sample: SCRUB's loss on D_r."""

    alpha: float
    gamma: float

    needs: ClassVar[frozenset[Need]] = frozenset({"reference"})

    def bind(self, task: Task) -> Loss:
        """Uses `task.reference` as the teacher; ValueError without one, and for a task of texts."""
        if task.kind != "image" or task.reference is None:
            found = f"task.kind {task.kind!r}, task.reference {type(task.reference).__name__}"
            raise ValueError(f"Imitate: found {found}, expected 'image' and the frozen original model")
        return ImitateLoss(task.reference, self.alpha, self.gamma)


@dataclass(frozen=True)
class ImitateLoss:
    """The bound form of `Imitate`; extra_passes: the teacher's forward pass."""

    teacher: Module
    alpha: float
    gamma: float
    extra_passes: float = 1 / 3

    def __call__(self, model: Module, batch: Batch) -> Terms:
        """[b] terms, from one pass of the model."""
        with torch.no_grad():
            old = class_logits(self.teacher, batch).log_softmax(-1)
        logits = class_logits(model, batch)
        divergence = (old.exp() * (old - logits.log_softmax(-1))).sum(-1)
        values = self.alpha * divergence + self.gamma * F.cross_entropy(logits, batch.labels, reduction="none")
        return Terms(values, torch.ones_like(values))


@dataclass
class ScrubState:
    """The optimiser with its moments; whether a pass over D_f is under way; how many are over."""

    optimizer: torch.optim.Optimizer
    maximising: bool = False
    maximised: int = 0


@dataclass(frozen=True)
class Scrub:
    """Alternate passes: over D_r minimising α KL(p_o ‖ p_θ) + γ ℓ, over D_f *maximising* KL(p_o ‖ p_θ).

    min_θ (α/n_r) Σ_{D_r} d(x) + (γ/n_r) Σ_{D_r} ℓ − (1/n_f) Σ_{D_f} d(x), d(x) = KL(p_o(x) ‖ p_θ(x)), p_o the
    original (the teacher): Kurmanji et al. 2023, arXiv 2302.09880, section 3 with its max- and min-epochs. rounds:
    how many passes over D_f there are; afterwards D_r alone is passed over until the budget is spent. One step is
    one batch. Settings that go round with the authors' code: α = .001, γ = .99, 2 rounds, 3 epochs in all, rate
    5e-4.

    A round begins with D_r: at the original d and its gradient are exactly 0, so that a pass over D_f would start
    on rounding errors. (The authors' begins with D_f; their student runs in training mode, and differs from its
    teacher by batch statistics.) Their code differs in more: predictions at temperature 4, and `epoch <= msteps`
    makes one more max-epoch than msteps says.
    """

    descent: Descent
    alpha: float = 0.001
    gamma: float = 0.99
    rounds: int = 2

    needs: ClassVar[frozenset[Need]] = frozenset({"reference"})

    def __post_init__(self) -> None:
        if self.alpha < 0 or self.gamma < 0 or self.rounds < 0:
            raise ValueError(f"Scrub: found {self}, expected alpha, gamma and rounds of 0 or more")

    def init(self, task: Task, oracle: Oracle) -> ScrubState:
        """A fresh optimiser; the first pass is over D_r."""
        return ScrubState(self.descent.build(oracle.params))

    def step(self, task: Task, oracle: Oracle, state: ScrubState) -> tuple[ScrubState, Log]:
        """One batch of the pass that is under way."""
        if state.maximising:
            name, loss = "forget_objective", Ascend(KLToReference()).bind(task)
            stream, size = task.forget, task.forget_batch
        else:
            name, loss = "retain_objective", Imitate(self.alpha, self.gamma).bind(task)
            stream, size = task.retain, task.retain_batch
        value, grad = oracle.grad(loss, stream.next(size))
        self.descent.apply(state.optimizer, oracle.params, grad)
        return self._next(state, stream), Log({name: value})

    def _next(self, state: ScrubState, stream: Stream) -> ScrubState:
        """The state after a batch: at the end of a pass the other set's turn comes."""
        if stream.position < len(stream.samples):
            return state
        maximised = state.maximised + state.maximising
        return ScrubState(state.optimizer, not state.maximising and maximised < self.rounds, maximised)
