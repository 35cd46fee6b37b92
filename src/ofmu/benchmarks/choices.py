"""What a model knows by multiple choice: the log-likelihood of every choice, and the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch.nn import Module

from ..data.choices import ChoiceQuestion, answered
from ..data.encode import Encoder, TextSamples
from ..data.sequences import with_answers
from ..engine.measuring import token_losses
from ..losses import token_nll
from ..metrics import choice_accuracy, chosen_correctly, general_damage
from ..report.model import ScoreRow
from ..tasks import Samples
from .rows import score_row


@dataclass(frozen=True)
class ChoiceView:
    """A model's log-likelihoods of the choices, [n, m] in nats, and the indices of the answers, [n]."""

    ids: tuple[str, ...]
    log_likelihood: NDArray[np.float64]
    answers: NDArray[np.int64]

    @property
    def correct(self) -> NDArray[np.float64]:
        """[n]: 1 where the likeliest choice is the answer, else 0."""
        return chosen_correctly(self.log_likelihood, self.answers)


def choice_view(model: Module, questions: Sequence[ChoiceQuestion], encoder: Encoder) -> ChoiceView:
    """Log-likelihoods of the choices' own words, as answers to the question; `harness` asks for letters."""
    return choice_view_of(model, choice_samples(questions, encoder), questions)


def choice_samples(questions: Sequence[ChoiceQuestion], encoder: Encoder) -> TextSamples:
    """Every question with each of its choices as the answer, row after row."""
    many = len(questions[0].choices)
    repeated = [replace(record, id=f"{record.id}/{i}") for record in answered(questions) for i in range(many)]
    said = [choice for question in questions for choice in question.choices]
    return TextSamples(with_answers(repeated, said), encoder)


def choice_view_of(model: Module, samples: Samples, questions: Sequence[ChoiceQuestion]) -> ChoiceView:
    """`choice_view` from `choice_samples`, or from these as an upper part reads them."""
    many = len(questions[0].choices)
    losses = token_losses(model, samples, token_nll)
    return ChoiceView(
        tuple(question.id for question in questions),
        -np.array([float(loss.sum()) for loss in losses]).reshape(-1, many),
        np.array([question.answer for question in questions]),
    )


def choice_row(
    task: str, method: str, seed: int, view: ChoiceView, higher: bool | None, metric: str = "accuracy"
) -> ScoreRow:
    """The accuracy of one model on one set of questions."""
    return score_row(task, method, seed, metric, choice_accuracy(view.log_likelihood, view.answers, higher))


def damage_row(task: str, method: str, seed: int, before: ChoiceView, after: ChoiceView) -> ScoreRow:
    """What unlearning took of general knowledge, in points of accuracy, paired by question.

    Raises ValueError where the two are not of the same questions.
    """
    if before.ids != after.ids:
        raise ValueError(
            f"before, after: found {len(before.ids)} and {len(after.ids)} questions, expected the same"
        )
    return score_row(task, method, seed, "general_damage", general_damage(before.correct, after.correct))
