"""What the search for a head start goes by: data and budget, and how alike forget and held-out samples are."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import Module

from ..tasks import Targets
from .leak import own_targets
from .matching import Traits, traits_of
from .measuring import sample_losses
from .targets import ABSENT, labels_of
from .targets_known import Known
from .work import work


@dataclass(frozen=True)
class Search:
    """What a head start chooses from, and by which evidence.

    fixed: so many layers, whatever the evidence says (0: chosen). Otherwise 2, then 4, … up to `deepest`, while
        D_f scores above held-out data: one reset layer reads frozen features linearly, and leaked wherever
        it was measured; doubling, since each try costs the outputs of the layers below it. Where no forgotten
        label is in D_r, 1 comes first: nothing in D_r then teaches that label again.
    deepest: 2, so that the choice is between two layers and all: where so many leak, the features remember, and a
        restart of all layers is nearer to Retrain than a deeper top at the same cost, a third of a small budget of
        which the trials of deeper tops would take.
    longest: epochs of a restart, at most: a longer one learns D_r no better than the rounds will, and keeps
        more of what the lower layers remember of D_f.
    much: a restart resets the last two layers and trains all, as the recipe says. One of less than half an epoch
        is made only where the model is this much surer of D_f than of held-out images, in points: it loses as much
        of D_r, for which a model that remembers little of D_f gains nothing.
    apiece: nor is one of less than half an epoch made where the budget is so many sample-gradients for each forget
        sample: rounds forget so few of them in that time, and keep D_r.
    looks: after so many epochs on D_r a leaking top is given up for a deeper one. One that leaks much shows it by
        half an epoch, at half the cost of its features.
    level: of the one-sided test. Low, as a false alarm costs a deeper and dearer top, a leak that is missed a few
        points of confidence (of a forget set of a few dozen, tens: `Leak.found` is readier there).
    compared, testing: at most so many samples of each part are tested, and fewer where that would take more than
        about this share of the budget; so much again may be spent on how easy they are.
    ease, unsure: held-out samples are weighted until they are as easy as the forget set (`matching.traits_of`;
        False: its classes alone), or an easy forget set passes for a leak. So much of what the ease moves counts
        as a standard error of the test: where Retrain says what is right (digits by decile, benchmarks/ease.py)
        .05 to .3 of it was wrong, and pixels say less of harder images.
    shortest: a top is reset at all only where it can have so many epochs on D_r. With fewer it knows D_r and D_f
        alike little, farther from Retrain than the model was; rounds alone, from the model as it is, are nearer.
        Asked of forget sets whose labels D_r has: where it has none, one short top is enough.
    fewest: a deeper top is tried only where it can have this share of the recipe's epochs; with less it does not
        learn D_r again.
    kept: once a top has leaked, the share of what is left that goes into training the next one, or all layers; the
        rest is for the rounds that lift what still scores above held-out data.
    boost: with fewer epochs than the recipe's, Adam's rate is raised as many times, at most so much: on frozen
        features that is stable, and learns D_r sooner. Never under SGD.
    surer: the logits of a top that leaks nothing are scaled by so much of what makes it as sure of held-out images
        as the original is (`surer.made_surer`; 0: never; never down). Half: with all of it forgotten images look
        like members, since retained ones are not yet known as surely as by a Retrain.
    hardest: after one epoch a short training meets only the samples that it has fitted least (`tasks.HardStream`):
        so few that there are as many passes as the recipe's, but at least this share. RA is what it lacks.
    """

    fixed: int = 0
    looks: tuple[float, ...] = (0.5, 1.0)
    level: float = 0.005
    compared: int = 1024
    testing: float = 0.05
    shortest: float = 1.0
    fewest: float = 1 / 6
    kept: float = 0.6
    boost: float = 4.0
    deepest: int = 2
    much: float = 25.0
    apiece: float = 30.0
    longest: float = 1.25
    ease: bool = True
    unsure: float = 0.2
    hardest: float = 0.5
    surer: float = 0.5


@dataclass(frozen=True)
class Ground:
    """What all trials of one search share. budget: in sample-gradients, for the whole search and what follows it.
    Labels of D_f that D_r has not are *absent*: no held-out sample says how they look unseen.
    """

    known: Known
    budget: float
    search: Search

    @cached_property
    def _absent(self) -> Tensor:
        return ~torch.isin(labels_of(self.known.forget), labels_of(self.known.retain))

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
        theirs = 0 if self.known.heldout is None or not self.present else len(self.known.heldout)
        return sum(min(self.compared, n) for n in (len(self.present), len(self.absent), theirs))

    @property
    def sure(self) -> float:
        """What it takes to see how sure the original is of held-out images, in sample-gradients."""
        asked = self.search.surer and self.present and self.known.heldout is not None
        return min(self.compared, len(self.known.heldout)) / 3 if asked and self.known.heldout is not None else 0.0

    @cached_property
    def traits(self) -> tuple[Traits, Traits]:
        """Of the forget and of the held-out samples."""
        return self._matched[0]

    @property
    def matching(self) -> float:
        """What the traits take, in sample-gradients."""
        return self._matched[1] if self.present and self.known.heldout is not None else 0.0

    @cached_property
    def _matched(self) -> tuple[tuple[Traits, Traits], float]:
        assert self.known.heldout is not None
        unit = work(copy.deepcopy(self.known.model).requires_grad_(True), self.known.retain).both
        allowed = self.search.testing * self.budget * unit if self.search.ease else 0.0
        (ours, theirs), operations = traits_of(self.known.retain, [self.known.forget, self.known.heldout], allowed)
        return (ours, theirs), operations / unit

    def targets(self, model: Module) -> Targets:
        """Levels for what scores above held-out data under `model`: `leak.own_targets`; absent labels: ABSENT."""
        losses, cost = sample_losses(model, self.known.forget, self.known.loss), len(self.known.forget) / 3
        tau = torch.full_like(losses, ABSENT)
        if self.present and self.known.heldout is not None:
            theirs, rows = sample_losses(model, self.known.heldout, self.known.loss), torch.tensor(self.present)
            forget, heldout = self.traits
            tau[rows] = own_targets(losses[rows], theirs, forget.at(self.present), heldout)
            cost += len(self.known.heldout) / 3
        source = "held-out losses at the rank of the sample's own, both of the model that the run begins with"
        return Targets(list(torch.maximum(tau, losses)), source, cost)
