"""Intervals of areas and of PrivLeak: those of the bootstrap helpers and of the error that is known."""

import numpy as np
import pytest

from ofmu.attacks import auc_with_error
from ofmu.benchmarks.auc import auc_score, privleak_score
from ofmu.metrics import bootstrap_groups, privleak

DRAW = np.random.default_rng(3)
MEMBERS, OTHERS = DRAW.normal(0.6, 1, 60).round(1), DRAW.normal(0, 1, 90).round(1)  # rounded: some are equal
THEIRS = DRAW.normal(0.1, 1, 60).round(1), DRAW.normal(0, 1, 90).round(1)


def test_the_interval_is_that_of_redrawn_scores():
    found = auc_score(MEMBERS, OTHERS)
    auc, error = auc_with_error(MEMBERS, OTHERS)
    expected = bootstrap_groups([MEMBERS, OTHERS], lambda drawn: auc_with_error(*drawn)[0], 0)
    assert (found.value, found.n) == (auc, 60)
    assert found.interval == pytest.approx(expected, abs=1e-12)
    assert found.interval[1] - found.interval[0] == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert auc_score([1.0], OTHERS).interval is None


def test_privleak_redraws_a_text_with_its_scores_by_both_models():
    found = privleak_score((MEMBERS, OTHERS), THEIRS)

    def of(drawn):
        return privleak(*(auc_with_error(drawn[0][:, i], drawn[1][:, i])[0] for i in range(2)))

    groups = [np.column_stack(pair) for pair in zip((MEMBERS, OTHERS), THEIRS)]
    assert found.value == pytest.approx(of(groups))
    assert found.interval == pytest.approx(bootstrap_groups(groups, of, 0), abs=1e-9)
    low, high = found.interval
    assert low < found.value < high
    same = privleak_score(THEIRS, THEIRS)  # a model beside itself: no draw tells the two apart
    assert (same.value, same.interval) == (0, (0, 0))


def test_an_interval_that_holds_undefined_draws_is_none():
    almost = np.array([5.0, 6.0, 0.5]), np.array([1.0, 2.0, 3.0])
    assert privleak_score(almost, almost).interval is None
    with pytest.raises(ValueError, match="expected less"):
        privleak_score(almost, (almost[0] + 9, almost[1]))
