"""What the TOFU benchmark measured of a model, written as the logs of the public tools, beside its table.

Only what was measured question by question is written as rows. The benchmark keeps every loss of the forget set,
but of the other sets the three numbers of each question and not the losses of their paraphrased and wrong answers:
the aggregated layout, which is made of losses, therefore has the forget set alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.records import Record
from ..data.tofu_logs import SETS, AnswerLosses, Floats, MetricLog, aggregated_layout
from ..metrics import forget_quality, model_utility, rouge_l_recall
from ..metrics.truth import ranked_truth_ratio
from ..report.scores import write_text
from .tofu_export import entry, probabilities, set_metrics, write_eval_logs
from .tofu_score import WITH_OPTIONS, Column, newer_name
from .tofu_seen import Seen, questions
from .tofu_setting import Setting

AGGREGATED = "eval_log_aggregated.json"
FIELDS = {"probability": "prob", "rouge": "rougeL_recall"}


def write_logs(
    out: Path,
    name: str,
    seed: int,
    seen: Seen,
    setting: Setting,
    retrain: Seen | None = None,
    utility: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write out/logs/<name>-seed<k>: eval_log_aggregated.json, TOFU_EVAL.json and TOFU_SUMMARY.json; their paths.

    An index is a question's place among the forgotten or the measured kept ones. retrain: the same seed's, for the
    forget quality (None: `seen` is the Retrain itself). utility: what `tofu_utility` keeps of the model, {"parts":
    nine means, "questions": set → [n, 3]}; None where it is not measured.
    """
    folder = out / "logs" / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}-seed{seed}"
    losses = forget_losses(seen, setting)
    write_text(folder / AGGREGATED, json.dumps(aggregated_layout({"forget": losses}), allow_nan=False) + "\n")
    metrics = set_metrics("forget", losses) | _retain(seen, setting)
    if retrain is not None:
        p = forget_quality(_ratios(losses), _ratios(forget_losses(retrain, setting))).p
        metrics["forget_quality"] = MetricLog(p)
    if utility is not None:
        metrics |= _utility(utility)
    return [folder / AGGREGATED, *write_eval_logs(folder, metrics)]


def forget_losses(seen: Seen, setting: Setting) -> AnswerLosses:
    """The forget set: [n] losses in nats per token, and ROUGE-L recall where the model was asked, else nan."""
    forget, found = setting.groups.forget, seen.losses
    said = _recalls(forget, questions(setting)["forget"], seen.said["forget"])
    return AnswerLosses(_ids(forget), found["forget"], found["paraphrased"], found["perturbed"], said)


def _ratios(losses: AnswerLosses) -> Floats:
    return ranked_truth_ratio(losses.paraphrased, losses.wrong)


def _retain(seen: Seen, setting: Setting) -> dict[str, MetricLog]:
    """The kept questions that are measured: their answers' losses, and ROUGE where the model was asked."""
    kept = setting.groups.asked
    said = _recalls(kept, questions(setting)["retain"], seen.said["retain"])
    metrics = {newer_name("retain", "probability"): probabilities(_ids(kept), seen.losses["retain"])}
    return metrics | _rows("retain", "rouge", said)


def _utility(found: Mapping[str, Any]) -> dict[str, MetricLog]:
    """The model utility and its parts: rows but for the truth ratios, of which max(0, 1 − R) alone is kept."""
    value = model_utility(found["parts"]).value
    assert value is not None  # of nine numbers
    metrics = {"model_utility": MetricLog(value)}
    for name in SETS:
        if name != "forget":
            metrics[newer_name(name, "truth_ratio")] = MetricLog(found["parts"][f"{name}_truth_ratio"])
    for name in WITH_OPTIONS:  # the kept questions have theirs already
        table = np.array(found["questions"][name], dtype=np.float64)
        metrics |= _rows(name, "probability", table[:, 0]) | _rows(name, "rouge", table[:, 1])
    return metrics


def _rows(name: str, metric: str, values: Floats) -> dict[str, MetricLog]:
    """A metric of a set with a row for each number, [n]; nothing where all are nan."""
    there = np.flatnonzero(~np.isnan(values))
    column = Column(tuple(str(i) for i in there), values[there])
    return {newer_name(name, metric): entry(column, FIELDS[metric])} if len(there) else {}


def _recalls(records: Sequence[Record], asked: Sequence[Record], said: Sequence[str]) -> Floats:
    """[n] ROUGE-L recall of the answers to some of the records, nan for the others."""
    found = {r.id: rouge_l_recall(text, r.completion) for text, r in zip(said, asked, strict=True)}
    return np.array([found.get(record.id, np.nan) for record in records])


def _ids(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(str(place) for place in range(len(records)))
