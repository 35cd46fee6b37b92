"""scikit-learn's 1,797 handwritten digits (8 × 8), split for unlearning in seconds.

Label noise matters here: without it a model that never saw the forget samples predicts them as well, and
random forgetting shows nothing. Noise is in every part, so that held-out and test labels are as hard as the
others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from ofmu.errors import UserError
from ofmu.tasks import TensorSamples

TRAIN, HELDOUT, CLASSES = 1400, 197, 10


@dataclass(frozen=True)
class DigitsSplit:
    """Images float32 [n, 1, 8, 8] in [0, 1]. train = forget + retain; rows are positions in train.

    test is "class-wise: the test set without the forgotten class" (so is heldout) when a class is forgotten.
    clean: int64 [len(train)], the true labels of train, whatever noise was put on them.
    """

    train: TensorSamples
    forget_rows: list[int]
    retain_rows: list[int]
    forget: TensorSamples
    retain: TensorSamples
    heldout: TensorSamples
    test: TensorSamples
    clean: Tensor
    forgotten_class: int | None


def digits(seed: int, *, label_noise: float = 0.0, forget: str = "random:0.1") -> DigitsSplit:
    """A seeded split: 1,400 train, 197 held out, 200 test.

    forget: "random:f" takes round(1400 f) random rows; "class:c" all rows whose true label is c; "class"
    means class seed mod 10. label_noise: the share of labels, in every part, that become another class.
    """
    if not 0 <= label_noise < 1:
        raise UserError(f"label_noise: found {label_noise}, expected a share from 0 to below 1")
    rng = np.random.RandomState(seed + 1000)
    raw = load_digits()
    order = rng.permutation(len(raw.target))
    pixels = torch.tensor(raw.images[order] / 16, dtype=torch.float32)[:, None]
    clean = torch.tensor(raw.target[order], dtype=torch.int64)
    random, chosen = _request(forget, seed)
    parts = [slice(0, TRAIN), slice(TRAIN, TRAIN + HELDOUT), slice(TRAIN + HELDOUT, len(order))]
    rows = [list(range(len(order)))[part] for part in parts]
    if chosen is None:
        picked = set(rng.choice(TRAIN, random, replace=False).tolist())
    else:
        picked = {row for row in rows[0] if int(clean[row]) == chosen}
        rows[1:] = [[row for row in part if int(clean[row]) != chosen] for part in rows[1:]]
    train, heldout, test = (_part(pixels, clean, order, part, label_noise, rng) for part in rows)
    retain_rows = [row for row in range(TRAIN) if row not in picked]
    return DigitsSplit(
        train,
        sorted(picked),
        retain_rows,
        train.subset(sorted(picked)),
        train.subset(retain_rows),
        heldout,
        test,
        clean[:TRAIN],
        chosen,
    )


def _part(
    pixels: Tensor,
    clean: Tensor,
    order: np.ndarray,
    rows: list[int],
    noise: float,
    rng: np.random.RandomState,
) -> TensorSamples:
    labels = clean[rows].clone()
    if noise:
        wrong = torch.tensor(rng.rand(len(rows)) < noise)
        labels[wrong] = (labels[wrong] + torch.tensor(rng.randint(1, CLASSES, int(wrong.sum())))) % CLASSES
    return TensorSamples(pixels[rows], labels, [f"digits/{order[row]}" for row in rows])


def _request(forget: str, seed: int) -> tuple[int, int | None]:
    """(how many random rows, None) or (0, the class)."""
    kind, _, value = forget.partition(":")
    try:
        if kind == "random" and 0 < round(TRAIN * float(value)) < TRAIN:
            return round(TRAIN * float(value)), None
        if kind == "class" and 0 <= int(value or seed % CLASSES) < CLASSES:
            return 0, int(value or seed % CLASSES)
    except ValueError:
        pass
    raise UserError(f"forget: found '{forget}', expected 'random:0.1' (a share below 1) or 'class:3' (0 to 9)")
