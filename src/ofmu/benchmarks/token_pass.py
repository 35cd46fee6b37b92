"""One forward pass over texts for every score that needs the predictions of all tokens; per-sample values stay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.nn import Module

from ..engine.measuring import evaluating
from ..engine.predictions import predictions
from ..metrics import Score, mean_score, min_k
from ..metrics.membership import lowest_mean
from ..metrics.memorisation import extracted
from ..metrics.tokens import TokenValues, token_values
from ..tasks import Samples

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TokenScores:
    """One number a sample, [n], in the order of the data set; the answer's tokens alone count.

    loss: mean loss in nats per token; tokens: how many there are; extraction, exact: extraction strength and exact
    memorisation in [0, 1]; min_k, min_k_plus_plus: membership scores, high for members. See `ofmu.metrics`.
    """

    loss: Floats
    tokens: Floats
    extraction: Floats
    exact: Floats
    min_k: Floats
    min_k_plus_plus: Floats


# name in tables and scores.json -> what is said of D_f; a new metric of language models is one line here
FORGET_METRICS: dict[str, Callable[[TokenScores], Score]] = {
    "extraction_strength": lambda seen: mean_score(seen.extraction, "", None),
    "exact_memorization": lambda seen: mean_score(seen.exact, "", None),
}
SHARE = 0.2  # of the tokens: what Min-K% and Min-K%++ look at


@dataclass(frozen=True)
class TextPass:
    """What one pass over several data sets gives, by their names: losses [n] of all, token scores of some."""

    losses: Mapping[str, Floats]
    tokens: Mapping[str, TokenScores]


def text_pass(
    model: Module,
    parts: Mapping[str, Samples],
    scored: Collection[str],
    k: float = SHARE,
    batch: int = 8,
    watch: Callable[[int], None] | None = None,
) -> TextPass:
    """One pass over all parts together: a beginning that texts of any part share is read once.

    scored: the parts of which every token's prediction is looked at; of the others the loss alone. k: the share of
    tokens that Min-K% and Min-K%++ look at. watch is told how many texts are done. Only a few texts' logits are
    held at a time.
    """
    names, done = list(parts), 0
    losses = {name: np.empty(len(samples)) for name, samples in parts.items()}
    found = {name: np.empty((len(parts[name]), 6)) for name in names if name in scored}
    with evaluating(model):
        for predicted in predictions(model, list(parts.values()), batch):
            for answer in predicted.answers:
                name, logits = names[answer.part], predicted.logits[answer.places]
                if name in found:
                    found[name][answer.row] = _scores(token_values(logits, answer.tokens), k)
                    losses[name][answer.row] = found[name][answer.row, 0]
                else:
                    losses[name][answer.row] = float(F.cross_entropy(logits, answer.tokens))
            done += len(predicted.answers)
            if watch is not None:
                watch(done)
    return TextPass(losses, {name: TokenScores(*rows.T.copy()) for name, rows in found.items()})


def token_scores(
    model: Module, samples: Samples, k: float = SHARE, batch: int = 8, watch: Callable[[int], None] | None = None
) -> TokenScores:
    """`text_pass` of one data set, of which all tokens are scored."""
    return text_pass(model, {"": samples}, [""], k, batch, watch).tokens[""]


def _scores(values: TokenValues, k: float) -> Floats:
    """`TokenScores` of one text."""
    hits = values.likeliest
    memorised = extracted(hits), float(hits.mean())
    lowest = min_k(values.log_p, k), lowest_mean(values.standardised, k)
    return np.array([-values.log_p.mean(), len(hits), *memorised, *lowest])
