"""Logs of the public TOFU tools, read and laid out: the original aggregated file, and the newer EVAL and SUMMARY.

- aggregated (`eval_log_aggregated.json`, TOFU's scripts, Maini et al. 2024): {file: {column: {index: value}}} with
  one "file" a question set; losses are nats per token.
- EVAL (`TOFU_EVAL.json`, the OpenUnlearning framework, Dorna et al. 2025): {metric: {"agg_value": mean,
  "value_by_index": {index: {field: value}}}}; SUMMARY (`TOFU_SUMMARY.json`): {metric: agg_value}.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofmu.data.tofu_columns import (
    CORRECT,
    PARAPHRASED,
    ROUGE,
    WRONG,
    answered,
    is_number,
    kind,
    number,
    read_column,
    same_indices,
    wrong_answers,
)
from ofmu.errors import UserError

Floats = NDArray[np.float64]
SETS = {  # our name of a question set -> the aggregated log's file, the newer log's prefix
    "retain": ("eval_log.json", "retain"),
    "real_authors": ("eval_real_author_wo_options.json", "ra"),
    "world_facts": ("eval_real_world_wo_options.json", "wf"),
    "forget": ("eval_log_forget.json", "forget"),
}
NOT_PARAPHRASED = ("real_authors", "world_facts")  # TOFU's scripts write the answer's own loss again
EXPECTED = (
    f"expected TOFU's eval_log_aggregated.json (with the keys {', '.join(file for file, _ in SETS.values())}), a "
    "TOFU_EVAL.json ({metric: {agg_value, value_by_index}}) or a TOFU_SUMMARY.json ({metric: value})"
)


@dataclass(frozen=True)
class AnswerLosses:
    """One question set of an aggregated log, its rows in the order of `ids`.

    correct, paraphrased: [n] mean losses in nats per token of the answer and of its rewording (real authors and
    world facts have none: there it is the answer's own, also where a log leaves it out). wrong: [n, m] those of
    the m wrong answers. rouge: [n] ROUGE-L recall of what the model says, nan where it was not asked.
    """

    ids: tuple[str, ...]
    correct: Floats
    paraphrased: Floats
    wrong: Floats
    rouge: Floats


@dataclass(frozen=True)
class AggregatedLog:
    """An original aggregated log: `sets` by our names, as many as were asked for."""

    path: Path
    sets: Mapping[str, AnswerLosses]


@dataclass(frozen=True)
class MetricLog:
    """One entry of the newer layout; by_index is None where only the mean was written (SUMMARY)."""

    agg_value: float | None
    by_index: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class EvalLog:
    """A TOFU_EVAL.json, or a TOFU_SUMMARY.json, which has means alone."""

    path: Path
    metrics: Mapping[str, MetricLog]

    def column(self, metric: str, field: str) -> tuple[tuple[str, ...], Floats]:
        """(indices, [n] values of `field`); UserError where the log does not have them."""
        entry = self.metrics.get(metric)
        if entry is None or entry.by_index is None:
            lack = "no metric of that name" if entry is None else "its mean alone, no value_by_index"
            raise UserError(f"{self.path}: {metric}: found {lack}, expected {{index: {{{field!r}: value}}}}")
        rows = {}
        for index, row in entry.by_index.items():
            where = f"{self.path}: {metric}[{index}]"
            if not isinstance(row, Mapping) or field not in row:
                found = sorted(row) if isinstance(row, Mapping) else row
                raise UserError(f"{where}: found {found}, expected an object with {field!r}")
            rows[str(index)] = number(where, row[field], 0.0, math.inf)
        return tuple(rows), np.array(list(rows.values()), dtype=np.float64)


def read_tofu_log(
    path: str | Path, sets: Sequence[str] = tuple(SETS), also: Sequence[str] = ()
) -> AggregatedLog | EvalLog:
    """Read either layout; of an aggregated log `sets`, which must be there, and of `also` those that are.

    Rows are joined by index, whatever their order in the file; ROUGE may be of fewer questions. Raises UserError,
    naming file, set, column and index, for a missing or broken file, an unknown layout, an absent set or column,
    indices or numbers of wrong answers that differ, and values that are no finite number in range.
    """
    path = Path(path).expanduser()
    content = _load(path)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: found {kind(content)}; {EXPECTED}")
    if any(file in content for file, _ in SETS.values()):
        wanted = [name for name in SETS if name in sets or (name in also and SETS[name][0] in content)]
        return AggregatedLog(path, {name: _answer_losses(path, content, name) for name in wanted})
    if all(is_number(value) or value is None for value in content.values()):
        return EvalLog(path, {name: MetricLog(_mean(path, name, value)) for name, value in content.items()})
    entries = [value for value in content.values() if isinstance(value, dict)]
    if len(entries) == len(content) and all("agg_value" in e or "value_by_index" in e for e in entries):
        return EvalLog(path, {name: _metric(path, name, value) for name, value in content.items()})
    raise UserError(f"{path}: found the keys {', '.join(list(content)[:6])}; {EXPECTED}")


def aggregated_layout(sets: Mapping[str, AnswerLosses]) -> dict[str, dict[str, dict[str, Any]]]:
    """The aggregated layout of question sets, ready for JSON; `read_tofu_log` gives the same sets back."""
    return {
        SETS[name][0]: {
            CORRECT: dict(zip(losses.ids, losses.correct.tolist(), strict=True)),
            PARAPHRASED: dict(zip(losses.ids, losses.paraphrased.tolist(), strict=True)),
            WRONG: dict(zip(losses.ids, losses.wrong.tolist(), strict=True)),
            ROUGE: {i: x for i, x in zip(losses.ids, losses.rouge.tolist(), strict=True) if not math.isnan(x)},
        }
        for name, losses in sets.items()
    }


def eval_layout(metrics: Mapping[str, MetricLog]) -> dict[str, dict[str, Any]]:
    """The EVAL layout, ready for JSON, its metrics sorted by name as the framework sorts them."""
    content: dict[str, dict[str, Any]] = {}
    for name, entry in sorted(metrics.items()):
        rows = (
            {} if entry.by_index is None else {"value_by_index": {k: dict(v) for k, v in entry.by_index.items()}}
        )
        content[name] = {"agg_value": entry.agg_value, **rows}
    return content


def summary_layout(metrics: Mapping[str, MetricLog]) -> dict[str, float]:
    """The SUMMARY layout: the mean of every metric that has one."""
    return {name: entry.agg_value for name, entry in sorted(metrics.items()) if entry.agg_value is not None}


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {EXPECTED}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); {EXPECTED}") from None


def _answer_losses(path: Path, content: Mapping[str, Any], question_set: str) -> AnswerLosses:
    file = SETS[question_set][0]
    if file not in content:
        raise UserError(f"{path}: has no {file!r}, found {', '.join(content)}; expected all question sets of TOFU")
    columns = {name: read_column(path, content[file], file, name) for name in (CORRECT, WRONG)}
    bare = question_set in NOT_PARAPHRASED and PARAPHRASED not in content[file]
    columns[PARAPHRASED] = columns[CORRECT] if bare else read_column(path, content[file], file, PARAPHRASED)
    ids = tuple(columns[CORRECT])
    for name, column in columns.items():
        same_indices(f"{path}: {file}: {name}", column, CORRECT, columns[CORRECT])
    many = wrong_answers(f"{path}: {file}: {WRONG}", columns[WRONG])

    def numbers(name: str) -> Floats:
        rows = [number(f"{path}: {file}: {name}[{i}]", columns[name][i], 0.0, math.inf) for i in ids]
        return np.array(rows, dtype=np.float64)

    wrong = [
        [number(f"{path}: {file}: {WRONG}[{i}][{j}]", columns[WRONG][i][j], 0.0, math.inf) for j in range(many)]
        for i in ids
    ]
    losses = numbers(CORRECT), numbers(PARAPHRASED), np.array(wrong, dtype=np.float64)
    said = read_column(path, content[file], file, ROUGE)
    return AnswerLosses(ids, *losses, answered(f"{path}: {file}: {ROUGE}", said, columns[CORRECT]))


def _metric(path: Path, name: str, entry: Mapping[str, Any]) -> MetricLog:
    rows = entry.get("value_by_index")
    if rows is not None and not isinstance(rows, dict):
        raise UserError(f"{path}: {name}: value_by_index: found {kind(rows)}, expected {{index: row}}")
    return MetricLog(_mean(path, name, entry.get("agg_value")), rows or None)


def _mean(path: Path, name: str, value: Any) -> float | None:
    return None if value is None else number(f"{path}: {name}: agg_value", value, -math.inf, math.inf)
