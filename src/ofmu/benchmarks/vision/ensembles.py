"""KLoM: several runs of unlearning one forget set, from several originals, against as many Retrains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...data.forget_request import ForgetRequest
from ...engine.measuring import image_logits
from ...metrics import klom, margins
from ...report.model import FLOOR, ORIGINAL, ScoreRow
from ..image_choices import Choice
from .cell import level, split_of
from .references import MEMBERS, Workshop, retrains
from .runs import kept_run
from .seen import seen_reference
from .split import VisionSplit

FIRST = MEMBERS + 5000  # the seeds of the originals begin here
PARTS = ("forget", "test", "retain")
TAIL = 95.0  # the percentile that is reported beside the mean, as the source does
Margins = dict[str, list[np.ndarray]]  # part -> the margins [n] of each model


def klom_rows(
    shop: Workshop, request: ForgetRequest, task: str, choices: Sequence[Choice], count: int, own: int = 0
) -> list[ScoreRow]:
    """KLoM on all parts of the split of seed `own`: `count` models a side, trained with seeds of their own.

    Original: the originals themselves. The floor: as many further Retrains as a side has, against the Retrains.
    """
    parts = split_of(shop, request, own)
    gold = margins_of_models(shop, parts, own, task, count, start=0)
    floor = margins_of_models(shop, parts, own, task, count, start=count)
    ours: dict[str, Margins] = {ORIGINAL: _empty(), FLOOR: floor, **{one.title: _empty() for one in choices}}
    for seed in range(FIRST, FIRST + count):
        original, _ = shop.trained(f"{task}, ensemble: Original {seed - FIRST}", parts.train, seed)
        seen = seen_reference(shop, parts, ORIGINAL, original, seed, None)
        for part in PARTS:
            ours[ORIGINAL][part].append(margins(seen.view.logits[part], seen.view.labels[part]))
        for choice in choices:
            view = kept_run(shop, choice, original, parts, f"{task}, ensemble", seed, level(seen)).seen.view
            for part in PARTS:
                ours[choice.title][part].append(margins(view.logits[part], view.labels[part]))
    return [row for title, found in ours.items() for row in rows_of(task, title, found, gold, own)]


def margins_of_models(
    shop: Workshop, split: VisionSplit, own: int, task: str, count: int, *, start: int
) -> Margins:
    """The margins of `count` Retrains, the first of which is the start-th."""
    found = _empty()
    for model in retrains(shop, split, own, task, count, start=start):
        for part in PARTS:
            samples = getattr(split, part)
            found[part].append(margins(image_logits(model, samples).numpy(), samples.labels.numpy()))
    return found


def rows_of(task: str, title: str, ours: Margins, gold: Margins, own: int) -> list[ScoreRow]:
    """The mean KLoM of each part and its 95th percentile over samples, in nats."""
    rows = []
    for part in PARTS:
        found, n = klom(np.stack(ours[part]), np.stack(gold[part]), percentiles=(TAIL,)), len(gold[part][0])
        rows.append(ScoreRow(task, title, own, f"KLoM {part}", found.mean, n, False))
        rows.append(ScoreRow(task, title, own, f"KLoM {part} p{TAIL:g}", found.percentiles[TAIL], n, False))
    return rows


def _empty() -> Margins:
    return {part: [] for part in PARTS}
