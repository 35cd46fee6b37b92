import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ofmu.attacks import confidence_attack

MEMBERS, OTHERS = [0.99, 0.98, 0.97, 0.99], [0.1, 0.2, 0.3, 0.2]


def test_separable_confidences_by_hand():
    assert confidence_attack(MEMBERS, OTHERS, [0.95, 0.99, 1.0]).mia == 0  # still remembered
    assert confidence_attack(MEMBERS, OTHERS, [0.0, 0.1]).mia == 100
    attack = confidence_attack(MEMBERS, OTHERS, [0.05, 0.99, 0.99, 0.99])
    assert attack.mia == pytest.approx(25)
    assert attack.n == 4
    assert attack.spread == pytest.approx(100 * math.sqrt(0.25 * 0.75 / 3))
    assert (attack.member_recall, attack.nonmember_recall) == (1.0, 1.0)
    assert confidence_attack(MEMBERS, OTHERS, [0.05]).spread is None


def test_agrees_with_a_scikit_learn_pipeline_on_unbalanced_sets():
    rng = np.random.default_rng(0)
    retain, heldout, forget = rng.beta(6, 2, 900), rng.beta(3, 2, 150), rng.beta(4, 2, 200)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=10.0, class_weight="balanced"))
    model.fit(np.r_[retain, heldout][:, None], np.r_[np.ones(900), np.zeros(150)])
    expected = 100 * (model.predict(forget[:, None]) == 0).mean()
    attack = confidence_attack(retain, heldout, forget)
    assert attack.mia == pytest.approx(expected)
    assert 10 < attack.mia < 90
    # unbalanced weights would call nearly all of them members
    assert attack.nonmember_recall > 0.5


def test_strength_of_the_regularisation_is_pinned():
    grid = np.linspace(0, 1, 1001)  # so that mia says where the boundary lies
    retain, heldout = np.array([0.9, 0.95, 0.99, 0.2]), np.array([0.1, 0.15, 0.8])

    def share_called_nonmember(strength):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced"))
        model.fit(np.r_[retain, heldout][:, None], [1, 1, 1, 1, 0, 0, 0])
        return 100 * (model.predict(grid[:, None]) == 0).mean()

    attack = confidence_attack(retain, heldout, grid)
    assert attack.mia == pytest.approx(share_called_nonmember(10.0))
    assert attack.mia != pytest.approx(share_called_nonmember(1.0), abs=0.05)


def test_negative_control_members_that_nothing_sets_apart():
    rng = np.random.default_rng(1)
    attack = confidence_attack(rng.uniform(size=2000), rng.uniform(size=2000), rng.uniform(size=500))
    assert (attack.member_recall + attack.nonmember_recall) / 2 == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    "sets, message",
    [
        (([], OTHERS, MEMBERS), "retain: found shape"),
        ((MEMBERS, [], MEMBERS), "heldout: found shape"),
        ((MEMBERS, OTHERS, []), "forget: found shape"),
        ((MEMBERS, OTHERS, [math.nan]), "forget: found 1 of 1 values that are nan"),
        ((MEMBERS, [math.inf, 0.0], MEMBERS), "heldout: found 1 of 2"),
        ((MEMBERS, [3.5, 0.2], MEMBERS), "heldout: found values from 0.2 to 3.5"),
        (([0.5, 0.5], [0.5], [0.1]), "retain and heldout: found the one value 0.5 in all 3"),
    ],
)
def test_wrong_input_is_named(sets, message):
    with pytest.raises(ValueError, match=message):
        confidence_attack(*sets)
