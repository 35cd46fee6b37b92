"""Extraction strength, exact memorisation, ROUGE of MUSE, fluency: by hand, and against their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ofmu import metrics

WORDS = 5


def saying(said, confidence=3.0):
    """Logits [t, 5] whose most likely token at each place is the one said."""
    return confidence * np.eye(WORDS)[list(said)]


@pytest.mark.parametrize(
    ("said", "strength", "exact"),
    [
        ([1, 2, 3, 4], 1.0, 1.0),  # the question alone brings out the answer
        ([0, 2, 3, 4], 3 / 4, 3 / 4),  # after one token the rest follows
        ([1, 2, 0, 4], 1 / 4, 3 / 4),
        ([1, 2, 3, 0], 0.0, 3 / 4),  # the last token is never said: nothing is extractable
        ([0, 0, 0, 0], 0.0, 0.0),
    ],
)
def test_memorisation_by_hand(said, strength, exact):
    logits, labels = saying(said), [1, 2, 3, 4]
    assert metrics.extraction_strength(logits, labels) == strength
    assert metrics.exact_memorization(logits, labels) == exact


def test_a_batch_leaves_out_prompt_and_padding():
    rows = [[0, 1, 2, 3, 4], [4, 1, 2, 0, 0]]
    labels = [[-100, 1, 2, 3, 4], [-100, 1, 3, -100, -100]]
    logits = torch.tensor(np.stack([saying(row) for row in rows]))
    assert metrics.extraction_strength(logits, torch.tensor(labels)).tolist() == [1.0, 0.0]
    assert metrics.exact_memorization(logits, torch.tensor(labels)).tolist() == [1.0, 0.5]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_extraction_strength_is_its_definition(pairs):
    said, labels = map(list, zip(*pairs))
    m = len(labels)
    shortest = min(k for k in range(m + 1) if said[k:] == labels[k:])  # prefixes tried one by one
    assert metrics.extraction_strength(saying(said), labels) == pytest.approx(1 - shortest / m)
    exact = metrics.exact_memorization(saying(said), labels)
    assert metrics.extraction_strength(saying(said), labels) <= exact + 1e-12


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.extraction_strength(saying([1]), [1.0]), "labels: found float64"),
        (lambda: metrics.extraction_strength(saying([1, 2]), [1]), r"logits: found shape \(2, 5\)"),
        (lambda: metrics.extraction_strength(saying([1]), [-100]), "sample 0 has none but -100"),
        (lambda: metrics.extraction_strength(saying([1]), [5]), "outside 0 … 4"),
        (lambda: metrics.exact_memorization(saying([1]) * math.nan, [1]), "nan or infinite"),
    ],
)
def test_wrong_arguments(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_rouge_of_muse_by_hand():
    pytest.importorskip("rouge_score")
    # one of the two words said stands in the reference of four: F1 = 2·(1/2)(1/4)/(1/2 + 1/4)
    assert metrics.rouge_l_f1("red cat", "the cat sat here") == pytest.approx(1 / 3)
    assert metrics.rouge_l_f1("one two and then much more", "one two") == pytest.approx(2 * 2 / 8)
    assert metrics.rouge_l_recall("one two and then much more", "one two") == 1.0
    found = metrics.verbatim_rouge(["one two", ""], ["one two", "three"])
    assert found.tolist() == [1.0, 0.0]
    assert metrics.knowledge_rouge(["Paris it is"], ["Paris"]).tolist() == [0.5]
    for score in (metrics.verbatim_rouge, metrics.knowledge_rouge):  # two of three words: MUSE does not stem
        assert score(["she is running"], ["she is runs"]).tolist() == [pytest.approx(2 / 3)]
    for score in (metrics.verbatim_rouge, metrics.knowledge_rouge):
        with pytest.raises(ValueError, match="1 and 2 texts"):
            score(["one"], ["one", "two"])
        with pytest.raises(ValueError, match="at least one"):
            score([], [])


def test_perplexity_weighs_tokens_alike():
    # 1 token at loss ln 16 and 3 tokens at ln 2 each: exp((4 + 3)/4 · ln 2)
    score = metrics.perplexity([math.log(16), math.log(2)], [1, 3])
    assert score.value == pytest.approx(2 ** (7 / 4))
    assert (score.n, score.higher_is_better, score.spread_kind) == (2, False, "bootstrap half width")
    # a redraw holds one of the texts twice in half of all cases: the interval reaches from 2 to 16
    assert score.spread == pytest.approx((16 - 2) / 2)
    assert metrics.perplexity([1.0], [4]).spread is None
    with pytest.raises(ValueError, match="tokens: found values"):
        metrics.perplexity([1.0], [0])
    with pytest.raises(ValueError, match="perplexity: found 1 of 1"):
        metrics.perplexity([1e4], [3])


def test_repetition_by_hand():
    assert metrics.repeated_ngrams(["a", "b", "c", "d", "e"]) == 0.0
    assert metrics.repeated_ngrams(list("aaaaaa"), n=2) == pytest.approx(4 / 5)  # 5 pairs, one kind
    assert metrics.repeated_ngrams(list("ababab"), n=2) == pytest.approx(3 / 5)  # ab, ba
    assert metrics.repeated_ngrams([1, 2, 3], n=4) is None
    score = metrics.repetition_rate([list("aaaaaa"), list("abcdef"), list("a")], n=2)
    assert (score.value, score.n) == (pytest.approx(2 / 5), 2)
    silent = metrics.repetition_rate([[], ["a"]])
    assert silent.value is None
    assert "none of 2 texts has 4 words" in str(silent.missing)
    with pytest.raises(ValueError, match="n: found 0"):
        metrics.repeated_ngrams(["a"], n=0)
    with pytest.raises(ValueError, match="texts: found none"):
        metrics.repetition_rate([])
