"""CIFAR-10 in four disjoint parts: to forget, to keep, held out for targets, and a test set for the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..data.images import ImageSplits
from ..errors import UserError
from ..tasks import TensorSamples

Forgotten = Literal["random", "class"]
SHARE = 0.1  # of the training set, when random samples are forgotten


@dataclass(frozen=True)
class CifarSplit:
    """train = forget + retain. heldout is never trained on and never reported; test is reported and nothing else.

    When a class is forgotten, neither heldout nor test has a sample of it ("class-wise: the test set without the
    forgotten class").
    """

    train: TensorSamples
    forget: TensorSamples
    retain: TensorSamples
    heldout: TensorSamples
    test: TensorSamples
    forgotten_class: int | None


def cifar_split(data: ImageSplits, seed: int, forgotten: Forgotten, *, train: int, heldout: int) -> CifarSplit:
    """A seeded split of the official training images: `train` of them, and `heldout` others.

    "random": a tenth of train, drawn by the seed; "class": class seed mod (number of classes). The train and
    held-out images of a seed are the same in both. Raises UserError where there are too few images.
    """
    there = len(data.train)
    if train + heldout > there:
        raise UserError(
            f"train + heldout: found {train} + {heldout}, expected at most the {there} images there are"
        )
    rng = np.random.RandomState(seed + 4000)
    order = rng.permutation(there)
    learnt = data.train.subset(order[:train].tolist())
    unseen = data.train.subset(order[train : train + heldout].tolist())
    test, chosen = data.test, None
    if forgotten == "random":
        picked = set(rng.choice(train, round(SHARE * train), replace=False).tolist())
    else:
        chosen = seed % len(data.classes)
        picked = {row for row, label in enumerate(learnt.labels.tolist()) if label == chosen}
        unseen, test = without_class(unseen, chosen), without_class(test, chosen)
    forget = learnt.subset(sorted(picked))
    retain = learnt.subset([row for row in range(train) if row not in picked])
    return CifarSplit(learnt, forget, retain, unseen, test, chosen)


def without_class(samples: TensorSamples, label: int) -> TensorSamples:
    """The samples of all other classes, in their order."""
    return samples.subset([row for row, other in enumerate(samples.labels.tolist()) if other != label])
