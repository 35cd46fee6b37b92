"""Forget losses with a maximum: bounded by the level of unseen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from ..core.kinks import hold
from ..core.terms import Loss, Terms
from ..tasks import IGNORE, Batch, Need, Targets, Task
from .logits import answer_logits, placed


@dataclass(frozen=True)
class Bounded:
    """Mean of min(ℓ, τ): the forget loss of OFMU's recipe, to be ascended.

    Cross-entropy has no maximum; bounded by τ, the loss the sample would have had it never been seen, the inner
    problem has one, and ascent stops where unseen data stands instead of making the sample stand out (it would
    be found by its *high* loss). level: the bound holds per "sample" or per answer "token". gate: with a token
    bound, a sample whose mean loss has reached its mean target counts as done altogether. two_sided: a sample
    whose mean loss is *above* its mean target has terms 2τ − ℓ, so that its mean is τ − |ℓ − τ|, and ascent brings
    it down: one step for a batch carries some samples too far, and a bound alone leaves them there.
    """

    level: Literal["sample", "token"] = "sample"
    gate: bool = True
    two_sided: bool = False

    needs: ClassVar[frozenset[Need]] = frozenset({"targets"})

    def bind(self, task: Task) -> BoundedLoss:
        """Uses `task.targets`."""
        if task.targets is None:
            raise ValueError("Bounded: task.targets is None, expected the unseen level of every forget sample")
        return BoundedLoss(task.loss, task.targets, self.level, self.gate, self.two_sided)


@dataclass(frozen=True)
class BoundedLoss:
    """The bound form of `Bounded`; on the plateau its terms are τ and carry no gradient."""

    loss: Loss
    targets: Targets
    level: Literal["sample", "token"]
    gate: bool
    two_sided: bool = False

    def __call__(self, model: Module, batch: Batch) -> Terms:
        """min(ℓ, τ) with the active set of the current parameters."""
        return self.terms(self.loss(model, batch), batch)[0]

    def terms(self, unbounded: Terms, batch: Batch) -> tuple[Terms, Tensor]:
        """(min(ℓ, τ), τ) from the terms of ℓ, where the gate is open."""
        terms, tau = self._with_targets(unbounded, batch)
        active = hold(self._active(terms.detach(), tau))  # both sides of a difference need one active set
        values = torch.where(active, terms.values, tau)
        if self.two_sided:
            values = torch.where(hold(self._above(terms.detach(), tau)), 2 * tau - terms.values, values)
        return Terms(values, terms.weights), tau

    def _above(self, terms: Terms, tau: Tensor) -> Tensor:
        above = terms.per_sample() > Terms(tau, terms.weights).per_sample()
        return above if terms.values.ndim == 1 else above[:, None].expand_as(tau)

    def _with_targets(self, terms: Terms, batch: Batch) -> tuple[Terms, Tensor]:
        if self.level == "sample":
            values = terms.per_sample()
            terms = Terms(values, torch.ones_like(values))
        return terms, target_terms(self.targets, batch, terms)

    def _active(self, terms: Terms, tau: Tensor) -> Tensor:
        active = terms.values < tau
        if self.gate and terms.values.ndim == 2:
            done = terms.per_sample() >= Terms(tau, terms.weights).per_sample()
            active = active & ~done[:, None]
        return active


def target_terms(targets: Targets, batch: Batch, terms: Terms) -> Tensor:
    """τ in the shape of the terms: [b], or [b, t] with each answer token's own target in its place."""
    rows = batch.rows.tolist()
    if terms.values.ndim == 1:
        return targets.means[rows].to(terms.values)
    tau = torch.zeros_like(terms.values)
    for i, row in enumerate(rows):
        places = terms.weights[i] > 0
        value = targets.values[row].to(tau)
        if value.ndim == 1 and len(value) != int(places.sum()):
            raise ValueError(
                f"targets: row {row} has {len(value)} token targets, but its answer has {int(places.sum())} "
                "tokens; expected one per token: encode the samples for targets and for unlearning alike"
            )
        tau[i, places] = value
    return tau


@dataclass(frozen=True)
class Plausible:
    """A token bound that also says where the probability goes: min(ℓ, τ) − weight · (1 − e^{−τ}) · KL_rest.

    Ascent alone takes probability from the true token and gives it to whatever comes first, so that the
    plausible wrong answers fall as well, and a forgotten fact still stands out among them (the truth ratio sees
    it). KL_rest = KL(q ‖ p) compares what is left when the true token is taken out and the rest renormalised: q
    by a model that never saw the sample (`task.unseen`: a short reference, or the base model), p by this one.
    1 − e^{−τ} spares tokens that an unseen model predicts anyway. The maximum stays τ. Without `task.unseen` it is
    the bound alone. sharpened: q from the logits times `task.confidence`. Fine-tuning to memorisation makes a
    model sure of itself on any text; a base model's doubt, on the forgotten texts alone, gives them away.
    """

    bound: Bounded = Bounded("token")
    weight: float = 0.3
    sharpened: bool = False

    @property
    def needs(self) -> frozenset[Need]:
        """Targets, an unseen model, and how confident it should be."""
        return frozenset({"targets", "unseen", "confidence"} if self.sharpened else {"targets", "unseen"})

    def bind(self, task: Task) -> Loss:
        """Uses `task.targets` and, where there is one, `task.unseen`."""
        bounded = self.bound.bind(task)
        if task.unseen is None:
            return bounded
        return PlausibleLoss(bounded, task.unseen, self.weight, task.confidence if self.sharpened else 1.0)


@dataclass(frozen=True)
class PlausibleLoss:
    """The bound form of `Plausible`; confidence: multiplies the unseen model's logits; extra_passes: its forward
    pass, in sample-gradients.
    """

    bounded: BoundedLoss
    unseen: Module
    weight: float
    confidence: float = 1.0
    extra_passes: float = 1 / 3

    def __call__(self, model: Module, batch: Batch) -> Terms:
        """The bounded terms minus the weighted divergence, token by token.

        With lse and lse_q the log-sum-exp of the other tokens' logits z and u (by this and the unseen model):
        ℓ = log(1 + e^{lse − z_true}) and KL(q ‖ p) = Σ q (u − z) − lse_q + lse, one pass over the vocabulary.
        """
        logits, labels = answer_logits(model, batch)
        answers = labels != IGNORE
        true = labels[answers][:, None]
        with torch.no_grad():
            unseen = answer_logits(self.unseen, batch)[0] * self.confidence
            others = unseen.scatter(1, true, float("-inf"))
            q, lse_q = others.softmax(1), others.logsumexp(1)
        lse = logits.scatter(1, true, float("-inf")).logsumexp(1)
        nll = F.softplus(lse - logits.gather(1, true)[:, 0])
        divergence = torch.linalg.vecdot(q, unseen - logits) - lse_q + lse
        terms, tau = self.bounded.terms(placed(nll, labels), batch)
        share = self.weight * -torch.expm1(-tau)
        return Terms(terms.values - share * placed(divergence, labels).values, terms.weights)
