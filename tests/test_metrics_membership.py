"""Membership scores and PrivLeak: by hand, and against plain re-statements of their papers' formulas."""

import math
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ofmu import metrics
from ofmu.attacks import auc_with_error

LOG_P = st.lists(st.floats(-20, 0), min_size=1, max_size=30)


def test_min_k_by_hand():
    log_p = [-1.0, -8.0, -2.0, -4.0, -0.5]
    assert metrics.min_k(log_p, 0.4) == -6.0  # the two lowest of five
    assert metrics.min_k(log_p, 0.2) == -8.0
    assert metrics.min_k(log_p, 0.01) == -8.0  # at least one
    assert metrics.min_k(log_p, 0.59) == -6.0  # rounded down
    assert metrics.min_k(log_p, 1.0) == pytest.approx(np.mean(log_p))
    assert metrics.min_k([-float(i) for i in range(100)], 0.29) == pytest.approx(-85.0)  # 29 of them, not 28


@settings(deadline=None)
@given(LOG_P, st.floats(0.05, 1))
def test_min_k_never_exceeds_the_mean(log_p, k):
    assert metrics.min_k(log_p, k) <= np.mean(log_p) + 1e-9
    assert metrics.min_k(log_p, k) >= min(log_p) - 1e-9


def test_min_k_plus_plus_by_hand():
    # p = (1/2, 1/4, 1/4): μ = −(1/2 + 1/2 + 1/2) ln 2 = −1.5 ln 2, variance = .5·.25 + .5·.25 = .25 (ln 2)²
    logits = np.log([[0.5, 0.25, 0.25]])
    assert metrics.min_k_plus_plus(logits, [0], 1.0) == pytest.approx(1.0)  # (−1 + 1.5)/.5
    assert metrics.min_k_plus_plus(logits, [1], 1.0) == pytest.approx(-1.0)
    two = np.log([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    assert metrics.min_k_plus_plus(two, [0, 2], 0.5) == pytest.approx(-1.0)  # the lower half
    assert metrics.min_k_plus_plus(two, [0, 2], 1.0) == pytest.approx(0.0, abs=1e-12)
    batch = metrics.min_k_plus_plus(np.stack([two, two]), [[0, -100], [1, 2]], 1.0)
    assert batch == pytest.approx([1.0, -1.0])


def test_min_k_plus_plus_against_the_written_formula():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (9, 6)), rng.integers(0, 6, 9)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    z = []
    for t in range(9):
        mean = sum(q * math.log(q) for q in p[t])
        square = sum(q * math.log(q) ** 2 for q in p[t])
        z.append((math.log(p[t, labels[t]]) - mean) / math.sqrt(square - mean**2))
    lowest = sorted(z)[:3]  # 40 % of 9, rounded down
    assert metrics.min_k_plus_plus(logits, labels, 0.4) == pytest.approx(sum(lowest) / 3)


def test_min_k_plus_plus_where_the_deviation_vanishes():
    assert metrics.min_k_plus_plus(np.zeros((1, 4)), [2], 1.0) == pytest.approx(0.0, abs=1e-9)  # uniform
    certain = metrics.min_k_plus_plus([[200.0, 0.0]], [0], 1.0)
    assert certain == pytest.approx(0.0, abs=1e-9)
    assert metrics.min_k_plus_plus([[200.0, 0.0]], [1], 1.0) == pytest.approx(-200 / 1e-3)  # the floor


def test_zlib_and_reference_by_hand():
    text = "the same words, the same words, the same words"
    size = len(zlib.compress(text.encode()))
    assert metrics.zlib_ratio(3.0, text) == pytest.approx(3.0 / size)
    assert metrics.zlib_ratio([3.0, 1.0], [text, "é"]) == pytest.approx(
        [3.0 / size, 1.0 / len(zlib.compress(b"\xc3\xa9"))]
    )
    assert metrics.reference_score([1.0, 2.0], [3.0, 0.5]).tolist() == [-2.0, 1.5]


@pytest.mark.parametrize(("p", "norm"), [(1.0, 9.0), (2.0, 5.0), (float("inf"), 4.0)])
def test_gradient_norm_by_hand(p, norm):
    gradient = [torch.tensor([[2.0, 0.0], [-2.0, 1.0]]), torch.tensor(4.0)]
    assert metrics.gradient_norm(gradient, p) == pytest.approx(norm)


def test_privleak_by_hand():
    assert metrics.privleak(0.6, 0.6) == 0.0
    assert metrics.privleak(1.0, 0.5) == -100.0  # still found for sure
    assert metrics.privleak(0.2, 0.6) == pytest.approx(100.0)  # over-forgotten: (.8 − .4)/.4
    # from scores to PrivLeak: 3 of 4 pairs are in order, Retrain tells nothing
    auc, _ = auc_with_error([2.0, 4.0], [1.0, 3.0])
    assert metrics.privleak(auc, 0.5) == pytest.approx(-50.0)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.min_k([-1.0], 0.0), "k: found 0.0"),
        (lambda: metrics.min_k([-1.0], 20), "k: found 20"),
        (lambda: metrics.min_k([], 0.2), "logprobs: found shape"),
        (lambda: metrics.min_k([0.5], 0.2), "logprobs: found values"),
        (lambda: metrics.min_k([math.nan], 0.2), "logprobs: found 1 of 1"),
        (lambda: metrics.min_k_plus_plus([[1.0, 2.0]], [-100], 0.2), "sample 0 has none"),
        (lambda: metrics.zlib_ratio([1.0], ["a", "b"]), "found 2 texts"),
        (lambda: metrics.zlib_ratio(1.0, ""), "1 empty"),
        (lambda: metrics.reference_score([1.0], [1.0, 2.0]), "found 1 and 2 rows"),
        (lambda: metrics.gradient_norm([], 2.0), "found 0 tensors"),
        (lambda: metrics.gradient_norm([torch.ones(2)], 3.0), "and 3.0"),
        (lambda: metrics.gradient_norm([torch.tensor([math.inf])]), "gradient: found 1 of 1"),
        (lambda: metrics.privleak(0.5, 1.0), "auc_retrained: found 1"),
        (lambda: metrics.privleak(1.2, 0.5), "auc_unlearned: found values"),
    ],
)
def test_wrong_arguments(call, match):
    with pytest.raises(ValueError, match=match):
        call()
