import math

import numpy as np
import pytest

from ofmu.metrics import reference_free

BEFORE_AND_AFTER = {
    "forget_before": [0.1, 0.3],
    "forget_after": [2.0, 4.0],
    "heldout_before": [1.0, 2.0, 3.0],
    "heldout_after": [2.0, 3.0, 4.0],
    "retain_before": [0.1, 0.1],
    "retain_after": [0.2, 0.4],
}


def test_reference_free_by_hand():
    scores = reference_free(**BEFORE_AND_AFTER)
    expected = {
        "forget_over_unseen": 0.0,
        "forget_over_unseen_before": -1.8,
        "forget_change": 2.8,
        "retain_change": 0.2,
        "heldout_change": 1.0,
    }
    assert {name: score.value for name, score in scores.items()} == pytest.approx(expected)
    assert scores["forget_over_unseen"].spread == pytest.approx(math.sqrt(1 + 1 / 3))
    assert scores["retain_change"].spread == pytest.approx(0.1)
    assert scores["heldout_change"].spread == 0  # paired: every sample moved by 1
    assert (scores["forget_over_unseen"].n, scores["heldout_change"].n) == (2, 3)
    assert {name: score.higher_is_better for name, score in scores.items()} == {
        "forget_over_unseen": None,
        "forget_over_unseen_before": None,
        "forget_change": None,
        "retain_change": False,
        "heldout_change": False,
    }
    assert {score.unit for score in scores.values()} == {"nats"}


def test_the_distance_from_the_unseen_level_has_an_interval_of_both_sets():
    draw = np.random.default_rng(0)
    forget, heldout = draw.normal(3, 0.5, 80), draw.normal(2, 0.2, 200)
    scores = reference_free(forget, forget, heldout, heldout, [0.1], [0.2])
    found = scores["forget_over_unseen"]
    assert found.interval[0] < found.value < found.interval[1]
    assert found.interval[1] - found.interval[0] == pytest.approx(2 * 1.96 * found.spread, rel=0.15)
    single = reference_free(**BEFORE_AND_AFTER | {"forget_before": [1.0], "forget_after": [1.0]})
    assert single["forget_over_unseen"].interval is None


def test_over_forgetting_is_positive():
    scores = reference_free(**BEFORE_AND_AFTER | {"forget_after": [20.0, 40.0]})
    assert scores["forget_over_unseen"].value == pytest.approx(27.0)


@pytest.mark.parametrize("name", sorted(BEFORE_AND_AFTER))
@pytest.mark.parametrize("wrong", [[], [math.nan, 1.0], [-1.0, 1.0]])
def test_wrong_input_is_named(name, wrong):
    with pytest.raises(ValueError, match=f"{name}: found"):
        reference_free(**BEFORE_AND_AFTER | {name: wrong})


def test_pairs_must_have_one_length():
    with pytest.raises(ValueError, match="retain_before and retain_after: found 2 and 1"):
        reference_free(**BEFORE_AND_AFTER | {"retain_after": [1.0]})
