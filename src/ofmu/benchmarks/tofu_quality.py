"""TOFU's forget quality of two logs, whichever layout and whichever form of the truth ratio each is written in.

R = wrong/correct is the form of TOFU and of OpenUnlearning's aggregators "closer_to_1_better" and "true_better";
its newer "prob_mean" writes the share S = correct/(correct + wrong) = 1/(1 + R) under the same name. The test sees
ranks only, so that either form serves, if both logs are in it; one of each would compare a model with its mirror.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from scipy.special import expit

from ..data.tofu_logs import AggregatedLog, AnswerLosses, EvalLog, Floats, MetricLog
from ..errors import UserError
from ..metrics import KSResult, TruthRatioForm, forget_quality, truth_ratio
from ..metrics.truth import ranked_truth_ratio

TofuLog = AggregatedLog | EvalLog
Form = Literal["ratio", "share"]
RATIOS, PARAPHRASED, WRONG = "forget_truth_ratio", "forget_Q_A_PARA_Prob", "forget_Q_A_PERT_Prob"
CLOSE = 1e-3  # relative, of R and S from recorded losses: the framework's float32 moves them by less
TINY = 1e-300  # no division by zero where probabilities underflow


def quality(log: TofuLog, retain: TofuLog) -> tuple[KSResult, tuple[str, ...]]:
    """(The p-value and D of the truth ratios of D_f, the model's against Retrain's; warnings, a line each).

    The test pairs nothing: it is the original's for any two sets of questions, and a warning says where they
    differ. Raises UserError where the logs cannot be brought to one form.
    """
    original = isinstance(log, AggregatedLog) and isinstance(retain, AggregatedLog)
    (our_ids, ours), (their_ids, theirs) = (
        recorded(each, "tofu" if original else "geometric") for each in (log, retain)
    )
    forms = form_of(log), form_of(retain)
    if None in forms and forms != (None, None):
        raise UserError(_unknown(log if forms[0] is None else retain))
    if forms[0] != forms[1]:
        ours, theirs = _shares(log), _shares(retain)
    warnings = () if set(our_ids) == set(their_ids) else (_other_questions(log, retain, our_ids, their_ids),)
    return forget_quality(ours, theirs), warnings


def _other_questions(log: TofuLog, retain: TofuLog, ours: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    shared = len(set(ours) & set(theirs))
    return (
        f"warning: {log.path} has {len(ours)} forget questions and {retain.path} {len(theirs)}, {shared} indices "
        "in both: the models were asked different questions, and D holds that difference too"
    )


def recorded(log: TofuLog, form: Literal["geometric", "tofu"]) -> tuple[tuple[str, ...], Floats]:
    """(indices, [n] truth ratios of D_f): in `form` from an aggregated log, as written from a newer one."""
    if isinstance(log, AggregatedLog):
        losses = log.sets["forget"]
        return losses.ids, ranked_truth_ratio(losses.paraphrased, losses.wrong, form)
    return log.column(RATIOS, "score")


def truth_ratios_of(losses: AnswerLosses, form: TruthRatioForm) -> Floats:
    """[n]: the truth ratios of a set's questions."""
    return truth_ratio(losses.paraphrased, losses.wrong, form)


def form_of(log: TofuLog) -> Form | None:
    """In which form a log's truth ratios of D_f are; None where the log does not tell.

    A value above 1 is no share. Else the losses beside it decide, which the framework writes into the same file;
    a log without them, all of whose values are at most 1, may be either.
    """
    if isinstance(log, AggregatedLog):
        return "ratio"
    ids, values = log.column(RATIOS, "score")
    if values.max() > 1:
        return "ratio"
    losses = _losses(log.metrics, ids)
    if losses is None:
        return None
    fits: dict[Form, float] = {form: _distance(values, form, *losses) for form in ("ratio", "share")}
    form = min(fits, key=lambda each: fits[each])
    if fits[form] > CLOSE:
        raise UserError(
            f"{log.path}: {RATIOS}: found values that are neither wrong/correct nor correct/(correct + wrong) of "
            f"the losses in {PARAPHRASED} and {WRONG}; expected one log of one run"
        )
    return form


def _shares(log: TofuLog) -> Floats:
    """[n] S = 1/(1 + R): from the losses where a log has them, as R has no value where S underflows."""
    if isinstance(log, AggregatedLog):
        return truth_ratios_of(log.sets["forget"], "share")
    ids, values = log.column(RATIOS, "score")
    losses = _losses(log.metrics, ids)
    shares: Floats = 1 / (1 + values) if losses is None else expit(losses[1] - losses[0])
    return shares


def _distance(values: Floats, form: Form, correct: Floats, wrong: Floats) -> float:
    """How far the values are from those of that form, relative, the worst question; with or without the 1e-10."""
    distances = []
    for added in (0.0, 1e-10):  # of the framework's denominators; ofmu writes ratios without
        p, q = np.exp(-correct), np.exp(-wrong)
        over, under = (q, p + added) if form == "ratio" else (p, p + q + added)
        expected = over / np.maximum(under, TINY)
        distances.append(np.abs(values - expected) / np.maximum(np.maximum(values, expected), TINY))
    return float(min(each.max() for each in distances))


def _losses(metrics: Mapping[str, MetricLog], ids: tuple[str, ...]) -> tuple[Floats, Floats] | None:
    """[n] losses of the paraphrased answers and mean losses of the wrong ones; None where the log has not both."""
    correct, wrong = (_mean_losses(metrics.get(name), ids) for name in (PARAPHRASED, WRONG))
    return None if correct is None or wrong is None else (correct, wrong)


def _mean_losses(entry: MetricLog | None, ids: tuple[str, ...]) -> Floats | None:
    """[n] mean losses of a question's answers; None unless every question has a number."""
    rows: Mapping[str, Mapping[str, Any]] = {} if entry is None or entry.by_index is None else entry.by_index
    by_id = {str(index): row for index, row in rows.items()}
    try:
        means = np.array([np.mean(np.array(by_id[i]["avg_loss"], dtype=np.float64)) for i in ids])
    except (KeyError, TypeError, ValueError):
        return None
    return means if np.isfinite(means).all() else None  # null is read as nan


def _unknown(log: TofuLog) -> str:
    return (
        f"{log.path}: {RATIOS}: found values that may be wrong/correct or correct/(correct + wrong), "
        f"and the other log says which its own are; expected {PARAPHRASED} and {WRONG} beside them, as the "
        "framework writes them: give the whole TOFU_EVAL.json of the run"
    )
