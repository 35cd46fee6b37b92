"""Four disjoint parts of a data set, and what of the training part is to be forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike

from ...data.forget_request import ForgetRequest, choose
from ...data.images import ImageSplits
from ...errors import UserError
from ...tasks import TensorSamples
from .setting import Setting

FIRST = 4000  # of the seeds that split
TUNING = 999  # the seed of the development set; benchmarks that take several count down from it


@dataclass(frozen=True)
class Drawn:
    """The parts of one seed, before anything is forgotten.

    heldout is for targets, development for tuning, test for the table. The development part is the same for all
    seeds, so that no image of it is in any seed's training part. fine: finer labels by id; rng: goes on to choose
    what is forgotten.
    """

    train: TensorSamples
    heldout: TensorSamples
    development: TensorSamples
    test: TensorSamples
    fine: Mapping[str, int]
    classes: int
    rng: np.random.RandomState


@dataclass(frozen=True)
class VisionSplit:
    """train = forget + retain. When classes are forgotten, heldout, development and test have no sample of them
    ("class-wise: the test set without the forgotten class").
    """

    train: TensorSamples
    forget_rows: list[int]
    forget: TensorSamples
    retain: TensorSamples
    heldout: TensorSamples
    development: TensorSamples
    test: TensorSamples
    forgotten_classes: tuple[int, ...]


def draw(data: ImageSplits, seed: int, setting: Setting) -> Drawn:
    """The seeded parts of a data set; label noise, where the setting has it, is the same for all seeds.

    Raises UserError where there are too few images.
    """
    there = len(data.train)
    train, heldout, development = setting.train, setting.heldout, setting.development
    if train + heldout + development > there:
        raise UserError(
            f"train + heldout + development: found {train} + {heldout} + {development}, expected at most the "
            f"{there} images there are"
        )
    pool, test = (_noisy(part, setting.noise, len(data.classes)) for part in (data.train, data.test))
    apart = np.random.RandomState(FIRST - 1).permutation(there)[:development] if development else np.array([], int)
    free = np.setdiff1d(np.arange(there), apart)
    rng = np.random.RandomState(seed + FIRST)
    order = free[rng.permutation(len(free))].tolist()
    fine: dict[str, int] = {}
    for part, labels in zip((data.train, data.test), data.fine or (), strict=False):
        fine |= dict(zip(part.ids, labels.tolist(), strict=True))
    return Drawn(
        pool.subset(order[:train]),
        pool.subset(order[train : train + heldout]),
        pool.subset(apart.tolist()),
        test,
        fine,
        len(data.classes),
        rng,
    )


def split(
    drawn: Drawn,
    request: ForgetRequest,
    seed: int,
    *,
    scores: ArrayLike | None = None,
    features: ArrayLike | None = None,
) -> VisionSplit:
    """The parts with what `request` wants forgotten. scores [n], features [n, d]: of drawn.train, where needed."""
    train = drawn.train
    fine = [drawn.fine[id] for id in train.ids] if drawn.fine else None
    chosen = choose(
        request,
        train.labels.numpy(),
        drawn.rng,
        own=seed,
        classes=drawn.classes,
        fine=fine,
        scores=scores,
        features=features,
    )
    if chosen.labels is not None:
        train = replace(train, labels=torch.from_numpy(chosen.labels))
    gone = set(chosen.classes)
    rows = set(chosen.rows)
    by_fine = drawn.fine if request.kind == "subclass" else {}
    heldout, development, test = (
        without(part, gone, by_fine) for part in (drawn.heldout, drawn.development, drawn.test)
    )
    return VisionSplit(
        train,
        chosen.rows,
        train.subset(chosen.rows),
        train.subset([row for row in range(len(train)) if row not in rows]),
        heldout,
        development,
        test,
        chosen.classes,
    )


def without(samples: TensorSamples, classes: set[int], fine: Mapping[str, int]) -> TensorSamples:
    """The samples of all other classes, in their order; of other fine classes where those are given by id."""
    if not classes:
        return samples
    labels: Sequence[int] = [fine[id] for id in samples.ids] if fine else samples.labels.tolist()
    return samples.subset([row for row, label in enumerate(labels) if label not in classes])


def label_count(data: ImageSplits, request: ForgetRequest) -> int:
    """How many classes a request's numbers are among: the fine ones for a sub-class."""
    if request.kind == "subclass" and data.fine is not None:
        return 1 + max(int(labels.max()) for labels in data.fine)
    return len(data.classes)


def development_request(request: ForgetRequest, classes: int, reported: Sequence[int] = ()) -> ForgetRequest:
    """The request that is tuned on: as the reported one, of other classes where classes are forgotten.

    classes: how many there are (`label_count`). reported: the seeds of the table, each of which has its own class
    where the request names none; the development seed's own class is kept where no reported seed has it. Raises
    UserError where all classes are reported.
    """
    if request.classes:
        return _moved(request, classes)
    taken = {seed % classes for seed in reported}
    if not request.removes_classes or TUNING % classes not in taken:
        return request
    free = [label for label in range(classes) if label not in taken]
    if not free:
        raise UserError(
            f"--forget {request}: found {classes} classes and {len(reported)} seeds, which report all of them, "
            f"expected one that is left to tune on; give --seeds {classes - 1} or fewer, or --trials 1"
        )
    return replace(request, classes=(free[-1],))


def _moved(request: ForgetRequest, classes: int) -> ForgetRequest:
    """Other classes than the named ones: half a turn on, or the first that are free."""
    step = max(1, classes // 2)
    moved = tuple((label + step) % classes for label in request.classes)
    if set(moved) & set(request.classes):  # half a turn lands on a class that is reported
        free = [label for label in range(classes) if label not in request.classes]
        if len(free) < len(request.classes):
            raise UserError(f"--forget {request}: too few other classes to tune on; give --trials 1")
        moved = tuple(free[: len(request.classes)])
    return replace(request, classes=moved)


def _noisy(samples: TensorSamples, share: float, classes: int) -> TensorSamples:
    if share == 0:
        return samples
    rng = np.random.RandomState(len(samples))
    labels = samples.labels.numpy().copy()
    wrong = rng.rand(len(labels)) < share
    labels[wrong] = (labels[wrong] + rng.randint(1, classes, int(wrong.sum()))) % classes
    return replace(samples, labels=torch.from_numpy(labels))
