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

from ..core.terms import Loss
from ..errors import UserError
from ..tasks import Samples, Targets
from .heads import Top, Whole, reset_top
from .leak import Leak, absent_leak, leak_of, own_targets
from .measuring import sample_losses
from .reset import last_layers
from .targets import ABSENT, Rows, labels_of
from .training import Recipe, training


@dataclass(frozen=True)
class Search:
    """What a head start chooses from, and by which evidence.

    fixed: so many layers, whatever the evidence says (0: chosen). Otherwise 2, 4, … up to `deepest` are tried
        while D_f scores above held-out data: one reset layer reads frozen features linearly, and leaked wherever
        it was measured; doubling, since each try costs the outputs of the layers below it. Where no forgotten
        label is in D_r, 1 comes first: nothing in D_r then teaches that label again.
    deepest: where so many leak, the features remember, and a restart of all layers is nearer to Retrain than a
        deeper top at the same cost, a third of a small budget of which the trials of deeper tops would take.
    restart: it trains all layers as they are, none reset, at up to so many times Adam's rate, 1 + epochs times in
        short ones (once under SGD): too fast for what single samples taught to survive, slow enough to learn D_r
        again.
    looks: after so many epochs on D_r a leaking top is given up for a deeper one. One that leaks much shows it by
        half an epoch, at half the cost of its features.
    level: of the one-sided test. Low, as a false alarm costs a deeper and dearer top, a leak that is missed a few
        points of confidence.
    compared, testing: at most so many samples of each part are tested, and fewer where that would take more than
        about this share of the budget.
    fewest: a deeper top is tried only where it can have this share of the recipe's epochs; with less it does not
        learn D_r again.
    kept: once a top has leaked, the share of what is left that goes into training the next one, or all layers; the
        rest is for the rounds that lift what still scores above held-out data.
    boost: with fewer epochs than the recipe's, Adam's rate is raised as many times, at most so much: on frozen
        features that is stable, and learns D_r sooner. Never under SGD.
    """

    fixed: int = 0
    looks: tuple[float, ...] = (0.5, 1.0)
    level: float = 0.005
    compared: int = 1024
    testing: float = 0.05
    fewest: float = 1 / 6
    kept: float = 0.6
    boost: float = 4.0
    deepest: int = 2
    restart: float = 3.0


@dataclass(frozen=True)
class Ground:
    """What all trials of one search share. budget: in sample-gradients, for the whole search and what follows it.
    Labels of D_f that D_r has not are *absent*: no held-out sample says how they look unseen.
    """

    model: Module
    forget: Samples
    retain: Samples
    heldout: Samples | None
    loss: Loss
    recipe: Recipe
    seed: int
    budget: float
    search: Search

    @cached_property
    def _absent(self) -> Tensor:
        return ~torch.isin(labels_of(self.forget), labels_of(self.retain))

    @cached_property
    def absent(self) -> list[int]:
        """Rows of D_f whose label D_r has not."""
        return self._absent.nonzero().flatten().tolist()

    @cached_property
    def present(self) -> list[int]:
        """The other rows of D_f."""
        return (~self._absent).nonzero().flatten().tolist()

    @property
    def compared(self) -> int:
        """Samples of each part that a test is made on."""
        few = self.search.testing * self.budget
        return self.search.compared if few > self.search.compared else max(128, int(few))

    @property
    def tested(self) -> int:
        """Samples that one test looks at."""
        theirs = 0 if self.heldout is None or not self.present else len(self.heldout)
        return sum(min(self.compared, n) for n in (len(self.present), len(self.absent), theirs))

    def targets(self, model: Module) -> Targets:
        """Levels for what scores above held-out data under `model`: `leak.own_targets`; absent labels: ABSENT."""
        losses, cost = sample_losses(model, self.forget, self.loss), len(self.forget) / 3
        tau = torch.full_like(losses, ABSENT)
        if self.present and self.heldout is not None:
            theirs, rows = sample_losses(model, self.heldout, self.loss), torch.tensor(self.present)
            labels = labels_of(self.forget)[rows], labels_of(self.heldout)
            tau[rows] = own_targets(losses[rows], theirs, *labels)
            cost += len(self.heldout) / 3
        source = "held-out losses at the rank of the sample's own, both of the model that the run begins with"
        return Targets(list(torch.maximum(tau, losses)), source, cost)

    def trial(self, k: int) -> Trial:
        """The last k layers reset. Raises UserError where one of them is frozen, or the model cannot be cut."""
        model = copy.deepcopy(self.model)
        for layer in last_layers(model, k):
            for name, unit in layer:
                if not all(p.requires_grad for p in unit.parameters()):
                    raise UserError(
                        f"{name}, one of the last {k} layers, is frozen, and would stay as it is reset"
                    )
        return Trial(self, k, model, reset_top(model, self.retain, k, self.seed + 31, later=True))

    def whole(self) -> Trial:
        """All layers as they are."""
        model = copy.deepcopy(self.model)
        return Trial(self, 0, model, Whole(model, self.retain))


@dataclass
class Trial:
    """k: layers that were reset (0: none, and all are trained). trained, tested: what training steps and tests
    took, in sample-gradients; epochs: how many D_r was seen.
    """

    ground: Ground
    k: int
    model: Module
    top: Top | Whole
    trained: float = 0.0
    tested: float = 0.0
    epochs: float = 0.0
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
        top, n, tests = self.top, len(self.ground.retain), 1 + len(self.ground.search.looks)
        rest = samples - self.ground.tested * (top.below + tests * top.look)
        features = top.below * n - top.once
        rest, first = max(rest, 0.0), top.share * n + features
        epochs = rest / first if rest < first else (rest - features) / (top.share * n)
        return min(epochs, self.ground.recipe.epochs)

    def train(self, epochs: float, *, looks: Sequence[float] = ()) -> bool:
        """Train for so many epochs; False where it was left at a look, after so many of them, as it leaked."""
        recipe, search = self.ground.recipe, self.ground.search
        most, more = (search.boost, recipe.epochs / max(epochs, 1e-9)) if self.k else (search.restart, 1 + epochs)
        rate = 1.0 if recipe.rule == "sgd" else min(most, more)
        augment = recipe.augment and not self.k  # kept outputs are of the images as they are
        recipe = replace(recipe, epochs=epochs, lr=rate * recipe.lr, seed=self.ground.seed + 31, augment=augment)
        per, before, seen = math.ceil(len(self.ground.retain) / recipe.batch), self.trained, self.epochs
        due = {round(look * per) for look in looks}
        for progress in training(self.top.module, self.top.samples, self.ground.loss, recipe):
            self.trained = before + self.top.share * progress.cost
            self.epochs = seen + progress.step / per
            if progress.step in due and progress.step < progress.total:
                self.test()
                if self.leaky:
                    return False
        return True

    def test(self) -> None:
        """Whether D_f scores above held-out data now: `leaks`, of labels that D_r has and of those it has not."""
        self.leaks = []
        if self.ground.present and self.ground.heldout is not None:
            ours, theirs = self._compared
            found = leak_of(self._losses(ours), self._losses(theirs), labels_of(ours), labels_of(theirs))
            self.leaks += [] if found is None else [found]
        if self.ground.absent:
            self.leaks.append(absent_leak(self._losses(self._gone)))

    @cached_property
    def _compared(self) -> tuple[Samples, Samples]:
        assert self.ground.heldout is not None
        rows, most = range(len(self.ground.heldout)), self.ground.compared
        return (
            self._read(self.ground.forget, self.ground.present, most),
            self._read(self.ground.heldout, rows, most),
        )

    @cached_property
    def _gone(self) -> Samples:
        return self._read(self.ground.forget, self.ground.absent, self.ground.compared)

    def _read(self, samples: Samples, rows: Sequence[int], most: int) -> Samples:
        few = rows if len(rows) <= most else [rows[i * len(rows) // most] for i in range(most)]
        self.tested += self.top.below * len(few)
        return self.top.reads(Rows(samples, few))

    def _losses(self, samples: Samples) -> Tensor:
        self.tested += self.top.look * len(samples)
        return sample_losses(self.top.module, samples, self.ground.loss)
