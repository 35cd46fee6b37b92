"""Losses, written to be minimised; `Ascend` is the one place that flips a sign.

A *loss* maps (model, batch) to terms. An *objective* is a recipe for a loss, plain data that a method holds; it
is bound to a task, which supplies the base loss, the targets and the frozen reference.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from .core.kinks import hold
from .core.terms import Loss, Terms, extra_passes
from .tasks import IGNORE, Batch, Kind, Need, Targets, Task


def class_logits(model: Module, batch: Batch) -> Tensor:
    """[b, classes]: the logits of an image classifier (a plain module, or one of transformers')."""
    out = model(batch.inputs["pixel_values"])
    return full(out if isinstance(out, Tensor) else out.logits)


def full(logits: Tensor) -> Tensor:
    """Half-precision logits (bf16 weights, autocast) as float32: a softmax over them is not to be trusted."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def answer_logits(model: Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """(logits [n, vocabulary] in float32, labels [b, t]): one row for every label that is a token, in its order.

    labels holds the token that each position predicts, IGNORE where none is. The output layer, which has a
    quarter of a small model's weights, is computed at answer positions alone where the model allows it.
    """
    labels = batch.labels[:, 1:]
    answers = labels != IGNORE
    inner = getattr(model, "get_base_model", lambda: model)()
    if hasattr(inspect.getmodule(type(inner)), "slice_logits_to_keep"):  # transformers' models that take a mask
        keep = F.pad(answers, (0, 1))  # the last position predicts nothing that is known
        return full(model(**batch.inputs, use_cache=False, logits_to_keep=keep).logits), labels
    return full(model(**batch.inputs, use_cache=False).logits[:, :-1][answers]), labels


def placed(values: Tensor, labels: Tensor) -> Terms:
    """[n] values as terms [b, t] at the labels that they belong to; each sample's weights add up to 1."""
    answers = labels != IGNORE
    placed = values.new_zeros(labels.shape)
    placed[answers] = values
    return Terms(placed, answers.to(values.dtype) / answers.sum(1, keepdim=True).clamp_min(1))


def class_nll(model: Module, batch: Batch) -> Terms:
    """Cross-entropy per sample: −log p(y|x); values [b]."""
    values = F.cross_entropy(class_logits(model, batch), batch.labels, reduction="none")
    return Terms(values, torch.ones_like(values))


def token_nll(model: Module, batch: Batch) -> Terms:
    """Next-token cross-entropy of the answer tokens: values [b, t]; each sample's weights add up to 1."""
    logits, labels = answer_logits(model, batch)
    return placed(F.cross_entropy(logits, labels[labels != IGNORE], reduction="none"), labels)


BASE_LOSSES: dict[Kind, Loss] = {"image": class_nll, "text": token_nll}


class Objective(Protocol):
    """A recipe for a loss. needs: the optional fields of a task that it uses."""

    @property
    def needs(self) -> frozenset[Need]:
        """Which of a task's optional fields the loss uses."""
        ...

    def bind(self, task: Task) -> Loss:
        """The loss for this task."""
        ...


@dataclass(frozen=True)
class NLL:
    """The task's own loss L: cross-entropy, or next-token negative log-likelihood."""

    needs: ClassVar[frozenset[Need]] = frozenset()

    def bind(self, task: Task) -> Loss:
        """L itself."""
        return task.loss


@dataclass(frozen=True)
class Ascend:
    """−L of another objective: minimising it ascends L. Nowhere else is a sign flipped."""

    objective: Objective

    @property
    def needs(self) -> frozenset[Need]:
        """What the ascended objective needs."""
        return self.objective.needs

    def bind(self, task: Task) -> Loss:
        """−L."""
        return AscendedLoss(self.objective.bind(task))


@dataclass(frozen=True)
class AscendedLoss:
    """The bound form of `Ascend`; it costs what the ascended loss costs."""

    loss: Loss

    @property
    def extra_passes(self) -> float:
        """Those of the ascended loss."""
        return extra_passes(self.loss)

    def __call__(self, model: Module, batch: Batch) -> Terms:
        """The terms, negated."""
        terms = self.loss(model, batch)
        return Terms(-terms.values, terms.weights)


@dataclass(frozen=True)
class NPO:
    """Negative preference optimisation: (2/β) log(1 + (π_θ(y|x)/π_ref(y|x))^β), one term per sample.

    Zhang et al. 2024, arXiv 2404.05868, eq. 3; π is the probability of the whole answer (the product over its
    tokens). As β → 0 its gradient tends to that of gradient ascent.
    """

    beta: float = 0.1

    needs: ClassVar[frozenset[Need]] = frozenset({"forget_nll"})

    def bind(self, task: Task) -> Loss:
        """Compares with the original model's own losses, measured once (`task.forget_nll`)."""
        reference = task.original_forget("NPO")

        def loss(model: Module, batch: Batch) -> Terms:
            terms = task.loss(model, batch)
            tokens = _tokens(terms)
            gain = (terms.per_sample() - reference[batch.rows].to(tokens)) * tokens  # log(π_ref/π_θ)
            values = -2 / self.beta * F.logsigmoid(self.beta * gain)
            return Terms(values, torch.ones_like(values))

        return loss


@dataclass(frozen=True)
class SimNPO:
    """−(2/β) log σ(−(β/|y|) log π_θ(y|x) − γ): NPO without a reference, normalised by the answer's length.

    Fan et al. 2024, arXiv 2410.07163, eq. 7.
    """

    beta: float = 2.5
    gamma: float = 0.0

    needs: ClassVar[frozenset[Need]] = frozenset()

    def bind(self, task: Task) -> Loss:
        """Needs nothing but the task's loss."""

        def loss(model: Module, batch: Batch) -> Terms:
            values = -2 / self.beta * F.logsigmoid(self.beta * task.loss(model, batch).per_sample() - self.gamma)
            return Terms(values, torch.ones_like(values))

        return loss


def _tokens(terms: Terms) -> Tensor:
    """[b]: how many terms each sample has."""
    if terms.values.ndim == 1:
        return torch.ones_like(terms.values)
    return (terms.weights > 0).sum(1).to(terms.values.dtype)


@dataclass(frozen=True)
class KLToReference:
    """KL(p_ref ‖ p_θ) of the predicted distributions, mean over the answer tokens of each sample.

    The retain term of "KL minimisation" (Maini et al. 2024, arXiv 2401.06121, eq. 3). Widely used code averages
    over prompt and padding too; the answer alone is meant.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"reference"})

    def bind(self, task: Task) -> Loss:
        """Compares with `task.reference`, the frozen original."""
        reference = task.reference
        if reference is None:
            raise ValueError("KLToReference: task.reference is None, expected the frozen original model")

        return KLLoss(task.kind, reference)


@dataclass(frozen=True)
class KLLoss:
    """The bound form of `KLToReference`; extra_passes: the reference's forward pass, in sample-gradients."""

    kind: Kind
    reference: Module
    extra_passes: float = 1 / 3

    def __call__(self, model: Module, batch: Batch) -> Terms:
        """KL(p_ref ‖ p_θ) per sample [b] or per answer token [b, t]."""
        with torch.no_grad():
            old = self._log_probabilities(self.reference, batch)[0]
        new, labels = self._log_probabilities(model, batch)
        values = (old.exp() * (old - new)).sum(-1)
        return Terms(values, torch.ones_like(values)) if self.kind == "image" else placed(values, labels)

    def _log_probabilities(self, model: Module, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.kind == "image":
            return class_logits(model, batch).log_softmax(-1), batch.labels
        logits, labels = answer_logits(model, batch)
        return logits.log_softmax(-1), labels


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
