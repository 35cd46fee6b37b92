"""Membership scores against values worked out by hand, and their worst corners."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from ofmu.attacks import (
    auc_difference,
    auc_with_error,
    negative_entropy,
    negative_modified_entropy,
    offline_lira,
    online_lira,
    rmia,
    scaled_confidence,
    scaled_loss,
    shadow_free_scores,
    svc_scores,
    true_confidence,
    two_sided,
    u_lira,
    u_lira_left_out,
)

LOGITS = np.log([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]])
LABELS = np.array([0, 2])


def test_scores_of_one_query_by_hand():
    assert true_confidence(LOGITS, LABELS) == pytest.approx([0.7, 0.25])
    entropy = 0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)
    assert negative_entropy(LOGITS) == pytest.approx([entropy, -1.5 * math.log(2)])
    first = 0.3 * math.log(0.7) + 0.2 * math.log(0.8) + 0.1 * math.log(0.9)
    second = 0.75 * math.log(0.25) + 0.25 * math.log(0.75) + 0.5 * math.log(0.5)
    assert negative_modified_entropy(LOGITS, LABELS) == pytest.approx([first, second])
    assert scaled_confidence(LOGITS, LABELS) == pytest.approx([math.log(0.7 / 0.3), math.log(1 / 3)])
    assert scaled_loss(-np.log([0.7, 0.25])) == pytest.approx([math.log(0.7 / 0.3), math.log(1 / 3)])


def test_scores_stay_exact_where_a_softmax_rounds_to_one():
    logits, right, wrong = np.array([[60.0, 0.0, 0.0]]), np.array([0]), np.array([1])
    assert scaled_confidence(logits, right)[0] == pytest.approx(60 - math.log(2))
    assert scaled_confidence(logits, wrong)[0] == pytest.approx(-60)
    # sure of a wrong class: (1 − p_y) log p_y + log(1 − p_0) = −60 + log 2 − 60
    assert negative_modified_entropy(logits, wrong)[0] == pytest.approx(-120 + math.log(2))
    assert negative_modified_entropy(logits, right)[0] == pytest.approx(0, abs=1e-20)
    assert np.isfinite(scaled_loss([0.0])).all()


def test_both_sides_and_what_cannot_be_resolved():
    found = two_sided(np.arange(100.0, 200), np.arange(100.0))
    assert (found.auc, found.remembered[0].tpr, found.over_forgotten[0].tpr) == (1.0, 1.0, 0.0)
    assert found.p < 1e-30
    assert found.remembered[1].tpr is None
    assert "at least 1000" in str(found.remembered[1].missing)
    turned = two_sided(-np.arange(100.0, 200), -np.arange(100.0))
    assert (turned.auc, turned.over_forgotten[0].tpr) == (0.0, 1.0)
    with pytest.raises(ValueError, match="one value"):
        two_sided(np.ones(5), np.ones(5))


def test_the_difference_to_retrain_is_paired():
    rng = np.random.default_rng(0)
    forget, heldout = rng.normal(size=80), rng.normal(size=90)
    same = auc_difference(forget, heldout, [(np.exp(forget), np.exp(heldout))])  # only the order counts
    assert (same.value, same.error, same.p) == (0.0, 0.0, 1.0)
    ours, theirs = auc_with_error(forget + 1, heldout)[0], auc_with_error(forget, heldout)[0]
    found = auc_difference(forget + 1, heldout, [(forget, heldout)])
    assert found.value == pytest.approx(ours - theirs)
    assert found.p < 1e-6
    sure = auc_difference([3.0, 4.0], [1.0, 2.0], [([1.0, 2.0], [3.0, 4.0])])
    assert (sure.value, sure.error, sure.p) == (1.0, 0.0, pytest.approx(2 / 6))  # of 6 ways to label four samples
    with pytest.raises(ValueError, match="same samples"):
        auc_difference(forget, heldout, [(forget[1:], heldout)])


def test_the_error_of_the_difference_is_the_spread_over_repetitions():
    rng, values, errors = np.random.default_rng(1), [], []
    for _ in range(400):
        common, other = rng.normal(size=(2, 60)), rng.normal(size=(2, 60))
        noisy = common + 0.5 * other
        found = auc_difference(common[0], common[1], [(noisy[0], noisy[1])])
        values.append(found.value)
        errors.append(found.error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.12)


def test_several_retrainings_widen_the_error_by_what_their_seeds_change():
    rng, forget, heldout = np.random.default_rng(6), np.zeros(50), np.zeros(50)
    alarms = 0
    for _ in range(200):
        shift = rng.normal(0, 0.6, 6)  # models differ by their seed, on data as on data
        scores = [(rng.normal(s, 1, 50) + forget, rng.normal(0, 1, 50) + heldout) for s in shift]
        found = auc_difference(*scores[0], scores[1:])
        alarms += found.p < 0.05
    assert alarms / 200 < 0.13
    assert found.retrains == 5
    assert found.seeds == pytest.approx(np.std([auc_with_error(*pair)[0] for pair in scores[1:]], ddof=1))
    alone = [auc_difference(*scores[0], [pair]).seeds for pair in scores[1:]]
    assert alone == [None] * 5


@pytest.mark.parametrize("retrains", [1, 3])
def test_models_that_differ_sample_by_sample_alone_raise_as_many_alarms_as_they_say(retrains):
    rng, alarms = np.random.default_rng(7), 0
    for _ in range(300):
        difficulty = rng.normal(size=120)
        scores = [difficulty + 0.7 * rng.normal(size=120) for _ in range(1 + retrains)]
        ours, *theirs = [(s[:50], s[50:]) for s in scores]
        alarms += auc_difference(*ours, theirs).p < 0.05
    assert 0.02 < alarms / 300 < 0.09


def null_p_values(retrains, repetitions, shift=0.0):
    """(p where the rows are known to be alike, p where not) of models that differ by chance alone."""
    rng, found = np.random.default_rng(11), []
    for _ in range(repetitions):
        difficulty = rng.gamma(2, size=140)
        models = [difficulty + 0.7 * rng.normal(size=140) for _ in range(1 + retrains)]
        pairs = [(s[:60] + shift * rng.normal(), s[60:]) for s in models]
        found.append([auc_difference(*pairs[0], pairs[1:], alike).p for alike in (True, False)])
    return np.array(found)


def test_rows_that_are_alike_raise_as_many_alarms_as_they_say():
    """The binomial test of the null: 5 % where it is known that seeds shift nothing, fewer where it is not."""
    known, unknown = (null_p_values(5, 500) < 0.05).sum(axis=0)
    assert binomtest(int(known), 500, 0.05).pvalue > 0.1, known
    assert 0 < unknown < known
    assert (null_p_values(1, 60)[:, 0] == null_p_values(1, 60)[:, 1]).all()  # one model has no seeds to tell of


def test_seeds_that_shift_whole_models_are_not_taken_for_alike_rows():
    known, unknown = (null_p_values(5, 200, shift=1.0) < 0.05).mean(axis=0)
    assert known > 0.2  # what is said of rows that are not alike is wrong
    assert unknown < 0.12


@pytest.mark.parametrize("rule", ["logistic", "svc"])
def test_a_learnt_rule_finds_members_and_stays_at_a_half_where_there_are_none(rule):
    rng = np.random.default_rng(2)
    retain, heldout = rng.normal(1.0, 1, (300, 2)), rng.normal(0, 1, (200, 2))
    kept = two_sided(*shadow_free_scores(retain, heldout, rng.normal(1.0, 1, (150, 2)), rule))
    assert kept.auc > 0.75
    gone = [
        two_sided(
            *shadow_free_scores(retain, rng.normal(size=(100, 2)), rng.normal(size=(100, 2)), rule, seed)
        ).auc
        for seed in range(8)
    ]
    assert np.mean(gone) == pytest.approx(0.5, abs=0.045)  # 3 standard errors of 8 AUCs
    with pytest.raises(ValueError, match="features"):
        shadow_free_scores(retain, heldout, rng.normal(size=(5, 3)), rule)


# φ of 2 samples under 3 models with them and 3 without
SHADOWS = np.array([[5.0, 4], [6, 6], [7, 8], [1, 0], [2, 2], [3, 4]])
MEMBER = np.array([[True, True]] * 3 + [[False, False]] * 3)


def test_lira_by_hand():
    z = offline_lira([4.0, 4.0], SHADOWS[3:], "sample")
    assert z == pytest.approx([2.0, 1.0])  # means 2 and 2, deviations 1 and 2
    assert offline_lira([4.0, 4.0], SHADOWS[3:], "pooled") == pytest.approx([2 / math.sqrt(2.5)] * 2)
    ratio = online_lira([4.0, 4.0], SHADOWS, MEMBER, "sample")
    by_hand = [norm.logpdf(4, 6, s) - norm.logpdf(4, 2, s) for s in (1, 2)]
    assert ratio == pytest.approx(by_hand, abs=1e-12)
    assert online_lira([6.5, 0.0], SHADOWS, MEMBER)[0] > 0 > online_lira([6.5, 0.0], SHADOWS, MEMBER)[1]


def test_each_side_has_its_own_variance():
    wider = SHADOWS.copy()
    wider[:3] = 6 + 10 * (wider[:3] - 6)
    by_hand = norm.logpdf(4, 6, 10) - norm.logpdf(4, 2, 1)
    assert online_lira([4.0, 4.0], wider, MEMBER, "sample")[0] == pytest.approx(by_hand, abs=1e-12)


def test_a_model_that_kept_a_sample_is_on_neither_side():
    gone, never = MEMBER.copy(), ~MEMBER
    kept = np.vstack([SHADOWS, [[99.0, 99.0]]])
    nowhere = np.array([[False, False]])
    found = u_lira([4.0, 4.0], kept, np.vstack([gone, nowhere]), np.vstack([never, nowhere]))
    assert found == pytest.approx(u_lira([4.0, 4.0], SHADOWS, gone, never))
    with pytest.raises(ValueError, match="in both"):
        u_lira([4.0, 4.0], SHADOWS, gone, gone)
    with pytest.raises(ValueError, match="train more shadows"):
        u_lira([4.0, 4.0], SHADOWS[2:], gone[2:], never[2:])


def test_left_out_never_uses_the_model_that_it_scores():
    found = u_lira_left_out(SHADOWS, MEMBER, ~MEMBER)
    others = [0, 2, 4, 5]  # nor model 3, so that there are as many of each
    first = u_lira(SHADOWS[1], SHADOWS[others], MEMBER[others], ~MEMBER[others])
    assert found.unlearned[found.model_of_unlearned == 1] == pytest.approx(first)
    assert (len(found.unlearned), len(found.unseen)) == (6, 6)
    assert np.median(found.unlearned) > 0 > np.median(found.unseen)


def test_u_lira_is_blind_where_unlearning_is_retraining():
    rng = np.random.default_rng(3)
    phi = rng.normal(size=(24, 40)) + rng.normal(size=40)
    gone = rng.permuted(np.repeat([[True], [False]], 12, axis=0) & np.ones((1, 40), dtype=bool), axis=0)
    found = u_lira_left_out(phi, gone, ~gone)
    assert abs(two_sided(found.unlearned, found.unseen).auc - 0.5) < 0.05
    moved = u_lira_left_out(phi - 2.0 * gone, gone, ~gone)  # over-forgotten: far below unseen
    assert two_sided(moved.unlearned, moved.unseen).auc > 0.75


def test_rmia_by_hand_and_alike_for_both():
    # a = 1: ratios 4, 1 against z of 1, 2, 4
    target, references = np.log([0.4, 0.1]), np.log([[0.1, 0.1]])
    population, theirs = np.log([0.1, 0.2, 0.4]), np.log([[0.1, 0.1, 0.1]])
    assert rmia(target, references, population, theirs, a=1.0) == pytest.approx([2 / 3, 0.0])
    assert not rmia(target, references, population, theirs, a=1.0, gamma=5.0).any()  # 4 is not 5 times 1
    # a = 0: p(x) = ½ (p_out + 1)
    ratio = 0.4 / 0.55, 0.1 / 0.55
    beaten = [sum(r / z >= 1.5 for z in (0.1 / 0.55, 0.2 / 0.55, 0.4 / 0.55)) / 3 for r in ratio]
    assert rmia(target, references, population, theirs, a=0.0, gamma=1.5) == pytest.approx(beaten)
    rng = np.random.default_rng(4)
    p, q = -rng.exponential(size=(2, 4000))
    scores = rmia(p[:2000], q[None, :2000], p[2000:], q[None, 2000:], gamma=1.0)
    assert scores.mean() == pytest.approx(0.5, abs=0.03)  # non-members are like the population
    with pytest.raises(ValueError, match="above 0"):
        rmia([0.5], [[-1.0]], [-1.0], [[-1.0]])


def test_the_kernel_machine_is_blind_on_rows_of_one_kind_and_finds_both_sides():
    rng = np.random.default_rng(5)
    kept, unseen, asked = rng.beta(8, 1, 300), rng.beta(2, 1, 120), rng.beta(2, 1, 100)
    null = [two_sided(*svc_scores(kept, rng.beta(2, 1, 60), rng.beta(2, 1, 60), s)).auc for s in range(12)]
    assert np.mean(null) == pytest.approx(0.5, abs=0.04)
    assert two_sided(*svc_scores(kept, unseen, rng.beta(8, 1, 100))).auc > 0.65
    assert two_sided(*svc_scores(kept, unseen, rng.beta(1, 6, 100))).auc < 0.4
    assert [len(side) for side in svc_scores(kept, unseen, asked, most=20)] == [100, 120]
    with pytest.raises(ValueError, match="at least 4 and 2"):
        svc_scores(kept, unseen[:3], asked)
    with pytest.raises(ValueError, match="probabilities"):
        svc_scores(kept, unseen, -asked)
