"""Forgetting requests: what each function picks, worked out by hand, and what the parser says."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofmu.data.forget_request import FORMS, ForgetRequest, choose, parse_forget
from ofmu.data.forgetting import (
    class_rows,
    decile_rows,
    entangled_rows,
    entanglement,
    mislabelled_rows,
    near_duplicate_rows,
    random_rows,
    ranked_rows,
)
from ofmu.errors import UserError

LABELS = [0, 1, 2, 1, 0, 2, 1, 3]


def test_random_takes_its_share_and_the_seed_decides():
    labels = np.zeros(50)
    assert len(random_rows(labels, 0.1, 0)) == 5
    assert random_rows(labels, 0.1, 3) == random_rows(labels, 0.1, 3) == sorted(set(random_rows(labels, 0.1, 3)))
    assert random_rows(labels, 0.1, 3) != random_rows(labels, 0.1, 4)
    state = np.random.RandomState(3)
    assert random_rows(labels, 0.1, state) == random_rows(labels, 0.1, 3)
    assert random_rows(labels, 0.1, state) != random_rows(labels, 0.1, 3)  # a state goes on


def test_classes_are_taken_whole():
    assert class_rows(LABELS, [1]) == [1, 3, 6]
    assert class_rows(LABELS, [3, 0]) == [0, 4, 7]
    with pytest.raises(UserError, match=r"label \[4\]; labels are 0 … 3"):
        class_rows(LABELS, [1, 4])
    with pytest.raises(UserError, match="all labels there are; expected some that are kept"):
        class_rows(LABELS, set(LABELS))


def test_hardest_and_easiest_by_score_with_ties_by_row():
    scores = [0.2, 0.9, 0.5, 0.9, 0.1, 0.5]
    assert ranked_rows(scores, 3, hardest=True) == [1, 2, 3]
    assert ranked_rows(scores, 3, hardest=False) == [0, 2, 4]
    assert ranked_rows(scores, 0.5, hardest=True) == [1, 2, 3]
    with pytest.raises(UserError, match="found 6, expected a share below 1 or a count from 1 to 5"):
        ranked_rows(scores, 6, hardest=True)


@given(st.lists(st.floats(-1, 1), min_size=10, max_size=40))
def test_the_deciles_are_a_partition_of_rising_scores(scores):
    parts = [decile_rows(scores, d) for d in range(10)]
    assert sorted(row for part in parts for row in part) == list(range(len(scores)))
    for lower, higher in pairwise(parts):
        assert max(scores[row] for row in lower) <= min(scores[row] for row in higher)


def test_a_decile_outside_is_refused():
    with pytest.raises(UserError, match="found 10, expected 0 to 9"):
        decile_rows([0.0] * 20, 10)


def test_near_duplicates_are_forgotten_and_their_twins_kept():
    features = [[0.0, 0], [0.1, 0], [5, 5], [5, 5], [9, 0], [9, 0.5], [20, 20]]
    # the closest pair is 2 and 3, then 0 and 1, then 4 and 5; of each the first is forgotten
    assert near_duplicate_rows(features, 1) == [2]
    assert near_duplicate_rows(features, 3) == [0, 2, 4]
    with pytest.raises(UserError, match="pairs, expected 6"):
        near_duplicate_rows(features, 6)


def test_a_chain_of_copies_keeps_somebody():
    rows = near_duplicate_rows([[1.0]] * 6 + [[7.0]], 3)
    assert len(rows) == 3
    assert set(rows) < set(range(6))


def test_mislabelled_rows_get_another_class_and_nobody_else_does():
    labels = np.arange(100) % 5
    rows, changed = mislabelled_rows(labels, 0.2, 5, 0)
    assert len(rows) == 20
    assert sorted(np.flatnonzero(changed != labels)) == rows
    assert set(changed) <= set(range(5))
    assert labels[rows[0]] == rows[0] % 5  # the given labels are as they were


def test_entangled_sets_go_from_a_region_of_their_own_to_anywhere():
    features = np.concatenate([np.random.RandomState(0).randn(100, 3) + 8 * c for c in range(4)])
    levels = [0, 0.25, 0.5, 0.75, 1]
    sets = [entangled_rows(features, level, seed=2) for level in levels]
    assert [len(rows) for rows in sets] == [40] * 5
    centre = features[sets[0]].mean(0)
    away = [np.linalg.norm(features[rows] - centre, axis=1).mean() for rows in sets]
    assert away == sorted(away)
    scores = [entanglement(features, rows) for rows in sets]
    assert scores == sorted(scores)
    assert scores[-1] > 20 * scores[0]
    with pytest.raises(UserError, match=r"found 1.5, expected a level from 0"):
        entangled_rows(features, 1.5, 0)


def test_entanglement_by_hand():
    # R = {0, 2}: mean 1, spread 1; S = {5, 7}: mean 6, spread 1; overall mean 3.5, distances 2.5² each
    assert entanglement([[0.0], [2], [5], [7]], [2, 3]) == pytest.approx(2 / 6.25)
    with pytest.raises(ValueError, match="found 4 of 4"):
        entanglement([[0.0], [2], [5], [7]], range(4))
    with pytest.raises(ValueError, match="coincide"):
        entanglement([[0.0], [2], [1], [1]], [2, 3])


@pytest.mark.parametrize("example", [example for example, _ in FORMS.values()])
def test_every_example_is_understood_and_written_back(example):
    assert str(parse_forget(example)) == example


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("class", ForgetRequest("class")),
        (" random:.5", ForgetRequest("random", 0.5)),
        ("hardest:400", ForgetRequest("hardest", 400)),
        ("classes:4+1", ForgetRequest("classes", classes=(4, 1))),
    ],
)
def test_requests_in_words(text, request_):
    assert parse_forget(text) == request_


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("randm:0.1", "did you mean 'random'?"),
        ("random", "without a value, expected for example random:0.1"),
        ("random:1.5", "found 'random:1.5', expected for example random:0.1"),
        ("random:zehn", "a random tenth"),
        ("class:-1", "class:3"),
        ("class:1+2", "class:3"),
        ("classes:1+1", "classes:1+4"),
        ("decile:10", "0 to 9"),
        ("hardest:2.5", "hardest:0.1"),
        ("hardest:inf", "hardest:0.1"),
        ("easiest:nan", "easiest:0.1"),
        ("", "expected one of random:0.1, class:3"),
    ],
)
def test_a_mistake_is_named_with_what_is_expected(text, words):
    with pytest.raises(UserError) as error:
        parse_forget(text)
    assert words in str(error.value)


def test_choose_gives_what_the_functions_give():
    labels, scores = np.arange(40) % 4, np.linspace(0, 1, 40)
    features = np.random.RandomState(1).randn(40, 2)

    def rows(text, **known):
        return choose(parse_forget(text), labels, 0, classes=4, **known)

    assert rows("random:0.1").rows == random_rows(labels, 0.1, 0)
    assert rows("class", own=7).classes == (3,)
    assert rows("classes:0+2").rows == class_rows(labels, [0, 2])
    assert rows("hardest:4", scores=scores).rows == [36, 37, 38, 39]
    assert rows("decile:0", scores=scores).rows == [0, 1, 2, 3]
    assert rows("entangled:1", features=features).rows == entangled_rows(features, 1, 0)
    assert rows("near-duplicates:2", features=features).rows == near_duplicate_rows(features, 2)
    assert rows("subclass:9", fine=np.arange(40) % 10).rows == [9, 19, 29, 39]
    assert rows("mislabelled:0.1").labels is not None
    for text, words in (("hardest:4", "needs scores"), ("entangled:1", "needs features"), ("subclass", "finer")):
        with pytest.raises(UserError, match=words):
            rows(text)
