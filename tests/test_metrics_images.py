"""Metrics of image unlearning against numbers worked out by hand, and the protocol's attack against its recipe."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.svm import SVC

from ofmu.attacks import svc_attack
from ofmu.benchmarks.image_scores import image_rows, protocol_rows, view_of
from ofmu.metrics import (
    Score,
    agreement,
    fold_gap,
    kl_to_retrain,
    klom,
    margins,
    memorisation_score,
    normal_klom,
    per_sample_confidence_gap,
    relearn_time,
    retrain_floor,
    tug_of_war,
    tug_of_war_mia,
    wasserstein_confidence,
)
from ofmu.report.labels import label

# --- the SVC attack


def recipe(members, others, asked):
    """The protocol's numbers, by scikit-learn alone."""
    machine = SVC(C=3, gamma="auto", kernel="rbf")
    machine.fit(np.r_[members, others][:, None], np.r_[np.ones(len(members)), np.zeros(len(others))])
    return 100 * float((machine.predict(np.asarray(asked)[:, None]) == 0).mean())


def test_the_svc_attack_is_the_protocols_on_sets_of_one_size():
    rng = np.random.default_rng(0)
    retain, test, forget = rng.beta(8, 1, 120), rng.beta(2, 1, 120), rng.beta(4, 1, 70)
    found = svc_attack(retain, test, forget)
    assert found.mia == pytest.approx(recipe(retain, test, forget))
    assert 5 < found.mia < 95
    assert found.n == 70
    assert found.spread == pytest.approx(100 * math.sqrt(found.mia / 100 * (1 - found.mia / 100) / 69))


def test_as_many_members_as_test_samples_are_taken_evenly():
    rng = np.random.default_rng(1)
    retain, test, forget = np.sort(rng.beta(8, 1, 90)), rng.beta(2, 1, 30), rng.beta(4, 1, 40)
    assert svc_attack(retain, test, forget).mia == pytest.approx(recipe(retain[::3], test, forget))
    assert svc_attack(retain, test, forget).mia != pytest.approx(recipe(retain[:30], test, forget))
    few = svc_attack(retain, test, forget, most=10)
    assert few.mia == pytest.approx(recipe(retain[::9], test[::3], forget))


def test_a_separable_case_by_hand():
    sure, unsure = np.linspace(0.95, 1, 20), np.linspace(0, 0.05, 20)
    found = svc_attack(sure, unsure, [0.99, 0.01, 0.02, 1.0])
    assert (found.mia, found.member_recall, found.nonmember_recall) == (50.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("retain", "test", "message"),
    [
        ([0.5, 0.5], [0.5], "retain and test: found the one value"),
        ([2.0, 0.1], [0.5], "retain: found values from 0.1 to 2"),
        ([0.5], [math.nan], "test: found 1 of 1 values that are nan"),
    ],
)
def test_a_broken_attack_says_so(retain, test, message):
    with pytest.raises(ValueError, match=message):
        svc_attack(retain, test, [0.5])
    with pytest.raises(ValueError, match="most: found 0"):
        svc_attack([0.1], [0.9], [0.5], most=0)


# --- outputs beside Retrain's


def test_kl_and_agreement_by_hand():
    ours, gold = [[0.0, 0.0], [3.0, 3.0], [9.0, 0.0]], [[0.0, math.log(3)], [1.0, 1.0], [9.0, 0.0]]
    found = kl_to_retrain(ours, gold)
    first = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert found.value == pytest.approx(first / 3)
    assert (found.n, found.unit, found.higher_is_better) == (3, "nats", False)
    turned = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert kl_to_retrain(gold[:1], ours[:1]).value == pytest.approx(turned)
    same = agreement([[2.0, 1.0], [0.0, 1.0], [5.0, 4.0]], [[9.0, 1.0], [1.0, 0.0], [1.0, 0.9]])
    assert same.value == pytest.approx(200 / 3)
    assert kl_to_retrain([[500.0, 0.0]], [[0.0, 500.0]]).value == pytest.approx(
        500
    )  # finite where p is 0 in floats


def test_outputs_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="logits and retrain: found 2 and 1 rows"):
        agreement([[1.0, 2.0], [1.0, 2.0]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="found 2 and 3 classes"):
        kl_to_retrain([[1.0, 2.0]], [[1.0, 2.0, 3.0]])


def test_the_floor_by_hand():
    def distance(a, b):
        return Score(abs(a - b) + (1 if a > b else 0), 1, higher_is_better=False, unit="points")

    found = retrain_floor(distance, [0.0, 1.0, 3.0])
    assert found.value == pytest.approx(2.5)  # pairs 1, 3, 2, and the same + 1
    assert found.spread == pytest.approx(math.sqrt(2 / 3 * 2))  # leaving one out: 2.5, 3.5, 1.5
    assert (found.n, found.unit, found.higher_is_better) == (3, "points", False)
    assert retrain_floor(distance, [0.0, 1.0]).spread is None
    with pytest.raises(ValueError, match="retrainings: found 1"):
        retrain_floor(distance, [0.0])
    missing = retrain_floor(lambda a, b: Score(None, 0, missing="no test set"), [0, 1])
    assert missing.missing == "retrainings 0 and 1: no test set"


@pytest.mark.parametrize("metric", [wasserstein_confidence, per_sample_confidence_gap])
def test_floors_of_the_paired_metrics(metric):
    models = [[0.1, 0.9], [0.2, 0.9], [0.4, 0.9]]
    # differences .1, .3, .2 on one of two samples
    assert retrain_floor(metric, models).value == pytest.approx(100 * 0.2 / 2)


# --- KLoM


def test_margins_by_hand():
    found = margins([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0], [900.0, 0.0, 0.0]], [0, 1, 0])
    assert found.tolist() == pytest.approx([2 - math.log(2), 1 - math.log(1 + math.exp(3)), 900 - math.log(2)])
    p = math.exp(2) / (math.exp(2) + 2)
    assert found[0] == pytest.approx(math.log(p / (1 - p)))
    with pytest.raises(ValueError, match="found class 3, logits: 3 classes"):
        margins([[1.0, 2.0, 3.0]], [3])


def test_klom_by_hand_and_its_order():
    gold = np.array([[0.0, 0.0, 0.0, 4.0]]).T
    assert klom(np.array([[0.0, 4.0, 4.0, 4.0]]).T, gold, bins=2).values[0] == pytest.approx(0.5 * math.log(3))
    half = np.array([[0.0, 0.0, 4.0, 4.0]]).T
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert klom(half, gold, bins=2).values[0] == pytest.approx(expected)  # retrained first
    swapped = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert klom(gold, half, bins=2).values[0] == pytest.approx(swapped)


def test_klom_stays_finite_where_nothing_overlaps():
    near, far = np.full((3, 1), -10.0), np.full((3, 1), 10.0)
    for ours, gold in ((near, far), (far, near), (near * 1e6, far * 1e6)):
        assert klom(ours, gold).values[0] == pytest.approx(math.log(1e5))
    assert klom(far, far).values[0] == 0


def test_klom_of_many_samples():
    rng = np.random.default_rng(0)
    gold, same = rng.normal(3, 1, (100, 40)), rng.normal(3, 1, (80, 40))
    other = np.concatenate([same[:, :30], same[:, 30:] + 8], axis=1)
    found, floor = klom(other, gold), klom(same, gold)
    assert found.models == (80, 100)
    assert found.values.shape == (40,)
    assert found.mean == pytest.approx(found.values.mean())
    assert found.percentiles[95.0] == pytest.approx(np.percentile(found.values, 95))
    assert found.values[:30] == pytest.approx(floor.values[:30])
    assert found.values[30:].min() > 5 * floor.values.max()
    i = 7  # one sample, counted bin by bin
    low, high = min(gold[:, i].min(), same[:, i].min()), max(gold[:, i].max(), same[:, i].max())
    place = [np.minimum((20 * (x[:, i] - low) / (high - low)).astype(int), 19) for x in (gold, same)]
    r, u = (np.bincount(x, minlength=20) / len(x) for x in place)
    expected = sum(a * math.log(a / max(b, 1e-5)) for a, b in zip(r, u) if a)
    assert floor.values[i] == pytest.approx(expected)


def test_the_divergence_of_fitted_normals_by_hand():
    gold, ours = np.array([[-1.0, 0.0, 1.0]]).T, np.array([[1.0, 3.0, 5.0]]).T  # N(0, 1) and N(3, 4)
    assert normal_klom(ours, gold)[0] == pytest.approx(0.5 * math.log(4) + (1 + 9) / 8 - 0.5)
    assert normal_klom(gold, ours)[0] == pytest.approx(0.5 * math.log(1 / 4) + (4 + 9) / 2 - 0.5)
    assert normal_klom(gold, gold)[0] == pytest.approx(0)
    rng = np.random.default_rng(0)
    few = rng.normal(size=(8, 200)), rng.normal(size=(8, 200)), rng.normal(3, 1, size=(8, 200))
    assert np.median(normal_klom(few[2], few[0])) > 4 * np.median(normal_klom(few[1], few[0]))
    with pytest.raises(ValueError, match="one value"):
        normal_klom(np.zeros((3, 2)), rng.normal(size=(3, 2)))
    with pytest.raises(ValueError, match="2 models a side"):
        normal_klom(gold[:1], gold)


def test_klom_needs_models_on_both_sides():
    with pytest.raises(ValueError, match="found 1 and 3 models"):
        klom(np.zeros((1, 4)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="found 5 and 4 samples"):
        klom(np.zeros((3, 5)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="unlearned: found 1 of 4 values that are nan"):
        klom([[0.0, math.nan], [0.0, 0.0]], np.zeros((3, 2)))


# --- Tug-of-War


def test_tug_of_war_by_hand():
    found = tug_of_war(60.0, 99.0, 85.0, retrain=(70.0, 97.0, 85.0))
    assert found.value == pytest.approx(0.9 * 0.98)
    assert found.higher_is_better
    assert tug_of_war(100 - 60.0, 99.0, 85.0, retrain=(100 - 70.0, 97.0, 85.0)).value == found.value  # UA
    assert tug_of_war(70.0, 97.0, 85.0, retrain=(70.0, 97.0, 85.0)).value == 1
    assert tug_of_war(0.0, 50.0, 50.0, retrain=(100.0, 50.0, 50.0)).value == 0
    score = Score(20.0, 9, unit="points")
    assert tug_of_war_mia(score, 99.0, 85.0, retrain=(Score(50.0, 9), 97.0, 80.0)).value == pytest.approx(
        0.7 * 0.98 * 0.95
    )


def test_tug_of_war_without_a_number_is_missing():
    absent = Score(None, 0, missing="the attack is blind")
    found = tug_of_war_mia(1.0, 2.0, 3.0, retrain=(absent, 2.0, 3.0))
    assert found.missing == "Retrain's first number is missing: the attack is blind"
    with pytest.raises(ValueError, match="retain: found values from 2 to 200"):
        tug_of_war(1.0, 200.0, 3.0, retrain=(1.0, 2.0, 3.0))


# --- relearn time


def test_relearn_time_by_hand():
    found = relearn_time([0, 10, 20, 30], [20, 50, 80, 70], 65, rising=True)
    assert found.value == pytest.approx(15)
    assert relearn_time([0, 10, 20], [4.0, 2.0, 1.0], 1.5, rising=False).value == pytest.approx(15)
    assert relearn_time([2, 10], [90, 95], 80, rising=True).value == 2
    assert relearn_time([0, 10], [20, 50], 50, rising=True).value == 10
    late = relearn_time([0, 10], [20, 50], 65, rising=True)
    assert (late.value, late.missing) == (None, "not back within 10")


def test_a_trajectory_out_of_order_is_refused():
    with pytest.raises(ValueError, match="cost: found values that do not increase"):
        relearn_time([0, 10, 10], [1, 2, 3], 2, rising=True)
    with pytest.raises(ValueError, match="cost and value: found 2 and 3 rows"):
        relearn_time([0, 10], [1, 2, 3], 2, rising=True)


# --- memorisation


def test_memorisation_by_hand():
    outcomes = [[1, 0.8], [1, 0.6], [0, 0.2], [0, 0.4]]
    included = np.array([[True, True], [True, True], [True, False], [False, False]])
    found = memorisation_score(outcomes, included)
    assert found.values.tolist() == pytest.approx([2 / 3, 0.4])
    assert math.isnan(found.errors[0])
    assert found.errors[1] == pytest.approx(math.sqrt(0.02 / 2 + 0.02 / 2))


def test_the_estimator_is_near_the_truth():
    rng = np.random.default_rng(0)
    included = rng.random((400, 3)) < 0.7
    right = rng.random((400, 3)) < np.where(included, [0.9, 1.0, 0.6], [0.1, 1.0, 0.7])
    found = memorisation_score(right.astype(float), included)
    assert (np.abs(found.values - [0.8, 0.0, -0.1]) < 4 * found.errors + 1e-12).all()
    assert found.errors[1] == 0


def test_the_fold_gap_by_hand():
    confidence = [[0.9, 0.2, 0.5], [0.3, 0.8, 0.5], [0.7, 0.6, 0.4]]
    found = fold_gap(confidence, [1, 0, 2])
    assert found.values.tolist() == pytest.approx([0.8 - 0.3, 0.7 - 0.2, 0.5 - 0.4])
    assert np.isnan(found.errors).all()


@pytest.mark.parametrize(
    ("outcomes", "included", "message"),
    [
        ([[1.0]], [[True]], r"sample 0 \(of 1 such\) is in all 1 subsets or in none"),
        ([[1.0], [0.0]], [[1], [0]], "included: found int64, expected bool"),
        ([[1.5], [0.0]], [[True], [False]], r"outcomes: found values from 0 to 1.5"),
        ([[1.0, 0.0]], [[True], [False]], r"found shapes \(1, 2\) and \(2, 1\)"),
    ],
)
def test_wrong_subsets_are_named(outcomes, included, message):
    with pytest.raises(ValueError, match=message):
        memorisation_score(outcomes, included)


@pytest.mark.parametrize("fold", [[0, 3], [0.0, 1.0], [0]])
def test_wrong_folds_are_named(fold):
    with pytest.raises(ValueError, match="fold: found"):
        fold_gap([[0.5, 0.5], [0.5, 0.5]], fold)


# --- the rows of the vision tables


def views(seed, n_retain=120, n_test=90):
    """A model and a Retrain, seen through logits of three classes."""
    rng = np.random.default_rng(seed)
    sizes = {"forget": 400, "retain": n_retain, "test": n_test}
    labels = {name: rng.integers(0, 3, n) for name, n in sizes.items()}
    sure = {"forget": 1.0, "retain": 3.0, "test": 0.8}

    def one(extra):
        noise = {name: rng.normal(0, 1, (n, 3)) for name, n in sizes.items()}
        found = {name: noise[name] + (sure[name] + extra) * np.eye(3)[labels[name]] for name in sizes}
        return view_of(found, labels)

    return one(0.5), one(0.0)


def test_the_gap_of_the_protocol_takes_the_protocols_attack_and_ours_takes_ours():
    ours, gold = views(4)
    rows = {r.metric: r for r in [*image_rows("t", "A", 0, ours, gold), *protocol_rows("t", "A", 0, ours, gold)]}
    theirs = {r.metric: r for r in [*image_rows("t", "R", 0, gold, None), *protocol_rows("t", "R", 0, gold, None)]}
    assert abs(rows["gap"].value - rows["gap (SVC)"].value) > 0.1
    for gap, mia in (("gap", "MIA"), ("gap (SVC)", "MIA-SVC")):
        parts = [abs(rows[name].value - theirs[name].value) for name in ("UA", "RA", "TA", mia)]
        assert rows[gap].value == pytest.approx(np.mean(parts))
        assert (rows[gap].n, rows[gap].higher_is_better) == (400, False)
    assert not {"gap", "gap (SVC)"} & set(theirs)
    assert label("gap (SVC)").short == "gap (SVC)"
    assert label("gap (SVC)").group == "near"


def test_an_attack_that_has_no_answer_leaves_its_gap_missing():
    ours, gold = views(3)
    flat = view_of({name: np.zeros_like(values) for name, values in ours.logits.items()}, ours.labels)
    rows = {r.metric: r for r in protocol_rows("t", "A", 0, flat, gold)}
    assert rows["gap (SVC)"].missing.startswith("retain and test: found the one value")
    rows = {r.metric: r for r in protocol_rows("t", "A", 0, ours, flat)}
    assert rows["gap (SVC)"].missing.startswith("of Retrain: retain and test: found the one value")


def test_the_machine_sees_every_test_sample_of_a_set_of_two_thousand():
    ours, _ = views(7, 3000, 2000)
    found = ours.confidence
    (row,) = protocol_rows("t", "A", 0, ours, None)
    assert row.value == svc_attack(found["retain"], found["test"], found["forget"]).mia
    assert row.value != svc_attack(found["retain"], found["test"], found["forget"], most=1000).mia
