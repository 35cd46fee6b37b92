"""What a model still says of forgotten facts when it is asked in other ways, and what that costs the kept ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch.nn import Module

from ..data.encode import Encoder
from ..data.records import Record
from ..metrics import (
    Score,
    answer_probability,
    bootstrap,
    bootstrap_groups,
    forget_quality,
    mean_score,
    rouge_l_recall,
)
from ..metrics._checks import Floats
from ..report.model import ScoreRow
from .answering import answer
from .rows import score_row
from .text_scores import TextView, text_parts, text_rows, view_text

OVERALL = "all probes"


@dataclass(frozen=True)
class Probes:
    """By kind of probe, questions about forgotten and about kept facts (`ofmu.data.probes`)."""

    forget: Mapping[str, Sequence[Record]]
    retain: Mapping[str, Sequence[Record]]

    def __post_init__(self) -> None:
        if list(self.forget) != list(self.retain):
            raise ValueError(
                f"forget, retain: found {list(self.forget)} and {list(self.retain)}, expected one list"
            )


@dataclass(frozen=True)
class ProbeView:
    """A model seen through one kind of probe. rouge: [n], ROUGE-L recall of its answers about forgotten facts."""

    text: TextView
    rouge: Floats | None = None


def view_probes(model: Module, encoder: Encoder, probes: Probes, rouge: bool = False) -> dict[str, ProbeView]:
    """The losses of every kind of probe; with `rouge` also greedy answers, which take much longer."""
    views = {}
    for kind, asked in probes.forget.items():
        text = view_text(model, text_parts(asked, probes.retain[kind], None, encoder))
        said = answer(model, encoder, asked, batch=8) if rouge else []
        recalls = [rouge_l_recall(each, record.completion) for each, record in zip(said, asked)]
        views[kind] = ProbeView(text, np.array(recalls) if rouge else None)
    return views


def probe_rows(
    method: str,
    seed: int,
    views: Mapping[str, ProbeView],
    retrain: Mapping[str, ProbeView] | None = None,
    original: Mapping[str, ProbeView] | None = None,
) -> list[ScoreRow]:
    """Per kind of probe the scores of `text_rows`, ROUGE and the loss of utility; then over all kinds.

    utility_loss: 100 · mean (P of the original − P) on kept facts, in points, paired by question, needs the
    original; overall its mean over kinds, its interval from questions redrawn within each. A ratio would be noise
    where the original cannot answer either. ks_p_variance: Σ (p_k − p̄)² / (K − 1) of the forget qualities p_k,
    needs Retrain; 0: as near to Retrain whichever way the model is asked.
    """
    rows: list[ScoreRow] = []
    for kind, view in views.items():
        task = f"probe: {kind}"
        rows += text_rows(task, method, seed, view.text, None if retrain is None else retrain[kind].text)
        if view.rouge is not None:
            rows.append(score_row(task, method, seed, "forget_rouge_l", mean_score(view.rouge, "", None)))
        if original is not None:
            rows.append(score_row(task, method, seed, "utility_loss", _utility_loss(view, original[kind])))
    if original is not None:
        overall = _overall([_lost(view, original[kind]) for kind, view in views.items()])
        rows.append(score_row(OVERALL, method, seed, "utility_loss", overall))
    if retrain is not None and retrain is not views:
        rows.append(score_row(OVERALL, method, seed, "ks_p_variance", quality_variance(views, retrain)))
    return rows


def quality_variance(views: Mapping[str, ProbeView], retrain: Mapping[str, ProbeView]) -> Score:
    """The variance over kinds of probe of the forget quality (KS p of the truth ratios); missing for one kind.

    The interval is of redrawn kinds: redrawn questions give no p-value, as redrawing makes two equal samples look
    different. It has no direction by itself: a model that is far from Retrain however one asks has a variance of 0
    too.
    """
    pairs = [(view.text.ratio, retrain[kind].text.ratio) for kind, view in views.items()]
    found = [forget_quality(ours, gold).p for ours, gold in pairs if ours is not None and gold is not None]
    if len(found) < 2:
        return Score(None, 0, missing=f"{len(found)} kinds of probe have a forget quality")
    interval = bootstrap(found, lambda drawn: float(np.var(drawn, ddof=1)), 0)
    return Score(float(np.var(found, ddof=1)), len(found), interval=interval)


def _utility_loss(view: ProbeView, original: ProbeView) -> Score:
    return mean_score(_lost(view, original), "points", False)


def _lost(view: ProbeView, original: ProbeView) -> Floats:
    """[n]: points of probability that each kept answer lost."""
    now, before = (answer_probability(each.text.losses["retain"]) for each in (view, original))
    lost: Floats = 100 * (before - now)
    return lost


def _overall(lost: Sequence[Floats]) -> Score:
    """The mean over kinds of the mean of each, n the number of kinds."""

    def of(drawn: Sequence[Floats]) -> float:
        return float(np.mean([each.mean() for each in drawn]))

    return Score(
        of(lost), len(lost), higher_is_better=False, unit="points", interval=bootstrap_groups(lost, of, 0)
    )
