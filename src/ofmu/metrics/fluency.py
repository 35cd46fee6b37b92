"""Whether an unlearned model still writes: how likely the base model finds its texts, and how much they repeat."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ofmu.metrics._checks import Floats, same_length, vector
from ofmu.metrics.score import BOOTSTRAP, Score, bootstrap_groups, mean_score


def perplexity(nll: ArrayLike, tokens: ArrayLike, seed: int = 0) -> Score:
    """exp(Σ_i m_i ℓ_i / Σ_i m_i): perplexity of generated texts under a *base* model that did not write them.

    nll: ℓ [n], mean loss of each text's tokens, nats per token; tokens: m [n], how many it has (≥ 1; leave out
    texts that are empty, and count them). Lower is more fluent, but a repeating text has a low perplexity: read
    it beside `repetition_rate`. The best is the original's. Spread: half the 95 % bootstrap interval over texts.
    Source: Jelinek et al. (1977). Raises ValueError for nan, negative losses, counts below 1, lengths that
    differ, and a perplexity too large for a float.
    """
    losses, counts = vector("nll", nll, 0), vector("tokens", tokens, 1)
    same_length("nll", losses, "tokens", counts)
    rows = np.column_stack([losses * counts, counts])

    def of(drawn: Floats) -> float:
        total, count = drawn.sum(axis=0)
        with np.errstate(over="ignore"):  # the score, or the bootstrap, says so
            return float(np.exp(total / count))

    value = float(vector("perplexity", [of(rows)])[0])
    if len(rows) == 1:
        return Score(value, 1, higher_is_better=False)
    low, high = bootstrap_groups([rows], lambda groups: of(groups[0]), seed)
    return Score(value, len(rows), (high - low) / 2, BOOTSTRAP, higher_is_better=False, interval=(low, high))


def repeated_ngrams(words: Sequence[Hashable], n: int = 4) -> float | None:
    """1 − (different n-grams) / (n-grams) of one text, in [0, 1); None where it has fewer than n words.

    words: a text's tokens or words. 0: nothing is said twice. Source: seq-rep-n of Welleck et al., "Neural text
    generation with unlikelihood training" (2019), arXiv 1908.04319. Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"n: found {n}, expected n-grams of at least 1 word")
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else None


def repetition_rate(texts: Sequence[Sequence[Hashable]], n: int = 4) -> Score:
    """Mean of `repeated_ngrams` over the texts that have n words; lower is better. `n` of the score counts those.

    Missing, with its reason, where no text is that long: a model that says nothing does not repeat, and has not
    passed either. Raises ValueError for n < 1 and no texts.
    """
    if not texts:
        raise ValueError("texts: found none, expected at least one")
    rates = [rate for rate in (repeated_ngrams(text, n) for text in texts) if rate is not None]
    if not rates:
        return Score(None, 0, higher_is_better=False, missing=f"none of {len(texts)} texts has {n} words")
    return mean_score(rates, "", False)
