"""Write a scored TOFU log in the newer layout, TOFU_EVAL.json with TOFU_SUMMARY.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..data.tofu_logs import SETS, AggregatedLog, AnswerLosses, Floats, MetricLog, eval_layout, summary_layout
from ..report.scores import write_text
from .tofu_quality import truth_ratios_of
from .tofu_score import WITH_OPTIONS, Column, TofuScores, newer_name, set_columns

LOGS = ("TOFU_EVAL.json", "TOFU_SUMMARY.json")


def eval_metrics(log: AggregatedLog, scores: TofuScores) -> dict[str, MetricLog]:
    """An aggregated log as the metrics of the newer layout, under the framework's names."""
    metrics: dict[str, MetricLog] = {}
    if scores.utility is not None:
        metrics["model_utility"] = MetricLog(scores.utility)
    if scores.quality is not None:
        metrics["forget_quality"] = MetricLog(scores.quality.p)
    for name, losses in log.sets.items():
        metrics |= set_metrics(name, losses)
    return metrics


def set_metrics(name: str, losses: AnswerLosses) -> dict[str, MetricLog]:
    """The metrics of one question set.

    "score" of a truth ratio is exp(paraphrased − mean wrong loss) without the 1e-10 that the framework adds to the
    denominator.
    """
    prefix, columns = SETS[name][1], set_columns(name, losses)
    metrics = {
        f"{prefix}_Q_A_Prob": probabilities(losses.ids, losses.correct),
        f"{prefix}_Q_A_PERT_Prob": probabilities(losses.ids, losses.wrong),
    }
    if name in WITH_OPTIONS:
        metrics[newer_name(name, "probability")] = entry(columns[f"{name}_probability"], "prob")
    else:
        metrics[f"{prefix}_Q_A_PARA_Prob"] = probabilities(losses.ids, losses.paraphrased)
    if f"{name}_rouge" in columns:
        metrics[newer_name(name, "rouge")] = entry(columns[f"{name}_rouge"], "rougeL_recall")
    mean = float(columns[f"{name}_truth_ratio"].values.mean())
    try:
        ratios = entry(Column(losses.ids, truth_ratios_of(losses, "geometric")), "score", mean)
    except ValueError:  # one is too large for a float; the part, which is bounded, has its mean all the same
        ratios = MetricLog(mean)
    metrics[newer_name(name, "truth_ratio")] = ratios
    return metrics


def write_eval_logs(folder: Path, metrics: Mapping[str, MetricLog]) -> list[Path]:
    """Write TOFU_EVAL.json and TOFU_SUMMARY.json."""
    written = []
    for name, content in zip(LOGS, (eval_layout(metrics), summary_layout(metrics)), strict=True):
        written.append(folder / name)
        write_text(written[-1], json.dumps(content, indent=4, allow_nan=False) + "\n")
    return written


def entry(column: Column, field: str, mean: float | None = None) -> MetricLog:
    """One value a question; `mean` where the aggregate is not the plain mean."""
    values = column.values.tolist()
    rows = {index: {field: value} for index, value in zip(column.ids, values, strict=True)}
    return MetricLog(float(column.values.mean()) if mean is None else mean, rows)


def probabilities(ids: tuple[str, ...], losses: Floats) -> MetricLog:
    """exp(−loss) and the loss of each answer; lists where a question has several ([n, m])."""
    probability = np.exp(-losses)
    pairs = zip(ids, probability.tolist(), losses.tolist(), strict=True)
    return MetricLog(float(probability.mean()), {i: {"prob": p, "avg_loss": loss} for i, p, loss in pairs})
