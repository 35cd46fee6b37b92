"""Which rows of a data set are to be forgotten: small functions of labels, scores or features, and a seed.

Every function returns sorted row numbers. Ties are broken by the row number, so that equal input gives equal rows
on every machine.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state

from ofmu.errors import UserError

Seed = int | np.random.RandomState


def random_rows(labels: ArrayLike, share: float, seed: Seed) -> list[int]:
    """round(share · n) rows drawn without replacement; 0 < share < 1."""
    n = len(np.asarray(labels))
    picked = check_random_state(seed).choice(n, count_of(share, n, "random"), replace=False)
    return sorted(picked.tolist())


def class_rows(labels: ArrayLike, classes: Collection[int]) -> list[int]:
    """All rows with one of these labels. Sub-classes: give the finer labels.

    UserError for a label nobody has, and where nothing is left to be kept.
    """
    known = np.asarray(labels)
    absent = sorted(set(classes) - set(known.tolist()))
    if absent:
        raise UserError(f"forget: no training sample has label {absent}; labels are {known.min()} … {known.max()}")
    gone = np.isin(known, list(classes))
    if gone.all():
        raise UserError(f"forget: found {sorted(classes)}, all labels there are; expected some that are kept")
    return np.flatnonzero(gone).tolist()


def ranked_rows(scores: ArrayLike, amount: float, *, hardest: bool) -> list[int]:
    """The rows with the highest (hardest) or lowest scores: `amount` of them, or that share where it is below 1.

    scores [n]: memorisation, P(correct | trained on it) − P(correct | not) (Feldman & Zhang 2020, eq. 1): what is
    memorised is hard to unlearn.
    """
    values = np.asarray(scores, dtype=float)
    k = count_of(amount, len(values), "hardest or easiest")
    order = np.argsort(-values if hardest else values, kind="stable")
    return sorted(order[:k].tolist())


def decile_rows(scores: ArrayLike, decile: int, parts: int = 10) -> list[int]:
    """The rows of one of `parts` equal parts by rising score: decile 0 is the least memorised tenth."""
    if not 0 <= decile < parts:
        raise UserError(f"decile: found {decile}, expected 0 to {parts - 1}")
    order = np.argsort(np.asarray(scores, dtype=float), kind="stable")
    return sorted(np.array_split(order, parts)[decile].tolist())


def near_duplicate_rows(features: ArrayLike, amount: float) -> list[int]:
    """Rows whose nearest other sample is closest, that one being kept: what is forgotten stays, in a twin.

    features [n, d]. Pairs are taken from the closest on; a row whose twin is forgotten already, or that is
    somebody's twin, is passed over. Raises UserError where fewer than `amount` such pairs are there.
    """
    values = np.asarray(features, dtype=np.float32)
    k = count_of(amount, len(values), "near-duplicates")
    distance, nearest = _neighbours(values, 1)
    chosen: set[int] = set()
    kept: set[int] = set()
    for row in np.argsort(distance[:, 0], kind="stable").tolist():
        twin = int(nearest[row, 0])
        if len(chosen) < k and row not in kept and twin not in chosen:
            chosen.add(row)
            kept.add(twin)
    if len(chosen) < k:
        raise UserError(f"near-duplicates: found {len(chosen)} pairs, expected {k}; ask for fewer")
    return sorted(chosen)


def mislabelled_rows(
    labels: ArrayLike, share: float, classes: int, seed: Seed
) -> tuple[list[int], NDArray[np.int64]]:
    """(rows, all labels): round(share · n) random rows get another class, uniform among the wrong ones.

    Forgetting them corrects the model: the wrong labels' influence is to go (Goel et al. 2024, "Corrective machine
    unlearning").
    """
    rng = check_random_state(seed)
    changed = np.array(labels, dtype=np.int64)
    rows = random_rows(changed, share, rng)
    changed[rows] = (changed[rows] + rng.randint(1, classes, len(rows))) % classes
    return rows, changed


def entangled_rows(features: ArrayLike, level: float, seed: Seed, share: float = 0.1) -> list[int]:
    """round(share · n) rows at a level of similarity to the rest: from a region of their own (0) to anywhere (1).

    features [n, d]. A share 1 − level of the rows are the samples nearest to a random one (which is among them),
    the others are drawn from all that remain. At 0 the retain set has no sample in that region; at 1 every
    forgotten sample lies in the midst of kept ones, as in random forgetting. `entanglement` rises with the level.
    """
    if not 0 <= level <= 1:
        raise UserError(f"entangled: found {level:g}, expected a level from 0 (least similar) to 1 (most)")
    values = np.asarray(features, dtype=np.float64)
    n, rng = len(values), check_random_state(seed)
    k = count_of(share, n, "entangled")
    distance = np.square(values - values[rng.randint(n)]).sum(axis=1)
    region = np.argsort(distance, kind="stable")[: round((1 - level) * k)]
    others = np.setdiff1d(np.arange(n), region)
    scattered = rng.choice(others, k - len(region), replace=False)
    return sorted([*region.tolist(), *scattered.tolist()])


def entanglement(features: ArrayLike, rows: Collection[int]) -> float:
    """Entanglement of the forget set S (`rows`) and the retain set R (all others) in feature space: ≥ 0.

    (mean_R ‖φ − μ_R‖² + mean_S ‖φ − μ_S‖²) / (½ (‖μ_R − μ‖² + ‖μ_S − μ‖²)): the spread inside the sets over the
    distance of their means; high where the two lie in one cloud. Source: Zhao et al., "What makes unlearning hard
    and what to do about it" (2024), after Goldblum et al. (2020). Raises ValueError for an empty set, and where
    all means coincide.
    """
    values = np.asarray(features, dtype=float)
    inside = np.zeros(len(values), dtype=bool)
    inside[list(rows)] = True
    if inside.all() or not inside.any():
        raise ValueError(
            f"rows: found {int(inside.sum())} of {len(values)}, expected some to forget and some to keep"
        )
    middle, within, apart = values.mean(axis=0), 0.0, 0.0
    for part in (values[~inside], values[inside]):
        centre = part.mean(axis=0)
        within += float(((part - centre) ** 2).sum(axis=1).mean())
        apart += float(((centre - middle) ** 2).sum())
    if apart == 0:
        raise ValueError("features: the means of both sets coincide, so their entanglement is unbounded")
    return within / (0.5 * apart)


def count_of(amount: float, n: int, what: str) -> int:
    """A number of rows: `amount` itself from 1 on, else that share of n; UserError unless some rows stay."""
    k = round(amount * n) if amount < 1 else round(amount)
    if amount <= 0 or (amount >= 1 and k != amount) or not 0 < k < n:
        raise UserError(f"{what}: found {amount:g}, expected a share below 1 or a count from 1 to {n - 1}")
    return k


def _neighbours(values: NDArray[np.float32], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distances and rows of the k nearest *other* samples, [n, k] each; an exact copy counts as another."""
    distance, nearest = NearestNeighbors(n_neighbors=k + 1).fit(values).kneighbors(values)
    own = nearest == np.arange(len(values))[:, None]
    own[~own.any(axis=1), -1] = True  # among many copies the sample itself may not be listed: drop the last
    keep = ~own
    return distance[keep].reshape(len(values), k), nearest[keep].reshape(len(values), k)
