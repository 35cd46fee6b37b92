"""What forgetting takes of general knowledge: a fixed sample of MMLU, before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.nn import Module

from ..data.choices import ChoiceQuestion, load_mmlu
from ..engine.hashing import content_key, ids_fingerprint
from ..engine.store import Store
from ..errors import UserError
from ..metrics import general_damage, mean_score
from ..report.model import ScoreRow
from .choices import choice_samples, choice_view_of
from .rows import score_row
from .tofu_references import Reference, kept_json
from .tofu_setting import Setting

ASKED = 100  # questions
LONGEST = 400  # characters of a question with its choices: they fit where TOFU's questions fit
Load = Callable[[], tuple[Module, bool]]
METRICS = {"mmlu_accuracy": True, "general_damage": False}


def general_knowledge() -> tuple[Sequence[ChoiceQuestion], str]:
    """`ASKED` short questions of MMLU, evenly spread over its subjects; or none, and why."""
    try:
        found = load_mmlu()
    except UserError as error:
        return (), str(error)
    short = [q for q in found.questions if len(q.question) + sum(map(len, q.choices)) <= LONGEST]
    return [short[i * len(short) // ASKED] for i in range(ASKED)], ""


def right_answers(model: Reference, load: Load, setting: Setting, store: Store) -> NDArray[np.float64]:
    """[n]: 1 where the choice that the model finds likeliest (by its own words) is the answer; kept in the store.

    load: the model, and whether it is an upper part.
    """
    questions = setting.knowledge

    def make(_: Any) -> dict[str, Any]:
        module, upper = load()
        samples = choice_samples(questions, setting.encoder)
        through = setting.halves.samples(samples, store) if upper else samples
        return {"correct": choice_view_of(module, through, questions).correct.tolist()}

    parts = {
        "made": "tofu knowledge",
        "model": model.key,
        "encoder": setting.encoder.settings(),
        "asked": ids_fingerprint(content_key({"q": q.question, "c": list(q.choices)}) for q in questions),
    }
    return np.array(kept_json(store, parts, make, f"general knowledge, {model.key[:8]}")[1]["correct"])


def knowledge_rows(
    task: str, name: str, seed: int, before: NDArray[np.float64], after: NDArray[np.float64] | None
) -> list[ScoreRow]:
    """Accuracy, and what unlearning took of it, in points; after None: the original itself."""
    accuracy = mean_score(before if after is None else after, "", True)
    rows = [score_row(task, name, seed, "mmlu_accuracy", accuracy)]
    if after is not None:
        rows.append(score_row(task, name, seed, "general_damage", general_damage(before, after)))
    return rows


def absent_knowledge(task: str, name: str, seed: int, why: str) -> list[ScoreRow]:
    """In the place of `knowledge_rows`, where the questions are not at hand or no answer can be had."""
    return [ScoreRow(task, name, seed, metric, None, 0, higher, why) for metric, higher in METRICS.items()]
