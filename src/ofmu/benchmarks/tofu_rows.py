"""The scores of a model on TOFU, from how it is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import numpy as np

from ..data.records import Record
from ..metrics import (
    Score,
    answer_probability,
    bootstrap_groups,
    forget_quality,
    mean_score,
    perplexity,
    repetition_rate,
    rouge_l_recall,
    truth_ratio,
    unseen_damage,
)
from ..report.model import ScoreRow
from .auc import auc_score
from .tofu_objective import objective
from .tofu_seen import Floats, Seen, questions
from .tofu_setting import Setting
from .token_pass import FORGET_METRICS

DIRECTIONS: Mapping[str, bool | None] = {  # of the scores that are the mean of one number a question
    "forget_nll": None,
    "forget_prob": None,
    "truth_ratio": None,
    "forget_truth_ratio": None,
    "rouge_l": None,
    "extraction_strength": None,
    "exact_memorization": None,
    "retain_prob": True,
    "unseen_prob": None,
    "retain_rouge_l": True,
    "nll_error": False,
}
OTHERS: Mapping[str, bool | None] = {  # of all others; KS has no interval: D of redrawn samples is too large
    "objective": False,
    "min_k_plus_plus_auc": None,
    "unseen_damage": None,  # best at Retrain's: likelier than before is a change as well
    "repetition": False,
    "perplexity": False,
    "ks_p": True,
    "ks_d": False,
}


def by_question(seen: Seen, retrain: Seen | None, setting: Setting) -> dict[str, Floats]:
    """Metric → one value a question; of the metrics that are means. retrain None: no distance to it.

    Without truth_ratio where one is too large for a float.
    """
    losses, asked = seen.losses, questions(setting)
    right, wrong, forget = losses["paraphrased"], losses["perturbed"], seen.tokens["forget"]
    found = {
        "forget_nll": losses["forget"],
        "forget_prob": answer_probability(losses["forget"]),
        "forget_truth_ratio": truth_ratio(right, wrong, "closeness"),
        "rouge_l": _recalls(seen.said["forget"], asked["forget"]),
        "extraction_strength": forget["extraction"],
        "exact_memorization": forget["exact"],
        "retain_prob": answer_probability(losses["retain"]),
        "unseen_prob": answer_probability(losses["unseen"]),
        "retain_rouge_l": _recalls(seen.said["retain"], asked["retain"]),
    }
    with suppress(ValueError):
        found["truth_ratio"] = truth_ratio(right, wrong)
    if retrain is not None:
        found["nll_error"] = np.abs(losses["forget"] - retrain.losses["forget"])
    return found


def score_rows(
    task: str, name: str, seed: int, seen: Seen, setting: Setting, retrain: Seen | None, original: Seen
) -> list[ScoreRow]:
    """The scores of one model; retrain None: it is the Retrain itself. original: what damage is measured from."""
    found = by_question(seen, retrain, setting)
    of: dict[str, Callable[[], Score]] = {
        metric: partial(mean_score, values, "", None) for metric, values in found.items()
    }
    members, others = (seen.tokens[part]["min_k_plus_plus"] for part in ("forget", "unseen"))
    of["min_k_plus_plus_auc"] = lambda: auc_score(members, others)
    before, now = (answer_probability(each.losses["unseen"]) for each in (original, seen))
    of["unseen_damage"] = lambda: unseen_damage(now, before)
    texts = [text.split() for part in seen.said.values() for text in part]
    of["repetition"] = lambda: repetition_rate(texts)
    if seen.fluency is not None:
        nll, tokens = seen.fluency
        of["perplexity"] = lambda: perplexity(nll, tokens)
    if retrain is not None:
        theirs = by_question(retrain, None, setting)
        of |= {part: partial(_ks, part, found, theirs) for part in ("ks_p", "ks_d")}
        of["objective"] = lambda: _objective(seen, original, retrain)
    of.setdefault("truth_ratio", lambda: mean_score(_ratio(found), "", None))
    added = [metric for metric in FORGET_METRICS if metric not in DIRECTIONS]
    of |= {metric: partial(_added, metric, seen, setting) for metric in added}
    order = (*DIRECTIONS, *OTHERS, *added)
    return [_row(task, name, seed, metric, of[metric]) for metric in order if metric in of]


def _row(task: str, name: str, seed: int, metric: str, of: Callable[[], Score]) -> ScoreRow:
    """A score as a row; one that cannot be had is missing, and says why."""
    higher = {**DIRECTIONS, **OTHERS}.get(metric)
    try:
        score = of()
        higher = higher if metric in OTHERS or metric in DIRECTIONS else score.higher_is_better
    except ValueError as error:
        return ScoreRow(task, name, seed, metric, None, 0, higher, str(error))
    if score.value is None:
        return ScoreRow(task, name, seed, metric, None, 0, higher, score.missing)
    return ScoreRow(
        task, name, seed, metric, score.value, score.n, higher, None, *(score.interval or (None, None))
    )


def _added(metric: str, seen: Seen, setting: Setting) -> Score:
    """A metric that was added to the dict."""
    return FORGET_METRICS[metric](seen.forgotten(setting))


def _ratio(found: Mapping[str, Floats]) -> Floats:
    if "truth_ratio" not in found:
        raise ValueError("a truth ratio is too large for a float: the model is broken")
    return found["truth_ratio"]


def _objective(seen: Seen, original: Seen, retrain: Seen) -> Score:
    """J, with the questions of either set redrawn together with all their losses."""
    models = seen.losses, original.losses, retrain.losses
    groups = [np.column_stack([losses[part] for losses in models]) for part in ("forget", "retain")]

    def of(drawn: Sequence[Floats]) -> float:
        (ours, before, gold), (kept, _, gold_kept) = (group.T for group in drawn)
        return objective(ours, kept, before, gold, gold_kept)

    value, interval = of(groups), None
    with suppress(ValueError):  # a draw of questions on which the original and Retrain do not differ
        interval = bootstrap_groups(groups, of, 0)
    return Score(value, len(groups[0]), interval=interval)


def _ks(part: str, ours: Mapping[str, Floats], theirs: Mapping[str, Floats]) -> Score:
    test = forget_quality(_ratio(ours), _ratio(theirs))
    return Score(test.p if part == "ks_p" else test.statistic, test.n_unlearned)


def missing_rows(task: str, name: str, seed: int, why: str) -> list[ScoreRow]:
    """In place of the scores of a model that there is none of."""
    ways = dict.fromkeys(FORGET_METRICS) | {**DIRECTIONS, **OTHERS}
    return [ScoreRow(task, name, seed, metric, None, 0, higher, why) for metric, higher in ways.items()]


def _recalls(said: Sequence[str], asked: Sequence[Record]) -> Floats:
    return np.array([rouge_l_recall(text, r.completion) for text, r in zip(said, asked, strict=True)])
