"""Sources of targets for text: what an answer nobody told the model would cost it.

V and F below are the numbers of held-out and forget samples, a forward pass is 1/3 of a sample-gradient.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import Module

from ..errors import UserError
from ..tasks import IGNORE, Samples, Targets
from .measuring import sample_losses
from .targets import base_token_targets, constant_token_targets, short_token_targets
from .targets_known import Known, Made
from .upper import UpperSamples


@dataclass(frozen=True)
class TokenConstant:
    """Every answer token's target is the original's mean token loss on held-out text. Cost: V/3."""

    def __call__(self, known: Known) -> Made:
        """See `constant_token_targets`."""
        unseen = known.unseen("constant")
        return constant_token_targets(known.model, len(known.forget), unseen, known.loss), None


@dataclass(frozen=True)
class TokenMap:
    """Each token's loss under the model from before fine-tuning, mapped to the original's level on held-out text.

    Cost: (F + 2V)/3. See `base_token_targets`.
    """

    def __call__(self, known: Known) -> Made:
        """Raises UserError without a base model."""
        if known.base is None:
            raise UserError("targets 'base': expected the model from before fine-tuning (--base)")
        base = known.base.requires_grad_(False)
        return base_token_targets(known.model, base, known.forget, known.heldout, known.loss), base


@dataclass(frozen=True)
class ShortReference:
    """Each token's loss under a model trained on D_r for `share` of the epochs: a new one, or a copy of the base.

    level: "mapped" to the original's on held-out text, where there is some, "scaled" by one factor, or the
    reference's "own". A map is nearer for a new model, a factor for a copy of the base, which ranks tokens well.
    base: never a new one. Cost: share of a retraining, + F/3, + 2V/3 where held-out text is looked at.
    """

    share: float = 0.2
    level: Literal["mapped", "scaled", "own"] = "mapped"
    base: bool = False

    def __call__(self, known: Known) -> Made:
        """See `short_token_targets`; raises UserError where nothing is known that the training began with."""
        recipe, held = known.short(self.share), None if self.level == "own" else known.heldout
        begin = None if self.base else known.fresh
        if begin is None and known.base is not None:
            begin = partial(_copied, known.base)
        if begin is None:
            name, more = "base-tuned", ""
            if not self.base:
                name, more = "reference", "a model that was trained from scratch, with its recipe, or "
            raise UserError(f"targets '{name}': expected {more}the model from before fine-tuning (--base)")
        data = known.model, begin, known.forget, known.retain, held
        return short_token_targets(*data, known.loss, recipe, mapped=self.level == "mapped")


@dataclass(frozen=True)
class Alike:
    """τ_i = the original's mean loss on the k held-out texts whose questions share most with that of sample i.

    Questions are compared by the cosine of their token counts, rare tokens weighing more: a count times
    log((1 + V)/(1 + number of held-out questions with that token)). Cost: V/3. One number a sample.
    """

    k: int = 4

    def __call__(self, known: Known) -> Made:
        """Ties are broken by the order of the held-out texts."""
        unseen = known.unseen("alike")
        losses = sample_losses(known.model, unseen, known.loss)
        ours, theirs = _questions(known.forget), _questions(unseen)
        seen = Counter(token for question in theirs for token in question)
        weights = {
            token: float(torch.tensor((1 + len(theirs)) / (1 + count)).log()) for token, count in seen.items()
        }
        scores = _weighted(ours, weights) @ _weighted(theirs, weights).T  # [F, V]
        nearest = scores.argsort(dim=1, descending=True, stable=True)[:, : self.k]
        words = f"the original's mean loss on the {self.k} held-out questions most alike"
        return Targets(list(losses[nearest].mean(1)), words, len(unseen) / 3), None


@dataclass(frozen=True)
class Alternatives:
    """τ_i = the original's mean loss on false answers to question i: to the ignorant the truth is as unlikely.

    Cost: a third of the number of false answers. One number a sample.
    """

    def __call__(self, known: Known) -> Made:
        """Raises UserError without false answers, or with a number of them that does not fit the questions."""
        false = known.alternatives
        if false is None or len(false) % len(known.forget):
            found = "none" if false is None else f"{len(false)} for {len(known.forget)} questions"
            raise UserError(
                f"targets 'alternatives': found {found}, expected as many false answers to each question"
            )
        losses = sample_losses(known.model, false, known.loss).reshape(len(known.forget), -1)
        return Targets(list(losses.mean(1)), "the original's mean loss on false answers", len(false) / 3), None


def _copied(base: Module, seed: int) -> Module:
    """A copy of the model from before fine-tuning, all of it to be trained."""
    return copy.deepcopy(base).requires_grad_(True)


def _questions(samples: Samples) -> list[Counter[int]]:
    """The tokens of every prompt: what carries no label."""
    found = []
    samples = (
        samples.samples if isinstance(samples, UpperSamples) else samples
    )  # those have states in place of ids
    for row in range(len(samples)):
        batch = samples.batch([row])
        mask = (batch.labels[0] == IGNORE) & (batch.inputs["attention_mask"][0] > 0)
        found.append(Counter(batch.inputs["input_ids"][0][mask].tolist()))
    return found


def _weighted(questions: list[Counter[int]], weights: dict[int, float]) -> Tensor:
    """float32 [n, tokens], each row of length 1 (or 0, where no token weighs anything)."""
    place = {token: column for column, token in enumerate(weights)}
    made = torch.zeros(len(questions), len(place))
    for row, question in enumerate(questions):
        for token, count in question.items():
            if token in place:
                made[row, place[token]] = count * weights[token]
    return torch.nn.functional.normalize(made, dim=1)
