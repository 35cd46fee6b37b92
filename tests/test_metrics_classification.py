import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ofmu import metrics
from ofmu.metrics import Score

UNIT = st.floats(0, 1, allow_nan=False)
PAIRS = st.lists(st.tuples(UNIT, UNIT), min_size=1, max_size=30)


def test_confidences_are_the_softmax_at_the_label():
    logits = [[0.0, math.log(3.0)], [math.log(4.0), 0.0]]
    assert metrics.confidences(logits, [1, 1]) == pytest.approx([0.75, 0.2])
    assert metrics.confidences([[1000.0, 0.0]], [0]) == pytest.approx([1.0])  # no overflow


def test_confidences_agree_with_torch():
    logits, labels = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 5
    expected = torch.softmax(logits, 1).gather(1, labels[:, None])[:, 0].numpy()
    assert metrics.confidences(logits, labels) == pytest.approx(expected, rel=1e-5)


def test_accuracies_by_hand():
    logits, labels = [[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [0.0, 5.0]], [0, 0, 0, 1]
    ua, ra = metrics.unlearning_accuracy(logits, labels), metrics.retain_accuracy(logits, labels)
    ta = metrics.test_accuracy([0, 1, 0, 1], labels)  # the same as predicted classes
    assert (ua.value, ra.value, ta.value) == (25.0, 75.0, 75.0)
    assert (ua.higher_is_better, ra.higher_is_better, ta.higher_is_better) == (None, True, True)
    assert ra.n == 4
    assert ra.spread == pytest.approx(100 * math.sqrt(0.75 * 0.25 / 3))


def test_average_gap_by_hand():
    ours = {"UA": Score(8.0, 40), "RA": Score(99.0, 400), "TA": Score(90.0, 400), "MIA": 12.0}
    retrain = {"UA": 6.0, "RA": 100.0, "TA": 91.0, "MIA": Score(20.0, 40)}
    gap = metrics.average_gap(ours, retrain)
    assert gap.value == pytest.approx((2 + 1 + 1 + 8) / 4)
    assert (gap.n, gap.unit, gap.higher_is_better) == (4, "points", False)
    assert metrics.average_gap(ours, ours).value == 0


def test_average_gap_of_a_missing_part_is_missing():
    ours = {"UA": 8.0, "RA": 99.0, "TA": 90.0, "MIA": 12.0}
    gap = metrics.average_gap(ours | {"MIA": Score(None, 0, missing="constant confidences")}, ours)
    assert gap.value is None
    assert gap.missing == "MIA of scores is missing: constant confidences"
    with pytest.raises(ValueError, match=r"retrain: found \['RA', 'TA', 'UA'\]"):
        metrics.average_gap(ours, {part: ours[part] for part in ("UA", "RA", "TA")})
    with pytest.raises(ValueError, match="RA: found 1 of 2"):
        metrics.average_gap(ours | {"RA": math.nan}, ours)


def test_distances_by_hand():
    assert metrics.wasserstein_confidence([0.9, 0.1], [0.2, 0.5]).value == pytest.approx(25.0)
    assert metrics.wasserstein_confidence([0.0, 1.0], [0.5]).value == pytest.approx(50.0)  # unequal n
    ps = metrics.per_sample_confidence_gap([0.9, 0.1], [0.2, 0.5])
    assert ps.value == pytest.approx(55.0)
    assert ps.spread == pytest.approx(15.0)  # of 70 and 40: s = 30 / √2, s / √2
    assert (ps.n, ps.unit, ps.higher_is_better) == (2, "points", False)


def test_w1_cannot_see_swapped_samples_but_ps_does():
    assert metrics.wasserstein_confidence([0.1, 0.9], [0.9, 0.1]).value == 0
    assert metrics.per_sample_confidence_gap([0.1, 0.9], [0.9, 0.1]).value == pytest.approx(80.0)


@given(PAIRS, st.randoms(use_true_random=False))
def test_w1_ignores_order_and_is_the_sorted_difference(pairs, random):
    ours, theirs = map(list, zip(*pairs))
    w1 = metrics.wasserstein_confidence(ours, theirs).value
    assert w1 == pytest.approx(100 * np.abs(np.sort(ours) - np.sort(theirs)).mean(), abs=1e-9)
    shuffled = list(ours)
    random.shuffle(shuffled)
    assert metrics.wasserstein_confidence(shuffled, theirs).value == pytest.approx(w1, abs=1e-9)
    assert metrics.wasserstein_confidence(shuffled, ours).value == pytest.approx(0, abs=1e-9)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_w1_is_zero_only_for_the_same_multiset(ours, theirs):
    theirs = (theirs * len(ours))[: len(ours)]
    w1 = metrics.wasserstein_confidence(np.array(ours) / 4, np.array(theirs) / 4).value
    assert (w1 < 1e-9) == (sorted(ours) == sorted(theirs))


@given(PAIRS)
def test_ps_is_at_least_w1(pairs):
    ours, theirs = zip(*pairs)
    w1, ps = metrics.wasserstein_confidence(ours, theirs), metrics.per_sample_confidence_gap(ours, theirs)
    assert ps.value >= w1.value - 1e-9
    assert ps.value == pytest.approx(metrics.per_sample_confidence_gap(theirs, ours).value)


def test_rounding_of_float32_is_no_error():
    assert metrics.wasserstein_confidence([1.0000001], [1.0]).value == 0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: metrics.confidences([[math.nan, 0.0]], [0]), "logits: found 1 of 2 values that are nan"),
        (lambda: metrics.confidences([[0.0, 1.0]], [2]), "labels: found class 2"),
        (lambda: metrics.confidences([[0.0, 1.0]], [-100]), "labels: found class -100"),
        (lambda: metrics.confidences([[0.0, 1.0]], [0, 1]), "logits and labels: found 1 and 2 rows"),
        (lambda: metrics.confidences([0.0, 1.0], [0, 1]), "logits: found shape"),
        (lambda: metrics.confidences([[0.0, 1.0]], [0.5]), "labels: found float64"),
        (lambda: metrics.retain_accuracy([0, 1], [0]), "outputs and labels: found 2 and 1 rows"),
        (lambda: metrics.retain_accuracy([], []), "labels: found"),
        (lambda: metrics.test_accuracy([0.2, 0.8], [0, 1]), "outputs: found float64"),
        (lambda: metrics.unlearning_accuracy([[math.inf, 0.0]], [0]), "outputs: found 1 of 2"),
        (lambda: metrics.wasserstein_confidence([], [0.5]), "forget: found shape"),
        (lambda: metrics.wasserstein_confidence([0.5], [2.3]), "retrain: found values from 2.3"),
        (lambda: metrics.per_sample_confidence_gap([0.5], [0.5, 0.5]), "forget and retrain: found 1 and 2"),
        (lambda: metrics.per_sample_confidence_gap([0.5], [math.nan]), "retrain: found 1 of 1"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
