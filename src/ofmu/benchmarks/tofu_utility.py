"""TOFU's model utility: what a model still knows of kept people, of real authors and of the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from torch.nn import Module

from ..data.encode import TextSamples
from ..data.records import Record
from ..data.sequences import with_answers
from ..engine.hashing import ids_fingerprint
from ..engine.measuring import sample_losses
from ..engine.store import Store
from ..losses import token_nll
from ..metrics import (
    UTILITY_PARTS,
    answer_probability,
    bootstrap_groups,
    model_utility,
    normalised_probability,
    rouge_l_recall,
    truth_ratio,
)
from ..report.model import ScoreRow
from .answering import answer
from .text_scores import false_answers
from .tofu_references import Reference, kept_json
from .tofu_score import harmonic
from .tofu_seen import Seen, questions
from .tofu_setting import Setting


def utility_parts(
    model: Reference, load: Callable[[], tuple[Module, bool]], seen: Seen, setting: Setting, store: Store
) -> dict[str, Any]:
    """The parts of a model's utility, from the store or measured now; load: the model, and whether it is an upper
    part.

    {"parts": the nine means, "n": the questions behind the least of them, "questions": of each set, [n, 3]}:
    probability, ROUGE-L recall and truth ratio (form "utility") on the kept questions and on `setting.general`.
    All wrong answers are taken, as many as a set has (TOFU: five of the kept questions, three of the others).
    """
    groups = {"retain": setting.groups.asked, **setting.general}
    parts = {
        "made": "tofu utility",
        "model": model.key,
        "encoder": setting.encoder.settings(),
        "asked": {name: ids_fingerprint([record.id for record in records]) for name, records in groups.items()},
        "sizes": ["all", setting.preset.generated, setting.preset.longest],
    }
    _, found = kept_json(store, parts, lambda _: _measured(*load(), seen, setting, store), "model utility")
    made: dict[str, Any] = found
    return made


def utility_row(task: str, method: str, seed: int, found: Mapping[str, Any]) -> ScoreRow:
    """The model utility of these parts. Source: Maini et al. 2024."""
    value = model_utility(found["parts"]).value
    assert value is not None  # a harmonic mean of nine numbers
    low, high = _interval(found["questions"]) or (None, None)
    return ScoreRow(task, method, seed, "model_utility", value, found["n"], True, None, low, high)


def _measured(model: Module, upper: bool, seen: Seen, setting: Setting, store: Store) -> dict[str, Any]:
    """{"parts": the nine means, "n", "questions": of each set, [n, 3]: as `UTILITY_METRICS`, None: not asked}."""
    encoder, kept = setting.encoder, setting.groups.asked
    whole = setting.halves.whole(model) if upper else model
    say = partial(answer, whole, encoder, longest=setting.preset.longest, batch=10)

    def losses(samples: TextSamples) -> np.ndarray:
        through = setting.halves.samples(samples, store) if upper else samples
        return sample_losses(model, through, token_nll).numpy()

    def wrong(records: Sequence[Record]) -> np.ndarray:
        return losses(false_answers(records, encoder)).reshape(len(records), -1)

    reworded = [str(record.meta["paraphrased_answer"]) for record in kept]
    right = losses(TextSamples(with_answers(kept, reworded), encoder))
    asked = questions(setting)["retain"]
    known = dict(zip((record.id for record in asked), _recalls(seen.said["retain"], asked), strict=True))
    columns = {
        "retain": (
            answer_probability(seen.losses["retain"]),
            np.array([known.get(record.id, np.nan) for record in kept]),
            truth_ratio(right, wrong(kept), "utility"),
        )
    }
    for name, records in setting.general.items():
        right, false = losses(TextSamples(records, encoder)), wrong(records)
        said, ratios = _recalls(say(records), records), truth_ratio(right, false, "utility")
        columns[name] = normalised_probability(right, false), said, ratios
    tables = {name: np.column_stack(found) for name, found in columns.items()}
    return {
        "parts": dict(zip(UTILITY_PARTS, _means(list(tables.values())).tolist(), strict=True)),
        "n": min(len(asked), *map(len, setting.general.values())),
        "questions": {name: [[_number(x) for x in row] for row in table] for name, table in tables.items()},
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _means(tables: Sequence[np.ndarray]) -> np.ndarray:
    """[9]: set after set, the mean of each column over the questions that were asked for it (nan: none was)."""
    with np.errstate(invalid="ignore"):
        return np.concatenate([np.nansum(table, axis=0) / (~np.isnan(table)).sum(axis=0) for table in tables])


def _interval(tables: Mapping[str, Sequence[Sequence[float | None]]]) -> tuple[float, float] | None:
    """95 % bootstrap: questions are redrawn within each set, with all three numbers of a question together."""
    groups = [np.array(table, dtype=np.float64) for table in tables.values()]
    with suppress(ValueError):  # so few answers that a draw has none
        return bootstrap_groups(groups, lambda drawn: harmonic(_means(drawn)), 0)
    return None


def _recalls(said: Sequence[str], records: Sequence[Record]) -> np.ndarray:
    pairs = zip(said, records, strict=True)
    return np.array([rouge_l_recall(text, record.completion) for text, record in pairs])
