"""How much of a reference text a model says: ROUGE-L, and the two scores of MUSE that are made of it.

Source of ROUGE: Lin, "ROUGE: a package for automatic evaluation of summaries" (2004). TOFU's recall compares
stemmed words and MUSE's F1 the words as they stand, as the scripts of each do. All are in [0, 1]; an empty
prediction scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ofmu.metrics._checks import Floats


def rouge_l_recall(prediction: str, reference: str) -> float:
    """ROUGE-L recall: longest common subsequence of stemmed words / words of the reference; TOFU's ROUGE.

    Raises ValueError for a reference without words (an empty prediction scores 0) and ImportError without the
    extra "llm".
    """
    return float(_score(prediction, reference, stemmed=True).recall)


def rouge_l_f1(prediction: str, reference: str) -> float:
    """ROUGE-L F1: harmonic mean of recall (per word of the reference) and precision (per word said); MUSE's ROUGE.

    Words are not stemmed: "running" is not "runs". Unlike recall, it falls when a model says the reference and
    then goes on. Raises as `rouge_l_recall` does.
    """
    return float(_score(prediction, reference, stemmed=False).fmeasure)


def verbatim_rouge(continuations: Sequence[str], references: Sequence[str]) -> Floats:
    """Verbatim memorisation of each text, [n]: ROUGE-L F1 of what the model writes after a text's opening.

    VerbMem = mean_i ROUGE-L-F1(f(x_i[:l]), x_i[l+1:]), unstemmed, to be reported × 100. continuations: greedy
    continuations f(x_i[:l]), as long as the references; references: the texts' own continuations. Lower means
    forgotten, best is Retrain's. Source: Shi et al., "MUSE" (2024), arXiv 2407.06460, section 3. Raises ValueError
    for none, or lists of different lengths.
    """
    return _each("continuations", continuations, references)


def knowledge_rouge(answers: Sequence[str], references: Sequence[str]) -> Floats:
    """Knowledge memorisation of each question, [n]: ROUGE-L F1 of the model's answer to the true one.

    KnowMem = mean_i ROUGE-L-F1(f(q_i), a_i), unstemmed, to be reported × 100; on D_f lower means forgotten,
    best is Retrain's; on D_r higher is better. Source: Shi et al., "MUSE" (2024), arXiv 2407.06460, section 3.
    Raises ValueError for none, or lists of different lengths.
    """
    return _each("answers", answers, references)


def _each(name: str, predictions: Sequence[str], references: Sequence[str]) -> Floats:
    if not predictions or len(predictions) != len(references):
        raise ValueError(
            f"{name}, references: found {len(predictions)} and {len(references)} texts, expected as many of both, "
            "and at least one"
        )
    return np.array([rouge_l_f1(ours, true) for ours, true in zip(predictions, references, strict=True)])


def _score(prediction: str, reference: str, stemmed: bool) -> Any:  # rouge_score has no types
    if not any(character.isalnum() for character in reference):
        raise ValueError(f"reference: found {reference!r}, expected a text with at least one word")
    return _rouge_scorer(stemmed).score(reference, prediction)["rougeL"]


@cache
def _rouge_scorer(stemmed: bool) -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise ImportError('ROUGE needs rouge-score: pip install "ofmu[llm]"') from error
    return RougeScorer(["rougeL"], use_stemmer=stemmed)
