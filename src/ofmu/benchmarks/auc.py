"""The area under an attack's curve with its interval: forget and held-out samples are redrawn apart."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import ArrayLike

from ..attacks import auc_with_error
from ..metrics import Score, bootstrap_groups, privleak
from ..metrics._checks import Floats


def auc_score(members: ArrayLike, others: ArrayLike) -> Score:
    """AUC of scores [n] of members against [m] of others, higher "member", with its 95 % bootstrap interval.

    No interval for one sample on a side. n counts the members. Raises ValueError for nan or empty input.
    """
    auc, _ = auc_with_error(members, others)
    codes = [each[:, None] for each in _codes(np.asarray(members), np.asarray(others))]
    interval = None
    if min(map(len, codes)) > 1:
        interval = bootstrap_groups(codes, lambda drawn: _areas(drawn)[0], 0)
    return Score(auc, len(codes[0]), interval=interval)


def privleak_score(ours: Sequence[Floats], retrained: Sequence[Floats]) -> Score:
    """PrivLeak in %, with its 95 % bootstrap interval: a text is redrawn with its scores by both models.

    ours, retrained: (scores [n] of D_f, scores [m] of held-out text), the same texts, higher "member". No interval
    where Retrain's AUC is 1 on a draw, as PrivLeak is undefined there. Raises ValueError as `privleak` does.
    """
    value = privleak(*(auc_with_error(*scores)[0] for scores in (ours, retrained)))
    columns = [_codes(*scores) for scores in (ours, retrained)]
    groups = [np.column_stack(pair) for pair in zip(*columns, strict=True)]
    interval = None
    if min(map(len, groups)) > 1:
        with suppress(ValueError):
            interval = bootstrap_groups(groups, lambda drawn: privleak(*_areas(drawn)), 0)
    return Score(value, len(groups[0]), unit="%", interval=interval)


def _codes(members: Floats, others: Floats) -> tuple[Floats, Floats]:
    """The scores as places among all of both: a redrawn area is then a count, with no sorting."""
    places = np.unique(np.concatenate([members, others]), return_inverse=True)[1].astype(np.float64)
    return places[: len(members)], places[len(members) :]


def _areas(drawn: Sequence[Floats]) -> list[float]:
    """The area of every column of codes, [n, k] of members and [m, k] of others."""
    found = []
    for ours, theirs in zip(drawn[0].T.astype(np.intp), drawn[1].T.astype(np.intp), strict=True):
        places = 1 + max(int(ours.max()), int(theirs.max()))
        above, below = (np.bincount(codes, minlength=places) for codes in (ours, theirs))
        wins = float(above @ (np.cumsum(below) - below / 2))  # ties count half
        found.append(wins / (len(ours) * len(theirs)))
    return found
