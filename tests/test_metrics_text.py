import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hmean

from ofmu import metrics
from ofmu.metrics import UTILITY_PARTS, truth_ratio

LOSS = st.floats(0, 20)
QUESTIONS = st.lists(st.tuples(LOSS, st.tuples(LOSS, LOSS, LOSS)), min_size=1, max_size=20)
FORMS = ("geometric", "arithmetic", "tofu", "utility", "closeness", "share", "arithmetic share")
EQUAL = {"utility": 0.0, "share": 0.5, "arithmetic share": 0.5}  # what equal losses give; else 1


def test_probabilities_by_hand():
    assert metrics.answer_probability([0.0, math.log(4)]) == pytest.approx([1.0, 0.25])
    # 1/2 against 1/4 and 1/4
    normalised = metrics.normalised_probability([math.log(2)], [[math.log(4), math.log(4)]])
    assert normalised == pytest.approx([0.5])


def test_truth_ratio_by_hand():
    # P(correct) = 1/2; wrong answers 1/4 and 1/16: geometric mean 1/8, arithmetic mean 5/32
    correct, wrong = [math.log(2)], [[math.log(4), math.log(16)]]
    expected = {"geometric": 1 / 4, "arithmetic": 5 / 16, "tofu": 4.0, "utility": 3 / 4, "closeness": 1 / 4}
    expected |= {"share": (1 / 2) / (1 / 2 + 1 / 8), "arithmetic share": (1 / 2) / (1 / 2 + 5 / 32)}
    assert {form: truth_ratio(correct, wrong, form)[0] for form in FORMS} == pytest.approx(expected)
    # the wrong answers are twice as likely: nothing left of utility, and as far from 1 as one half
    correct, wrong = [math.log(4)], [[math.log(2), math.log(2)]]
    expected = {"geometric": 2.0, "arithmetic": 2.0, "tofu": 0.5, "utility": 0.0, "closeness": 0.5}
    expected |= {"share": 1 / 3, "arithmetic share": 1 / 3}
    assert {form: truth_ratio(correct, wrong, form)[0] for form in FORMS} == pytest.approx(expected)
    assert truth_ratio(correct, wrong)[0] == pytest.approx(2.0)  # geometric is the default


def test_tensors_are_read_and_what_is_no_array_is_named():
    losses = torch.tensor([0.5, 0.25], dtype=torch.bfloat16, requires_grad=True)
    assert metrics.answer_probability(losses) == pytest.approx(np.exp([-0.5, -0.25]))
    with pytest.raises(ValueError, match="wrong_avg_loss: found a list"):
        truth_ratio([0.1, 0.2], [[0.1, 0.2], [0.3]])
    with pytest.raises(ValueError, match="correct_avg_loss: found a list"):
        truth_ratio(["many"], [[0.1]])
    assert not np.signbit(truth_ratio([1.0], [[0.5]], "utility"))[0]


@given(st.lists(LOSS, min_size=1, max_size=10))
def test_equal_losses_give_one(losses):
    wrong = np.repeat(np.array(losses)[:, None], 5, axis=1)
    for form in FORMS:
        assert truth_ratio(losses, wrong, form) == pytest.approx(EQUAL.get(form, 1.0), abs=1e-9)


@given(QUESTIONS)
def test_truth_ratio_forms_agree(questions):
    correct, wrong = zip(*questions)
    ratio = truth_ratio(correct, wrong)
    assert (truth_ratio(correct, wrong, "arithmetic") >= ratio * (1 - 1e-9)).all()
    assert truth_ratio(correct, wrong, "tofu") * ratio == pytest.approx(1.0)
    assert truth_ratio(correct, wrong, "utility") == pytest.approx(np.maximum(0, 1 - ratio), abs=1e-9)
    assert truth_ratio(correct, wrong, "closeness") == pytest.approx(np.minimum(ratio, 1 / ratio))
    assert truth_ratio(correct, wrong, "share") == pytest.approx(1 / (1 + ratio))
    assert truth_ratio(correct, wrong, "arithmetic share") == pytest.approx(
        1 / (1 + truth_ratio(correct, wrong, "arithmetic"))
    )
    assert metrics.forget_truth_ratio(correct, wrong).value == pytest.approx(np.minimum(ratio, 1 / ratio).mean())
    reordered = [row[::-1] for row in wrong]
    assert truth_ratio(correct, reordered) == pytest.approx(ratio)


@pytest.mark.parametrize("shift, p", [(7.5, 0.4046), (6.5, 0.5786)])
def test_forget_quality_pinned_at_forty_questions(shift, p):
    retrained = np.arange(1.0, 41.0)
    result = metrics.forget_quality(retrained + shift, retrained)
    assert result.p == pytest.approx(p, abs=1e-4)
    assert result.statistic == pytest.approx(math.ceil(shift) / 40)
    assert (result.n_unlearned, result.n_retrained) == (40, 40)


def test_forget_quality_controls():
    # two of two apart: 2 of the C(4, 2) = 6 orders are as extreme
    assert metrics.forget_quality([1.0, 2.0], [3.0, 4.0]).p == pytest.approx(1 / 3)
    assert metrics.forget_quality([1.0, 2.0], [2.0, 1.0]).p == 1
    assert metrics.forget_quality([1.0] * 5, [1.0] * 4 + [2.0]).p == pytest.approx(1)  # and no warning
    assert metrics.forget_quality(np.arange(40.0), np.arange(40.0) + 100).p < 1e-20


@given(
    st.lists(st.integers(1, 12), min_size=2, max_size=12),
    st.lists(st.integers(1, 12), min_size=2, max_size=12),
)
def test_forget_quality_is_the_same_for_the_reciprocal(ours, theirs):
    ours, theirs = 2.0 ** np.array(ours), 2.0 ** np.array(theirs)
    assert metrics.forget_quality(1 / ours, 1 / theirs).p == pytest.approx(metrics.forget_quality(ours, theirs).p)


def test_model_utility_is_the_harmonic_mean_of_nine():
    parts = dict.fromkeys(UTILITY_PARTS, 0.5)
    assert len(parts) == 9
    assert metrics.model_utility(parts).value == pytest.approx(0.5)
    parts["retain_rouge"] = 0.1
    assert metrics.model_utility(parts).value == pytest.approx(9 / (8 * 2 + 10))
    spread = {name: 0.1 * (i + 1) for i, name in enumerate(UTILITY_PARTS)}
    assert metrics.model_utility(spread).value == pytest.approx(hmean(list(spread.values())))
    assert metrics.model_utility(parts | {"retain_rouge": 0.0}).value == 0.0
    assert metrics.model_utility(parts).higher_is_better is True


def test_model_utility_refuses():
    parts = dict.fromkeys(UTILITY_PARTS, 0.5)
    with pytest.raises(ValueError, match="retain_rouge"):
        metrics.model_utility({name: value for name, value in parts.items() if name != "retain_rouge"})
    with pytest.raises(ValueError, match=r"\['forget_rouge'\] unknown"):
        metrics.model_utility(parts | {"forget_rouge": 0.5})
    with pytest.raises(ValueError, match=r"parts\['retain_rouge'\]: found values from 1.5"):
        metrics.model_utility(parts | {"retain_rouge": 1.5})
    with pytest.raises(ValueError, match=r"parts\['retain_rouge'\]: found 1 of 1"):
        metrics.model_utility(parts | {"retain_rouge": math.nan})


def test_rouge_l_recall_by_hand():
    pytest.importorskip("rouge_score")
    assert metrics.rouge_l_recall("the cat on the mat", "The cat sat on the mat.") == pytest.approx(5 / 6)
    assert metrics.rouge_l_recall("mat the cat", "the cat mat") == pytest.approx(2 / 3)  # order counts
    assert metrics.rouge_l_recall("she is running", "she is runs") == 1.0  # stemmed
    assert metrics.rouge_l_recall("a longer text that holds two words", "two words") == 1.0  # recall
    assert metrics.rouge_l_recall("", "two words") == 0.0
    with pytest.raises(ValueError, match="reference: found"):
        metrics.rouge_l_recall("anything", " . ")


def test_per_sample_nll_error_by_hand():
    error = metrics.per_sample_nll_error([1.0, 4.0], [2.0, 1.0])
    assert (error.value, error.n, error.unit, error.higher_is_better) == (2.0, 2, "nats/token", False)
    assert error.spread == pytest.approx(1.0)


def test_unseen_damage_by_hand():
    damage = metrics.unseen_damage([0.04, 0.05], [0.08, 0.10])
    assert damage.value == pytest.approx(50.0)
    assert damage.spread == pytest.approx(0.0, abs=1e-9)  # every text lost the same share
    assert metrics.unseen_damage([0.2], [0.1]).value == pytest.approx(-100.0)
    assert metrics.unseen_damage([0.2], [0.1]).spread is None


def test_unseen_damage_spread_matches_a_bootstrap():
    rng = np.random.default_rng(0)
    before = rng.uniform(0.05, 0.2, size=500)
    after = before * rng.uniform(0.3, 0.9, size=500)
    drawn = [rng.integers(500, size=500) for _ in range(2000)]
    expected = np.std([100 * (1 - after[rows].mean() / before[rows].mean()) for rows in drawn])
    assert metrics.unseen_damage(after, before).spread == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: metrics.answer_probability([math.nan]), "loss: found 1 of 1"),
        (lambda: metrics.answer_probability([-1.0]), "loss: found values from -1"),
        (lambda: truth_ratio([], [[]]), "correct_avg_loss: found shape"),
        (lambda: truth_ratio([1.0], [1.0]), "wrong_avg_loss: found shape"),
        (lambda: truth_ratio([1.0], [[1.0], [2.0]]), "correct_avg_loss and wrong_avg_loss: found 1 and 2"),
        (lambda: truth_ratio([1.0], [[math.inf]]), "wrong_avg_loss: found 1 of 1"),
        (lambda: truth_ratio([1.0], [[-2.0]]), "wrong_avg_loss: found values"),
        (lambda: truth_ratio([1.0], [[1.0]], "harmonic"), "form: found 'harmonic'"),  # type: ignore[arg-type]
        (lambda: truth_ratio([1000.0], [[0.0]]), "truth ratio: found 1 of 1"),
        (lambda: metrics.forget_quality([], [1.0]), "unlearned: found shape"),
        (lambda: metrics.forget_quality([1.0], [math.nan]), "retrained: found 1 of 1"),
        (lambda: metrics.per_sample_nll_error([1.0], [1.0, 2.0]), "loss and retrain_loss: found 1 and 2"),
        (lambda: metrics.unseen_damage([0.1], [0.0]), "original_probability: found 0 everywhere"),
        (lambda: metrics.unseen_damage([3.0], [0.5]), "probability: found values from 3"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
