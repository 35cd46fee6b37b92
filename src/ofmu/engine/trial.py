"""A start on trial: the last layers reset and trained on D_r over kept outputs, or all layers trained on.

Held-out data test it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import Module

from ..errors import UserError
from ..tasks import HardStream, Samples, Stream
from .ground import Ground
from .heads import Top, Whole, reset_top
from .leak import Leak, absent_leak, leak_of
from .measuring import sample_losses
from .reset import last_layers, reset_last
from .targets import Rows
from .training import training

RESET = 2  # layers of a restart that start anew


@dataclass
class Trial:
    """k: layers that were reset, and are alone trained (0: all are trained). trained, tested: what training steps
    and tests took, in sample-gradients; epochs: how many times D_r was seen; share: of it after the first time
    (`_stream`).
    """

    ground: Ground
    k: int
    model: Module
    top: Top | Whole
    trained: float = 0.0
    tested: float = 0.0
    epochs: float = 0.0
    share: float = 1.0
    leaks: list[Leak] = field(default_factory=list)

    @property
    def cost(self) -> float:
        """All that it took."""
        return self.top.once + self.trained + self.tested

    @property
    def leaky(self) -> bool:
        """What the last test found."""
        return any(leak.found(self.ground.search.level) for leak in self.leaks)

    def affords(self, samples: float) -> float:
        """How many epochs so many sample-gradients pay for, with features and tests; at most the recipe's."""
        top, n, tests = self.top, len(self.ground.known.retain), 1 + len(self.ground.search.looks)
        rest = (
            samples - self.ground.tested * (top.below + tests * top.look) - (self.ground.sure if self.k else 0.0)
        )
        features = top.below * n - top.once
        rest, first = max(rest, 0.0), top.share * n + features
        epochs = rest / first if rest < first else (rest - features) / (top.share * n)
        return min(epochs, self.ground.known.recipe.epochs)

    def train(self, epochs: float, *, looks: Sequence[float] = ()) -> bool:
        """Train for so many epochs; False where it was left at a look, after so many of them, as it leaked."""
        known, search = self.ground.known, self.ground.search
        recipe = known.recipe
        samples, epochs = self._part(epochs)
        n, before, seen = len(samples), self.trained, self.epochs
        fewer = recipe.epochs * len(known.retain) / max(epochs * n, 1e-9)  # steps than the recipe's, as many times
        rate = min(search.boost, fewer) if self.k and recipe.rule != "sgd" else 1.0
        augment = recipe.augment and not self.k  # kept outputs are of the images as they are
        recipe = replace(recipe, lr=rate * recipe.lr, seed=known.seed + 31, augment=augment)
        per = math.ceil(n / recipe.batch)
        due = {round(look * per) for look in looks}
        stream = self._stream(samples, epochs, recipe.seed)
        if self.share < 1 and epochs > 1:  # later epochs are of whole batches: fewer steps see as many samples
            epochs = 1 + (epochs - 1) * n / (per * recipe.batch)
        recipe = replace(recipe, epochs=epochs)
        for progress in training(self.top.module, samples, known.loss, recipe, stream=stream):
            self.trained = before + self.top.share * progress.cost
            self.epochs = seen + progress.cost / len(known.retain)
            if progress.step in due and progress.step < progress.total:
                self.test()
                if self.leaky:
                    return False
        return True

    def reset(self) -> None:
        """The last `RESET` layers start anew, in place: what they knew of D_f is gone at once."""
        reset_last(self.model, RESET, self.ground.known.seed + 31)

    def _part(self, epochs: float) -> tuple[Samples, float]:
        """D_r and the epochs; or a part of D_r, and all epochs, for the same cost.

        The latter where no forgotten label is in D_r and less than one epoch can be had: what is dear then are the
        kept outputs, while steps of the last layer cost next to nothing.
        """
        known, top = self.ground.known, self.top
        if epochs >= 1 or self.ground.present or not self.k:
            return top.samples, epochs
        most = known.recipe.epochs
        part = epochs * (top.share + top.below) / (top.share * most + top.below)
        n = len(known.retain)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(known.seed)).tolist()
        return Rows(top.samples, sorted(order[: max(1, int(part * n))])), most

    def _stream(self, samples: Samples, epochs: float, seed: int) -> Stream:
        """All samples once, then the least fitted: so few that they are met as often as the whole recipe would."""
        passes, least = self.ground.known.recipe.epochs - 1, self.ground.search.hardest
        self.share = 1.0 if passes <= 0 else min(1.0, max((epochs - 1) / passes, least))
        return HardStream(samples, seed, share=self.share)

    @property
    def unseen(self) -> tuple[Samples, Sequence[int]]:
        """The held-out samples that are compared, as the top reads them, and their rows."""
        return self._compared[1], self._rows[1]

    def test(self) -> None:
        """Whether D_f scores above held-out data now: `leaks`, of labels that D_r has and of those it has not."""
        self.leaks = []
        if self.ground.present and self.ground.known.heldout is not None:
            ours, theirs = self._compared
            a, b = (found.at(rows) for found, rows in zip(self.ground.traits, self._rows, strict=True))
            found = leak_of(self._losses(ours), self._losses(theirs), a, b, self.ground.search.unsure)
            self.leaks += [] if found is None else [found]
        if self.ground.absent:
            self.leaks.append(absent_leak(self._losses(self._gone)))

    @cached_property
    def _compared(self) -> tuple[Samples, Samples]:
        assert self.ground.known.heldout is not None
        ours, theirs = self._rows
        return self._read(self.ground.known.forget, ours), self._read(self.ground.known.heldout, theirs)

    @cached_property
    def _rows(self) -> tuple[Sequence[int], Sequence[int]]:
        assert self.ground.known.heldout is not None
        return self._few(self.ground.present), self._few(range(len(self.ground.known.heldout)))

    @cached_property
    def _gone(self) -> Samples:
        return self._read(self.ground.known.forget, self._few(self.ground.absent))

    def _few(self, rows: Sequence[int]) -> Sequence[int]:
        n, most = len(rows), self.ground.compared
        return rows if n <= most else [rows[i * n // most] for i in range(most)]

    def _read(self, samples: Samples, rows: Sequence[int]) -> Samples:
        self.tested += self.top.below * len(rows)
        return self.top.reads(Rows(samples, rows))

    def _losses(self, samples: Samples) -> Tensor:
        self.tested += self.top.look * len(samples)
        return sample_losses(self.top.module, samples, self.ground.known.loss)


def trial_of(ground: Ground, k: int) -> Trial:
    """The last k layers reset. Raises UserError where one of them is frozen, or the model cannot be cut."""
    model = copy.deepcopy(ground.known.model)
    for layer in last_layers(model, k):
        for name, unit in layer:
            if not all(p.requires_grad for p in unit.parameters()):
                raise UserError(f"{name}, one of the last {k} layers, is frozen, and would stay as it is reset")
    return Trial(ground, k, model, reset_top(model, ground.known.retain, k, ground.known.seed + 31, later=True))


def restart_of(ground: Ground) -> Trial:
    """All layers as they are; `reset` before they are trained."""
    model = copy.deepcopy(ground.known.model)
    return Trial(ground, 0, model, Whole(model, ground.known.retain))
