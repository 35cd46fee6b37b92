"""What a model is worth on a user's request: against Retrain where there is one, else before against after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from torch.nn import Module

from ofmu.attacks import threshold_attack
from ofmu.benchmarks.auc import auc_score
from ofmu.benchmarks.image_scores import ImageParts, ImageView, image_rows, view_image
from ofmu.benchmarks.rows import score_row
from ofmu.benchmarks.text_scores import TextParts, TextView, text_rows
from ofmu.benchmarks.token_pass import FORGET_METRICS, TokenScores, text_pass
from ofmu.cli.say import bar
from ofmu.data.encode import TextSamples
from ofmu.data.sequences import InMemory, with_answers
from ofmu.engine.measuring import image_logits, sample_losses
from ofmu.engine.requests import Request
from ofmu.engine.targets import labels_of
from ofmu.engine.upper import Cut
from ofmu.losses import BASE_LOSSES
from ofmu.metrics import (
    Score,
    mean_interval,
    per_sample_confidence_gap,
    reference_free,
    retain_accuracy,
    unlearning_accuracy,
    wasserstein_confidence,
)
from ofmu.report.model import ScoreRow
from ofmu.tasks import Samples

NO_TEST = "needs --test: unseen rows that are not used for targets"


@dataclass(frozen=True)
class View:
    """A model seen on a request. losses: [n] of forget, retain and (where given) heldout.

    tokens: texts, token by token, of forget and (where given) heldout.
    """

    losses: Mapping[str, np.ndarray]
    image: ImageView | None = None
    text: TextView | None = None
    points: Mapping[str, Score] | None = None  # images without a test set: UA and RA
    tokens: Mapping[str, TokenScores] = field(default_factory=dict)


class Scorer:
    """Looks at models through one request; what is the same for all of them is made once.

    cut: of a text model whose lower blocks are frozen: models that share them pass through their upper parts.
    """

    def __init__(self, request: Request, cut: Cut | None = None) -> None:
        self.request, self.cut = request, cut
        self._parts = text_parts(request) if request.encoder is not None else None

    def look(self, module: Module) -> View:
        """One pass over every part."""
        return self._images(module) if self._parts is None else self._texts(module, self._parts)

    def named_texts(self) -> dict[str, Samples]:
        """The texts of all parts that a text model is looked at on, by name; empty for images."""
        heldout = self.request.parts.heldout
        more = {} if heldout is None else {"heldout": heldout}
        return {} if self._parts is None else self._parts.named() | more

    def _texts(self, module: Module, parts: TextParts) -> View:
        named = self.named_texts()
        upper = None if self.cut is None else self.cut.upper(module)
        if self.cut is not None and upper is not None:
            module, named = upper, {name: self.cut.samples(samples) for name, samples in named.items()}
        with bar("scoring") as shown:
            total = sum(map(len, named.values()))
            found = text_pass(module, named, ("forget", "heldout"), watch=lambda done: shown.show(done, total, {}))
        losses = {name: x for name, x in found.losses.items() if name in ("forget", "retain", "heldout")}
        text = TextView.of({name: found.losses[name] for name in parts.named()}, parts.wrong)
        return View(losses, text=text, tokens=found.tokens)

    def _images(self, module: Module) -> View:
        parts = self.request.parts
        named = {"forget": parts.forget, "retain": parts.retain, "heldout": parts.heldout}
        losses = {
            name: sample_losses(module, samples, BASE_LOSSES["image"]).numpy()
            for name, samples in named.items()
            if samples is not None
        }
        if self.request.test is not None:
            return View(
                losses, image=view_image(module, ImageParts(parts.forget, parts.retain, self.request.test))
            )
        outputs = [image_logits(module, samples).numpy() for samples in (parts.forget, parts.retain)]
        labels = [labels_of(samples).numpy() for samples in (parts.forget, parts.retain)]
        points = {
            "UA": unlearning_accuracy(outputs[0], labels[0]),
            "RA": retain_accuracy(outputs[1], labels[1]),
        }
        return View(losses, points=points)


def text_parts(request: Request) -> TextParts:
    """The parts that a text model is scored on; reworded and false answers where every forget row has them."""
    forget, records, encoder = request.parts.forget, request.records, request.encoder
    plain = TextParts(forget, request.parts.retain, unseen=request.test)
    if records is None or encoder is None:
        return plain
    rows = list(records)
    wrong = [row.meta.get("perturbed_answer") for row in rows]
    right = [row.meta.get("paraphrased_answer") for row in rows]
    if not all(isinstance(answer, str) for answer in right):
        return plain
    lists = [answers for answers in wrong if isinstance(answers, list) and answers]
    if len(lists) < len(rows) or len({len(answers) for answers in lists}) != 1:
        return plain
    repeated = [replace(row, id=f"{row.id}/{i}") for row in rows for i in range(len(lists[0]))]
    false = [str(answer) for answers in lists for answer in answers]
    return replace(
        plain,
        paraphrased=TextSamples(with_answers(rows, [str(answer) for answer in right]), encoder),
        perturbed=TextSamples(with_answers(InMemory(repeated), false), encoder),
        wrong=len(lists[0]),
    )


def score(
    task: str, method: str, seed: int, view: View, retrain: View | None, before: View | None = None
) -> list[ScoreRow]:
    """All rows of one model. retrain: the retrained model's view; before: the original's, for changes."""
    if view.text is not None:
        rows = text_rows(task, method, seed, view.text, None if retrain is None else retrain.text)
        rows += [score_row(task, method, seed, name, value) for name, value in _token_rows(view).items()]
    elif view.image is not None:
        gold = None if retrain is None or retrain is view else retrain.image
        rows = image_rows(task, method, seed, view.image, gold)
    else:
        rows = _without_test(task, method, seed, view, None if retrain is view else retrain)
    if retrain is not None:
        return rows
    rows = [row for row in rows if row.metric != "forget_nll"]  # there as forget_loss, beside the unseen level
    return rows + _reference_free(task, method, seed, view, before or view)


def _token_rows(view: View) -> dict[str, Score]:
    """What a pass token by token says of the forget set, and of it against held-out text."""
    forget = view.tokens["forget"]
    found = {name: metric(forget) for name, metric in FORGET_METRICS.items()}
    if "heldout" in view.tokens:
        heldout = view.tokens["heldout"]
        found["min_k_plus_plus_auc"] = auc_score(forget.min_k_plus_plus, heldout.min_k_plus_plus)
    return found


def _without_test(task: str, method: str, seed: int, view: View, retrain: View | None) -> list[ScoreRow]:
    found = {
        **(view.points or {}),
        "TA": Score(None, 0, higher_is_better=True, missing=NO_TEST),
        "MIA": Score(None, 0, missing=NO_TEST),
    }
    if retrain is not None:
        ours, theirs = np.exp(-view.losses["forget"]), np.exp(-retrain.losses["forget"])
        found["gap"] = Score(None, 0, higher_is_better=False, missing=NO_TEST)
        found["W1"] = wasserstein_confidence(ours, theirs)
        found["PS"] = per_sample_confidence_gap(ours, theirs)
    return [score_row(task, method, seed, name, value) for name, value in found.items()]


def _reference_free(task: str, method: str, seed: int, view: View, before: View) -> list[ScoreRow]:
    """Loss levels, distance from the unseen level, changes, and an attack; those that need held-out rows."""
    found = {f"{name}_loss": _mean(losses) for name, losses in view.losses.items()}
    if "heldout" in view.losses:
        pairs = [
            losses
            for name in ("forget", "heldout", "retain")
            for losses in (before.losses[name], view.losses[name])
        ]
        scores = reference_free(*pairs)
        found["forget_over_unseen"] = scores["forget_over_unseen"]
        try:
            threshold_attack(view.losses["forget"], view.losses["heldout"])  # refuses what cannot be attacked
            found["attack_auc"] = auc_score(-view.losses["forget"], -view.losses["heldout"])
        except ValueError as error:
            found["attack_auc"] = Score(None, 0, missing=str(error))
    return [score_row(task, method, seed, name, value) for name, value in found.items()]


def _mean(losses: np.ndarray) -> Score:
    return Score(float(losses.mean()), len(losses), unit="nats", interval=mean_interval(losses))
