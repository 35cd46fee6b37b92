import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ofmu.attacks import auc_with_error, threshold_attack, tpr_at_fpr

SCORES = st.lists(st.integers(0, 9), min_size=1, max_size=12)


def test_auc_by_hand():
    # pairs (forget < heldout): .1 < .2, .1 < .4, .3 < .4 of four
    attack = threshold_attack([0.1, 0.3], [0.2, 0.4])
    assert (attack.auc, attack.advantage, attack.direction) == (0.75, 0.25, "remembered")
    assert (attack.n_forget, attack.n_heldout) == (2, 2)
    # placements 1 and ½ on one side, ½ and 1 on the other: variance 1/8 each, √(1/16 + 1/16)
    assert attack.spread == pytest.approx(math.sqrt(1 / 8))
    assert threshold_attack([5.0, 6.0], [1.0, 2.0]).direction == "over-forgotten"
    assert threshold_attack([1.0, 4.0], [2.0, 3.0]).direction == "none"
    assert threshold_attack([1.0], [2.0, 3.0]).spread is None


@given(SCORES, SCORES)
def test_auc_is_symmetric_and_agrees_with_scikit_learn(ours, theirs):
    auc, error = auc_with_error(ours, theirs)
    truth = np.r_[np.ones(len(ours)), np.zeros(len(theirs))]
    assert auc == pytest.approx(roc_auc_score(truth, ours + theirs))
    assert auc_with_error(theirs, ours)[0] == pytest.approx(1 - auc)
    assert auc_with_error(theirs, ours)[1] == (None if error is None else pytest.approx(error))
    assert auc_with_error(np.exp(ours), np.exp(theirs))[0] == pytest.approx(auc)  # only the order counts
    assume(len({*ours, *theirs}) > 1)
    assert threshold_attack(ours, theirs).advantage == pytest.approx(abs(auc - 0.5))


def test_standard_error_is_the_spread_over_repetitions():
    rng = np.random.default_rng(0)
    draws = [auc_with_error(rng.normal(0.5, 1, 60), rng.normal(0, 1, 90)) for _ in range(600)]
    assert np.mean([error for _, error in draws]) == pytest.approx(np.std([auc for auc, _ in draws]), rel=0.1)


def test_tpr_by_hand():
    result = tpr_at_fpr([99.0, 98.5, 98.0, 0.0], np.arange(100.0))  # one false positive allowed: exceed 98
    assert (result.tpr, result.observed_fpr) == (0.5, 0.01)
    assert result.low == pytest.approx(0.0676, abs=1e-4)  # published Clopper–Pearson limits of 2 of 4
    assert result.high == pytest.approx(0.9324, abs=1e-4)
    none_found = tpr_at_fpr(np.zeros(50), np.arange(100.0))
    assert (none_found.tpr, none_found.low) == (0.0, 0.0)
    assert none_found.high == pytest.approx(1 - 0.025 ** (1 / 50))


def test_too_few_nonmembers_are_said_to_be_too_few():
    result = tpr_at_fpr(np.arange(500.0), np.arange(99.0))
    assert (result.tpr, result.low, result.high, result.observed_fpr) == (None, None, None, None)
    assert result.missing == "not resolvable: 99 non-members, at least 100 are needed"
    assert tpr_at_fpr(np.arange(500.0), np.arange(99.0), fpr=0.1).tpr is not None


def test_rounding_does_not_cost_a_false_positive():
    assert math.floor(0.29 * 3000) == 869  # the trap
    assert tpr_at_fpr([1.0], np.arange(3000.0), fpr=0.29).observed_fpr == pytest.approx(870 / 3000)


@given(st.lists(st.integers(0, 30), min_size=100, max_size=130))
def test_ties_never_raise_the_false_positive_rate(scores):
    result = tpr_at_fpr([15, 31], scores)
    assert result.observed_fpr <= 0.01
    assert result.tpr >= 0.5  # 31 exceeds every non-member
    assert result.low <= result.tpr <= result.high


def test_positive_and_negative_controls():
    rng = np.random.default_rng(0)
    unseen, seen = rng.exponential(2.0, size=1000), rng.exponential(2.0, size=400) * 0.001
    attack = threshold_attack(seen, unseen)
    assert attack.auc > 0.99
    assert attack.low_loss.tpr > 0.9
    assert attack.high_loss.tpr == 0
    over = threshold_attack(unseen[:400] + 20, unseen[400:])
    assert (over.auc, over.direction, over.high_loss.tpr, over.low_loss.tpr) == (
        0.0,
        "over-forgotten",
        1.0,
        0.0,
    )
    blind = threshold_attack(rng.exponential(2.0, size=400), unseen)
    assert blind.advantage < 3 * blind.spread
    assert blind.low_loss.low < 0.01 < blind.low_loss.high


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: threshold_attack([], [1.0]), "forget_loss: found shape"),
        (lambda: threshold_attack([1.0], [math.nan]), "heldout_loss: found 1 of 1"),
        (lambda: threshold_attack([[1.0]], [1.0]), "forget_loss: found shape"),
        (lambda: threshold_attack([1.0, 1.0], [1.0]), "found the one value 1 in all 3 samples"),
        (lambda: threshold_attack([1.0], [2.0], fpr=1.0), "fpr: found 1.0"),
        (lambda: auc_with_error([1.0], []), "nonmembers: found shape"),
        (lambda: tpr_at_fpr([math.inf], [1.0]), "members: found 1 of 1"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
