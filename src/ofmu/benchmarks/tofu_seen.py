"""How a model is seen on TOFU: its data pass through it once, and what comes out is kept by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.nn import Module

from ..data.encode import TextSamples
from ..data.records import Record
from ..data.sequences import with_answers
from ..engine.hashing import ids_fingerprint
from ..engine.measuring import sample_losses
from ..engine.store import Store
from ..losses import token_nll
from .answering import answer
from .text_scores import TextParts
from .tofu_setting import Setting
from .token_pass import TokenScores, text_pass

Floats = NDArray[np.float64]
ANSWERS = ("forget", "retain", "unseen")  # parts of which every token's prediction is looked at
TOKEN_SCORES = ("extraction", "exact", "min_k", "min_k_plus_plus")


@dataclass(frozen=True)
class Seen:
    """A model on the measured questions, one number a question.

    losses: nats per token, by part [n], "perturbed" [n, wrong]. tokens: part → name → [n] (`TokenScores`).
    said: its answers to some forget and retain questions. fluency: what `fluency` says of them, kept apart.
    """

    losses: Mapping[str, Floats]
    tokens: Mapping[str, Mapping[str, Floats]]
    said: Mapping[str, Sequence[str]]
    fluency: tuple[Floats, Floats] | None = None

    def forgotten(self, setting: Setting) -> TokenScores:
        """What the pass found of the forget set, as metrics of one's own are given it."""
        asked, found = TextSamples(setting.groups.forget, setting.encoder), self.tokens["forget"]
        counts = np.array([float(answer_tokens(asked, row)) for row in range(len(asked))])
        return TokenScores(self.losses["forget"], counts, *(found[name] for name in TOKEN_SCORES))

    def plain(self) -> dict[str, Any]:
        """As JSON, without the fluency."""
        tokens = {part: {name: x.tolist() for name, x in found.items()} for part, found in self.tokens.items()}
        return {
            "losses": {part: values.tolist() for part, values in self.losses.items()},
            "tokens": tokens,
            "said": {part: list(texts) for part, texts in self.said.items()},
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Seen:
        """From JSON."""
        return cls(
            {part: np.array(values) for part, values in plain["losses"].items()},
            {part: {k: np.array(v) for k, v in found.items()} for part, found in plain["tokens"].items()},
            plain["said"],
        )


def shown(records: Sequence[Record], n: int) -> list[Record]:
    """At most so many records, evenly spread."""
    n = min(n, len(records))
    return [records[i * len(records) // n] for i in range(n)]


def questions(setting: Setting) -> dict[str, list[Record]]:
    """The questions that answers are made to."""
    groups, n = setting.groups, setting.preset.generated
    return {"forget": shown(groups.forget, n), "retain": shown(groups.asked, n)}


def see(model: Module, setting: Setting, store: Store, upper: bool) -> Seen:
    """Measure a model on everything that is reported; upper: it is the trained upper part alone."""
    parts = setting.parts()
    if upper:
        parts = parts.mapped(partial(_upper, setting, store))
    losses, tokens = _passed(model, parts)
    whole = setting.halves.whole(model) if upper else model
    asked, longest = questions(setting), setting.preset.longest
    said = {name: answer(whole, setting.encoder, records, longest, 10) for name, records in asked.items()}
    return Seen(losses, tokens, said)


def _upper(setting: Setting, store: Store, samples: Any) -> Any:
    return setting.halves.samples(samples, store)


def _passed(model: Module, parts: TextParts) -> tuple[dict[str, Floats], dict[str, dict[str, Floats]]]:
    """Every text passes once: with the scores of all its tokens, or for its loss alone."""
    found = text_pass(model, parts.named(), ANSWERS)
    tokens = {
        part: {score: getattr(scores, score) for score in TOKEN_SCORES} for part, scores in found.tokens.items()
    }
    losses = dict(found.losses)
    losses["perturbed"] = losses["perturbed"].reshape(-1, parts.wrong)
    return losses, tokens


def fluency(setting: Setting, said: Mapping[str, Sequence[str]]) -> tuple[Floats, Floats] | None:
    """How likely the base model finds the answers: ([n] mean losses, [n] tokens) of those that are not empty.

    Of what was said alone: an answer that was cut at the limit has no end token to be likely or not. None where
    the base model is untrained.
    """
    if setting.fresh:
        return None
    asked = questions(setting)
    answered = [pair for name in asked for pair in zip(asked[name], said[name], strict=True)]
    pairs = [(record, text) for record, text in answered if text]
    if not pairs:
        return np.empty(0), np.empty(0)
    records, texts = zip(*pairs, strict=True)
    samples = _Unended(with_answers(list(records), list(texts)), setting.encoder)
    losses = sample_losses(setting.halves.base.module, samples, token_nll, batch=8).double().numpy()
    return losses, np.array([float(answer_tokens(samples, row)) for row in range(len(samples))])


class _Unended(TextSamples):
    """Records without the end token of their answers."""

    def _encode(self, row: int) -> tuple[list[int], list[int]]:
        ids, labels = super()._encode(row)
        ended = ids[-1] == self.encoder.tokenizer.eos_token_id and sum(label >= 0 for label in labels) > 1
        return (ids[:-1], labels[:-1]) if ended else (ids, labels)


def answer_tokens(samples: TextSamples, row: int) -> int:
    """How many tokens of a row carry loss."""
    return sum(label >= 0 for label in samples.encoded(row)[1])


def measured(setting: Setting) -> dict[str, Any]:
    """What a measurement depends on, besides the model."""
    groups, preset = setting.groups, setting.preset
    measured = (groups.forget, groups.asked, groups.unseen)
    return {
        "encoder": setting.encoder.settings(),
        "measured": [ids_fingerprint([record.id for record in group]) for group in measured],
        "sizes": ["all", preset.generated, preset.longest],
    }
