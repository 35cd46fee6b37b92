"""Forget and retain objectives that need more than the samples: other answers, a teacher, a layer's output.

As in `losses`: an objective is plain data that a method holds, bound to a task, which supplies what it asks for by
name. All are losses to be minimised.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from .core.terms import Loss, Terms
from .losses import answer_logits, placed
from .tasks import IGNORE, Batch, Need, Samples, Task


@dataclass(frozen=True)
class IdkDPO:
    """Prefer "I don't know": −(2/β) log σ(β [log π(y_idk|x)/π_ref(y_idk|x) − log π(y|x)/π_ref(y|x)]).

    Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290, eq. 7) with a refusal as the answer
    that wins, as for unlearning by Maini et al. (2024, arXiv 2401.06121) and Zhang et al. (2024, arXiv
    2404.05868, eq. 2). π is the probability of a whole answer (the product over its tokens). Those papers'
    factors differ (1, 1/β); 2/β is NPO's, so that leaving out the refusal gives `losses.NPO`, and is what common
    code has. One term per sample.
    """

    beta: float = 0.1

    needs: ClassVar[frozenset[Need]] = frozenset({"forget_nll", "refusals"})

    def bind(self, task: Task) -> Loss:
        """Compares with the original's losses of answers and refusals, both measured once."""
        if task.refusals is None or task.refusal_nll is None:
            raise ValueError(
                "IdkDPO: task.refusals or task.refusal_nll is None, expected a refusal of each question"
            )
        return IdkLoss(task.loss, task.original_forget("IdkDPO"), task.refusals, task.refusal_nll, self.beta)


@dataclass(frozen=True)
class IdkLoss:
    """The bound form of `IdkDPO`; extra_passes: the refusals are a second batch, forward and backward."""

    loss: Loss
    reference: Tensor
    refusals: Samples
    refusal_reference: Tensor
    beta: float
    extra_passes: float = 1.0

    def __call__(self, model: Module, batch: Batch) -> Terms:
        """[b] terms; the refusals of the same rows are fetched here."""
        refused = self.refusals.batch(batch.rows.tolist()).to(batch.labels.device)
        lost = self._log_ratio(model, batch, self.reference)
        won = self._log_ratio(model, refused, self.refusal_reference)
        values = -2 / self.beta * F.logsigmoid(self.beta * (won - lost))
        return Terms(values, torch.ones_like(values))

    def _log_ratio(self, model: Module, batch: Batch, reference: Tensor) -> Tensor:
        """[b]: log π(y|x)/π_ref(y|x) of whole answers."""
        terms = self.loss(model, batch)
        tokens = (terms.weights > 0).sum(1).to(terms.values.dtype)
        return (reference[batch.rows].to(tokens) - terms.per_sample()) * tokens


@dataclass(frozen=True)
class Undial:
    """Learn from the original with the true token's logit lowered: −Σ_v q_v log p_θ(v), q = softmax(z − γ 1_y).

    z: the frozen original's logits at answer token t; 1_y: 1 at the true token y_t, else 0; γ: strength. A mean
    over answer tokens; one fixed target, so nothing diverges, and no retain term in the paper. UNDIAL: Dong et al.
    2024, arXiv 2402.10052, section 3. Common code takes the mean over prompt and padding too, and there lowers the
    logit of the token that −100 happens to index.
    """

    strength: float = 10.0

    needs: ClassVar[frozenset[Need]] = frozenset({"reference"})

    def bind(self, task: Task) -> Loss:
        """Uses `task.reference` as the teacher."""
        return UndialLoss(_teacher(task, "Undial"), self.strength)


@dataclass(frozen=True)
class UndialLoss:
    """The bound form of `Undial`; extra_passes: the teacher's forward pass."""

    teacher: Module
    strength: float
    extra_passes: float = 1 / 3

    def __call__(self, model: Module, batch: Batch) -> Terms:
        """[b, t] terms on the answer tokens."""
        logits, labels = answer_logits(model, batch)
        true = labels[labels != IGNORE][:, None]
        with torch.no_grad():
            teacher = answer_logits(self.teacher, batch)[0]
            target = teacher.scatter_add(-1, true, torch.full_like(teacher[:, :1], -self.strength)).softmax(-1)
        return placed(-(target * logits.log_softmax(-1)).sum(-1), labels)


@dataclass(frozen=True)
class Misdirect:
    """Send a layer's output to a random direction: (1/m) Σ_t ‖h_θ(t) − c·u‖², the forget term of RMU.

    h_θ(t): the output of the task's `layer` at token t, over all m real tokens of a text. u: a unit vector, drawn
    once from `seed` (entries uniform on [0, 1), then normalised); c: scale, to be chosen like the size of the
    activations. RMU: Li et al. 2024, arXiv 2403.03218, section 4, with c = 6.5 and a retain weight of 1,200 for
    Zephyr-7B. Common code takes the mean over hidden units, a common factor of both terms, and in one code base
    the forget term divides [b] by [b, 1], so that it averages over all pairs of samples.
    """

    scale: float = 6.5
    seed: int = 0

    needs: ClassVar[frozenset[Need]] = frozenset({"layer"})

    def bind(self, task: Task) -> Loss:
        """Hooks `task.layer`."""
        layer = _layer(task, "Misdirect")

        def loss(model: Module, batch: Batch) -> Terms:
            seen = activations(model, layer, batch)
            direction = torch.rand(seen.shape[-1], generator=torch.Generator().manual_seed(self.seed))
            return _squared_distance(seen, self.scale * (direction / direction.norm()).to(seen), batch)

        return loss


@dataclass(frozen=True)
class Anchor:
    """Keep a layer's output where the original has it: (1/m) Σ_t ‖h_θ(t) − h_ref(t)‖², the retain term of RMU.

    Li et al. 2024, arXiv 2403.03218, section 4. Over all real tokens, as `Misdirect`.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"layer", "reference"})

    def bind(self, task: Task) -> Loss:
        """Hooks `task.layer` in the model and in `task.reference`."""
        return AnchorLoss(_layer(task, "Anchor"), _teacher(task, "Anchor"))


@dataclass(frozen=True)
class AnchorLoss:
    """The bound form of `Anchor`; extra_passes: the reference's forward pass."""

    layer: str
    reference: Module
    extra_passes: float = 1 / 3

    def __call__(self, model: Module, batch: Batch) -> Terms:
        """[b, t] terms on the real tokens."""
        with torch.no_grad():
            old = activations(self.reference, self.layer, batch)
        return _squared_distance(activations(model, self.layer, batch), old, batch)


def activations(model: Module, layer: str, batch: Batch) -> Tensor:
    """[b, t, d]: what the module named `layer` gives out in one forward pass; ValueError if it is not there."""
    try:
        module = model.get_submodule(layer)
    except AttributeError:
        raise ValueError(
            f"layer: found {layer!r}, expected the name of a module of {type(model).__name__}"
        ) from None
    with _recorded(module) as seen:
        model(**batch.inputs, use_cache=False)
    if len(seen) != 1 or seen[0].ndim != 3:
        raise ValueError(f"layer: {layer!r} gave {[tuple(x.shape) for x in seen]}, expected one [b, t, d] a pass")
    return seen[0]


@contextmanager
def _recorded(module: Module) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []

    def hook(_module: Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        seen.append(output if isinstance(output, Tensor) else output[0])

    handle = module.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def _squared_distance(seen: Tensor, goal: Tensor, batch: Batch) -> Terms:
    """‖seen − goal‖² of every token, where the attention mask says that there is one."""
    mask = batch.inputs["attention_mask"].to(seen.dtype)
    return Terms((seen - goal).square().sum(-1) * mask, mask / mask.sum(1, keepdim=True))


def _layer(task: Task, who: str) -> str:
    if task.layer is None:
        raise ValueError(f"{who}: task.layer is None, expected the name of the module to steer")
    return task.layer


def _teacher(task: Task, who: str) -> Module:
    if task.reference is None:
        raise ValueError(f"{who}: task.reference is None, expected the frozen original model")
    return task.reference
