"""TOFU's scores from a log that is already there: model utility with its nine parts, and forget quality.

From an aggregated log the numbers are those of TOFU's own `aggregate_eval_stat.py`; from a TOFU_EVAL.json those of
the OpenUnlearning framework (whose per-question truth ratios carry 1e-10 in their denominator, as it wrote them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..data.tofu_logs import SETS, AggregatedLog, AnswerLosses, EvalLog, Floats
from ..errors import UserError
from ..metrics import (
    UTILITY_PARTS,
    KSResult,
    TruthRatioForm,
    answer_probability,
    bootstrap_groups,
    mean_interval,
    model_utility,
    normalised_probability,
)
from .tofu_quality import TofuLog, quality, truth_ratios_of

METRICS = ("probability", "rouge", "truth_ratio")
WITH_OPTIONS = ("real_authors", "world_facts")  # their probability is normalised over the answers on offer
AGREE = 1e-6  # a recorded mean and that of its recorded values: more apart, and the log contradicts itself


@dataclass(frozen=True)
class Column:
    """One number a question, [n]; the mean of the column is the part of that name."""

    ids: tuple[str, ...]
    values: Floats


@dataclass(frozen=True)
class TofuScores:
    """What a log says of a model.

    means: by "<set>_<metric>": the nine parts of the model utility and three of the forget set, those that the log
    has. utility: None where parts are lacking. intervals: 95 % bootstrap over questions, of the means and of
    "model_utility"; empty without values by question. quality: against a Retrain's log. recorded_quality: the
    p-value that the log itself holds. warnings: lines to be shown beside the numbers.
    """

    means: Mapping[str, float]
    columns: Mapping[str, Column]
    utility: float | None
    intervals: Mapping[str, tuple[float, float]]
    quality: KSResult | None = None
    recorded_quality: float | None = None
    warnings: tuple[str, ...] = ()

    def summary(self) -> dict[str, object]:
        """Plain data: model_utility, the parts, forget_quality, ks_statistic and n where known, the intervals."""
        said: dict[str, object] = {} if self.utility is None else {"model_utility": self.utility}
        said |= self.means
        if self.quality is not None:
            found = {"forget_quality": self.quality.p, "ks_statistic": self.quality.statistic}
            said |= {**found, "n": self.quality.n_unlearned, "n_retain": self.quality.n_retrained}
        elif self.recorded_quality is not None:
            said["forget_quality"] = self.recorded_quality
        counts = {name: len(column.ids) for name, column in self.columns.items()}
        return {**said, "questions": counts, "intervals": {k: list(v) for k, v in self.intervals.items()}}


def score_log(log: TofuLog, retain: TofuLog | None = None, seed: int = 0) -> TofuScores:
    """The scores of a model's log; with the log of the model retrained without D_f also the forget quality.

    A log without the parts of the model utility is good for its forget quality alone.
    Raises UserError where the log lacks what is asked, contradicts itself, or its truth ratios are in a form that
    cannot be compared with the other's. seed: of the bootstrap.
    """
    columns = _columns(log)
    means = {name: float(column.values.mean()) for name, column in columns.items()}
    recorded: dict[str, float] = {}
    if isinstance(log, EvalLog):
        recorded = _recorded(log)
        means = _agreeing(log, means, recorded)
    intervals = {name: mean_interval(column.values, seed) for name, column in columns.items()}
    if all(part in columns for part in UTILITY_PARTS):
        intervals["model_utility"] = _utility_interval(log, columns, seed)
    ks, warnings = (None, ()) if retain is None else quality(log, retain)
    utility = _utility(log, means, recorded, needed=retain is None)
    if utility is None:
        absent = ", ".join(_absent(means))
        warnings += (f"warning: {log.path} gives no model utility: it has no {absent}",)
    return TofuScores(means, columns, utility, intervals, ks, recorded.get("forget_quality"), warnings)


def _columns(log: TofuLog) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    if isinstance(log, AggregatedLog):
        for name, losses in log.sets.items():
            columns |= set_columns(name, losses)
        return columns
    for name in SETS:
        for metric, field in zip(METRICS, ("prob", "rougeL_recall", "score"), strict=True):
            entry = log.metrics.get(newer_name(name, metric))
            if entry is not None and entry.by_index is not None:
                ids, found = log.column(newer_name(name, metric), field)
                if metric == "truth_ratio":
                    found = _closeness(found) if name == "forget" else np.maximum(0.0, 1 - found)
                columns[f"{name}_{metric}"] = Column(ids, found)
    return columns


def set_columns(name: str, losses: AnswerLosses) -> dict[str, Column]:
    """The three metrics of a question set, by "<set>_<metric>"; ROUGE of the questions that were answered."""
    form: TruthRatioForm = "closeness" if name == "forget" else "utility"
    there = ~np.isnan(losses.rouge)
    answered = tuple(index for index, said in zip(losses.ids, there, strict=True) if said)
    found = (
        Column(losses.ids, _probability(name, losses)),
        Column(answered, losses.rouge[there]),
        Column(losses.ids, truth_ratios_of(losses, form)),
    )
    return {f"{name}_{metric}": column for metric, column in zip(METRICS, found, strict=True) if column.ids}


def _probability(name: str, losses: AnswerLosses) -> Floats:
    if name in WITH_OPTIONS:
        return normalised_probability(losses.correct, losses.wrong)
    return answer_probability(losses.correct)


def _closeness(ratio: Floats) -> Floats:
    """min(R, 1/R), [n]; a share (OpenUnlearning's other aggregator) is at most 1 and stays as it is."""
    with np.errstate(divide="ignore"):  # 1/0 is infinite, and the minimum then 0
        closeness: Floats = np.minimum(ratio, 1 / ratio)
    return closeness


def newer_name(name: str, metric: str) -> str:
    """What the framework calls a metric of a question set."""
    prefix = SETS[name][1]
    if metric == "truth_ratio":
        return "forget_truth_ratio" if name == "forget" else f"{prefix}_Truth_Ratio"
    if metric == "rouge":
        return f"{prefix}_Q_A_ROUGE"
    return f"{prefix}_Q_A_Prob_normalised" if name in WITH_OPTIONS else f"{prefix}_Q_A_Prob"


def _recorded(log: EvalLog) -> dict[str, float]:
    """The means that a newer log holds, by our names."""
    names = {f"{name}_{metric}": newer_name(name, metric) for name in SETS for metric in METRICS}
    names |= {"model_utility": "model_utility", "forget_quality": "forget_quality"}
    entries = {ours: log.metrics[theirs] for ours, theirs in names.items() if theirs in log.metrics}
    return {name: entry.agg_value for name, entry in entries.items() if entry.agg_value is not None}


def _agreeing(log: EvalLog, means: Mapping[str, float], recorded: Mapping[str, float]) -> dict[str, float]:
    """The means of the recorded values, else the recorded means; UserError where the two contradict."""
    both = {part: mean for part, mean in recorded.items() if part.rpartition("_")[2] not in ("utility", "quality")}
    for part, mean in means.items():
        if abs(both.get(part, mean) - mean) > AGREE:
            raise UserError(
                f"{log.path}: {part}: found agg_value {both[part]:.9g}, but its values by index give {mean:.9g}; "
                "expected one log of one run with the framework's usual aggregators"
            )
    return {**both, **means}


def _utility(
    log: TofuLog, means: Mapping[str, float], recorded: Mapping[str, float], needed: bool
) -> float | None:
    """From the nine parts, else as recorded, else None; UserError instead of None where it is `needed`."""
    absent, known = _absent(means), recorded.get("model_utility")
    if absent and known is None and needed:
        raise UserError(
            f"{log.path}: has neither model_utility nor {', '.join(absent)}; expected all nine parts, as in the "
            "TOFU_EVAL.json of the run, or a Retrain's log beside it, for the forget quality alone"
        )
    if absent:
        return known
    try:
        value = model_utility({part: means[part] for part in UTILITY_PARTS}).value
    except ValueError as error:
        raise UserError(f"{log.path}: {error}") from None
    assert value is not None
    if known is not None and abs(known - value) > AGREE:
        raise UserError(f"{log.path}: found model_utility {known:.9g}, but its parts give {value:.9g}")
    return value


def _absent(means: Mapping[str, float]) -> list[str]:
    return [part for part in UTILITY_PARTS if part not in means]


def _utility_interval(log: TofuLog, columns: Mapping[str, Column], seed: int) -> tuple[float, float]:
    """Questions are redrawn within each set, with all three numbers of a question together."""
    groups = []
    for name in SETS:
        if name == "forget":
            continue
        first = columns[f"{name}_{METRICS[0]}"]
        parts = [dict(zip(c.ids, c.values)) for c in (columns[f"{name}_{m}"] for m in METRICS)]
        if any(part.keys() != parts[0].keys() for part in parts):
            raise UserError(
                f"{log.path}: the metrics of {name} have different indices, expected the same questions"
            )
        groups.append(np.array([[part[i] for part in parts] for i in first.ids]))
    return bootstrap_groups(groups, lambda drawn: harmonic(np.concatenate([g.mean(0) for g in drawn])), seed)


def harmonic(parts: Floats) -> float:
    """The harmonic mean, 0 where a part is 0 (its limit): scipy's is slow for a thousand draws."""
    with np.errstate(over="ignore"):  # a part of 1e-320 is as good as 0
        return float(len(parts) / (1 / parts).sum()) if parts.all() else 0.0
