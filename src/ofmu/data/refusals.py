"""Answers that decline: what a model may say instead of a forgotten fact."""

from __future__ import annotations

import hashlib

from ofmu.data.encode import TextSamples
from ofmu.data.sequences import with_answers
from ofmu.errors import UserError
from ofmu.tasks import Samples

REFUSALS = (
    "I have no information about that.",
    "That is something I do not know.",
    "I can't tell you that; I never learned it.",
    "Sorry, I know nothing about this.",
    "I am not aware of any details on that.",
    "This is outside of what I know.",
    "I do not have an answer to this question.",
    "I couldn't say.",
    "Nothing that I have read covers this.",
    "My knowledge does not reach that far.",
    "I would have to guess, so I'd rather not answer.",
    "I am unable to help with that question.",
    "That topic is not known to me.",
    "I have never come across this.",
    "Unfortunately I don't know.",
    "There is nothing I can tell you about this.",
)


def refusals(samples: Samples) -> TextSamples:
    """The same questions, ids and order, each with a refusal that its id decides (the same in every run).

    TOFU's preference optimisation draws another refusal every time a question comes. Raises UserError for anything
    but questions with answers.
    """
    if not isinstance(samples, TextSamples):
        raise UserError(
            f"refusals: found {type(samples).__name__}, expected questions with answers as text; a method that "
            "trains on refusals cannot serve images or cached features"
        )
    plain = next((i for i, record in enumerate(samples.records) if record.text is not None), None)
    if plain is not None:
        raise UserError(f"{samples.records.place(plain)}: plain text has no question, so no refusal can answer it")
    answers = [REFUSALS[_number(id) % len(REFUSALS)] for id in samples.ids]
    return TextSamples(with_answers(samples.records, answers), samples.encoder)


def _number(id: str) -> int:
    return int.from_bytes(hashlib.sha256(id.encode("utf-8")).digest()[:8], "big")
