"""Before and after, where there is no retrained model to compare with."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from ofmu.metrics._checks import Floats, same_length, vector
from ofmu.metrics.score import STANDARD_ERROR, Score, bootstrap_groups, mean_and_spread, mean_score

UNIT = "nats"


def reference_free(
    forget_before: ArrayLike,
    forget_after: ArrayLike,
    heldout_before: ArrayLike,
    heldout_after: ArrayLike,
    retain_before: ArrayLike,
    retain_after: ArrayLike,
) -> dict[str, Score]:
    """What can be said without Retrain, from per-sample losses [n] of three sets before and after unlearning.

    - "forget_over_unseen": mean forget loss − mean held-out loss, both after: how far D_f is from the level
      of data the model never saw. 0 is best; negative: still remembered; positive: over-forgotten, so it
      stands out. "forget_over_unseen_before" is the same for the original model. n counts the forget samples.
    - "forget_change", "retain_change", "heldout_change": mean of after − before, paired by sample. Lower is
      better for retain and held-out data; forgetting should only go as far as the unseen level.

    Losses ≥ 0 in nats (text: per token). Differences of two sets have the standard error √(se² + se²), and a 95 %
    bootstrap interval for which each set is redrawn by itself. A mean can match while samples do not: add a
    membership attack of forget against held-out losses. Raises ValueError, naming the argument, for nan, empty or
    negative losses and for pairs of different lengths.
    """
    pairs = {
        "forget": _pair("forget", forget_before, forget_after),
        "heldout": _pair("heldout", heldout_before, heldout_after),
        "retain": _pair("retain", retain_before, retain_after),
    }
    (forget_0, forget_1), (heldout_0, heldout_1) = pairs["forget"], pairs["heldout"]
    scores = {
        "forget_over_unseen": _difference(forget_1, heldout_1),
        "forget_over_unseen_before": _difference(forget_0, heldout_0),
    }
    for name, (before, after) in pairs.items():
        scores[f"{name}_change"] = mean_score(after - before, UNIT, None if name == "forget" else False)
    return scores


def _pair(name: str, before: ArrayLike, after: ArrayLike) -> tuple[Floats, Floats]:
    first, second = vector(f"{name}_before", before, 0), vector(f"{name}_after", after, 0)
    same_length(f"{name}_before", first, f"{name}_after", second)
    return first, second


def _difference(forget: Floats, heldout: Floats) -> Score:
    """Mean forget loss − mean held-out loss, two independent sets."""
    (mean_f, error_f), (mean_h, error_h) = mean_and_spread(forget), mean_and_spread(heldout)
    error = None if error_f is None or error_h is None else math.hypot(error_f, error_h)
    kind, interval = None if error is None else STANDARD_ERROR, None
    if error is not None:
        interval = bootstrap_groups([forget, heldout], lambda drawn: drawn[0].mean() - drawn[1].mean(), 0)
    return Score(mean_f - mean_h, len(forget), error, kind, None, UNIT, interval=interval)
