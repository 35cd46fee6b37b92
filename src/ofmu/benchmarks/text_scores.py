"""What a model is worth on a text request: answer probabilities, truth ratio, and its distance to Retrain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.nn import Module

from ..core.terms import Loss
from ..data.encode import Encoder, TextSamples
from ..data.records import Record
from ..data.sequences import with_answers
from ..engine.measuring import sample_losses
from ..losses import token_nll
from ..metrics import answer_probability, forget_quality, mean_interval, per_sample_nll_error, truth_ratio
from ..report.model import ScoreRow
from ..tasks import Samples
from .rows import score_row
from .token_pass import text_pass

PARTS = ("forget", "retain", "unseen", "paraphrased", "perturbed")


@dataclass(frozen=True)
class TextParts:
    """The data that scores are computed on.

    unseen: text that the model was not trained on and targets were not made from. paraphrased: the forget
    questions with reworded answers; perturbed: with `wrong` false ones each, row after row.
    """

    forget: Samples
    retain: Samples
    unseen: Samples | None = None
    paraphrased: Samples | None = None
    perturbed: Samples | None = None
    wrong: int = 5

    def named(self) -> dict[str, Samples]:
        """The parts that are there, by name."""
        found = {name: getattr(self, name) for name in PARTS}
        return {name: samples for name, samples in found.items() if samples is not None}

    def mapped(self, change: Callable[[Samples], Samples]) -> TextParts:
        """The same parts, each through `change`."""
        unseen, paraphrased, perturbed = (
            None if part is None else change(part) for part in (self.unseen, self.paraphrased, self.perturbed)
        )
        return TextParts(change(self.forget), change(self.retain), unseen, paraphrased, perturbed, self.wrong)


@dataclass(frozen=True)
class TextView:
    """A model seen through its mean answer losses (nats per token): per part [n], perturbed [n, wrong]."""

    losses: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, losses: Mapping[str, np.ndarray], wrong: int) -> TextView:
        """From the losses [n] of every part's texts; perturbed: `wrong` a question, row after row."""
        shaped = {name: x.reshape(-1, wrong) if name == "perturbed" else x for name, x in losses.items()}
        return cls(shaped)

    @property
    def ratio(self) -> np.ndarray | None:
        """[n]: the truth ratio of every forget question (wrong/true, geometric means)."""
        if "paraphrased" not in self.losses or "perturbed" not in self.losses:
            return None
        return truth_ratio(self.losses["paraphrased"], self.losses["perturbed"])


def text_parts(
    forget: Sequence[Record],
    retain: Sequence[Record],
    unseen: Sequence[Record] | None,
    encoder: Encoder,
) -> TextParts:
    """The data that a model of these people is scored on.

    A forget record's meta holds paraphrased_answer and perturbed_answer; every record must have as many of these.
    """
    perturbed = false_answers(forget, encoder)
    paraphrases = [str(record.meta["paraphrased_answer"]) for record in forget]
    return TextParts(
        TextSamples(forget, encoder),
        TextSamples(retain, encoder),
        unseen=None if unseen is None else TextSamples(unseen, encoder),
        paraphrased=TextSamples(with_answers(forget, paraphrases), encoder),
        perturbed=perturbed,
        wrong=len(perturbed) // len(forget),
    )


def false_answers(records: Sequence[Record], encoder: Encoder) -> TextSamples:
    """Every record with each of its false answers, row after row.

    Raises ValueError where records have different numbers of them: rows of losses would slip.
    """
    false = [_list(record.meta["perturbed_answer"]) for record in records]
    counts = {len(answers) for answers in false}
    if len(counts) > 1:
        raise ValueError(f"perturbed_answer: found {sorted(counts)} of them, expected as many for every question")
    repeated = [replace(record, id=f"{record.id}/{i}") for record in records for i in range(len(false[0]))]
    return TextSamples(with_answers(repeated, [answer for row in false for answer in row]), encoder)


def _list(value: Any) -> list[str]:
    return [str(item) for item in value]


def view_text(model: Module, parts: TextParts, loss: Loss = token_nll) -> TextView:
    """One pass over all parts that are there; loss: `token_nll`, or the same at another precision."""
    given = parts.named()
    if loss is token_nll:
        return TextView.of(text_pass(model, given, []).losses, parts.wrong)
    losses = {name: sample_losses(model, samples, loss).numpy() for name, samples in given.items()}
    return TextView.of(losses, parts.wrong)


def text_rows(task: str, method: str, seed: int, view: TextView, retrain: TextView | None) -> list[ScoreRow]:
    """The scores of one model; with a Retrain also forget quality (KS p) and the per-sample NLL error."""

    def row(metric: str, values: np.ndarray, higher: bool | None) -> ScoreRow:
        low, high = mean_interval(values)
        return ScoreRow(task, method, seed, metric, float(values.mean()), len(values), higher, None, low, high)

    forget, retain = view.losses["forget"], view.losses["retain"]
    rows = [
        row("forget_nll", forget, None),
        row("forget_prob", answer_probability(forget), None),
        row("retain_prob", answer_probability(retain), True),
    ]
    if "unseen" in view.losses:
        unseen = view.losses["unseen"]
        rows.append(row("unseen_prob", answer_probability(unseen), None))
    if view.ratio is not None:
        rows.append(row("truth_ratio", view.ratio, None))
    if retrain is None:
        return rows
    if view.ratio is not None and retrain.ratio is not None and retrain is not view:
        p = forget_quality(view.ratio, retrain.ratio).p
        rows.append(ScoreRow(task, method, seed, "ks_p", p, len(view.ratio), True))  # no interval: see its docs
    if retrain is not view:
        error = per_sample_nll_error(forget, retrain.losses["forget"])
        rows.append(score_row(task, method, seed, "nll_error", error))
    return rows
