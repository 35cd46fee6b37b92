"""Sources of targets for images: what says how hard an unseen sample would be.

V and F below are the numbers of held-out and forget samples, a forward pass is 1/3 of a sample-gradient. What
looks at held-out samples one by one is in `targets_neighbours`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

from torch.nn import Module

from ..core.ranks import quantiles, ranks_within
from ..tasks import Targets
from .heads import reset_top
from .measuring import sample_losses
from .reset import parameterised_layers, reset_last
from .targets import (
    absent_targets,
    labels_of,
    rank_quantile_targets,
    reference_targets,
    with_absent_labels,
)
from .targets_known import Known, Made, Source
from .training import trained


@dataclass(frozen=True)
class Constant:
    """τ_i = the original's mean held-out loss. Cost: V/3."""

    def __call__(self, known: Known) -> Made:
        """The same for every sample: it knows how hard unseen data are, and not which."""
        unseen = known.unseen("constant")
        level = sample_losses(known.model, unseen, known.loss).mean()
        values = [level] * len(known.forget)
        return Targets(values, "the original's mean held-out loss", len(unseen) / 3), None


@dataclass(frozen=True)
class RankQuantile:
    """τ_i = the held-out quantile at the rank of the original's own loss on sample i. Cost: (V + F)/3.

    The original's losses on D_f are those of members: their order is what memorisation left of it.
    """

    def __call__(self, known: Known) -> Made:
        """See `rank_quantile_targets`."""
        unseen = known.unseen("rank-quantile")
        own, held = (sample_losses(known.model, part, known.loss) for part in (known.forget, unseen))
        return replace(rank_quantile_targets(own, held), cost=(len(known.forget) + len(unseen)) / 3), None


@dataclass(frozen=True)
class Reset:
    """The last `layers` of a copy are reset, it is trained on D_r for `share` of the epochs, and ranks D_f.

    τ_i = the original's held-out quantile at that rank (`reference_targets`): the default. Cost: share of a
    retraining, + (V + F)/3.
    """

    layers: int = 2
    share: float = 0.1

    def __call__(self, known: Known) -> Made:
        """See `reference_targets`."""
        recipe = replace(known.recipe, seed=known.seed)
        parts = known.forget, known.retain, known.heldout
        return reference_targets(known.model, *parts, known.loss, recipe, layers=self.layers, share=self.share)


@dataclass(frozen=True)
class Scratch:
    """A new model trained on D_r for `share` of the epochs. Cost: share of a retraining, + F/3, ranked also V/3.

    ranked: it gives the order alone, the original's held-out losses the level, as in `Reset`. Otherwise
    τ_i = its own loss, which is that of a model that learned less.
    """

    share: float = 0.1
    ranked: bool = True

    def __call__(self, known: Known) -> Made:
        """The short reference is returned with its targets."""
        recipe = known.short(self.share)
        if known.fresh is not None:
            model = known.fresh(recipe.seed)
        else:
            model = copy.deepcopy(known.model)
            reset_last(model, len(parameterised_layers(model)), recipe.seed)
        cost = trained(model, known.retain, known.loss, recipe)
        words = f"a reference trained from scratch on the retain set ({recipe.epochs:g} epochs)"
        return _read(known, model, cost, words, "reference", self.ranked), model


@dataclass(frozen=True)
class Head:
    """The last `layers` are reset and trained for `share` of the epochs over the kept outputs of the frozen ones.

    τ_i = the new head's own loss, or (ranked) the original's held-out quantile at its rank. The cheap long
    training of a reference: what frozen layers still remember of D_f stays. Cost: the kept outputs, and the share
    of a training step that the head takes, by `engine.work`; + F/3, ranked also V/3.
    """

    layers: int = 2
    share: float = 1.0
    ranked: bool = False

    def __call__(self, known: Known) -> Made:
        """Raises UserError where a network cannot be cut (`engine.heads.reset_top`)."""
        recipe = replace(known.short(self.share), augment=False)
        model = copy.deepcopy(known.model)
        top = reset_top(model, known.retain, self.layers, recipe.seed)
        cost = top.once + top.share * trained(top.module, top.samples, known.loss, recipe)
        model.requires_grad_(True)
        words = f"the last {self.layers} layers, trained anew on the retain set ({recipe.epochs:g} epochs)"
        return _read(known, model, cost, words, "head", self.ranked), model


@dataclass(frozen=True)
class Absent:
    """−log 1e-4 for labels that no retained sample has, which cannot be predicted at all; `others` for the rest.

    Where the whole forget set carries such labels nothing else is asked, and nothing is spent.
    """

    others: Source = Reset()

    def __call__(self, known: Known) -> Made:
        """See `with_absent_labels`."""
        gone, kept = labels_of(known.forget), labels_of(known.retain)
        if not set(gone.tolist()) & set(kept.tolist()):
            return absent_targets(len(known.forget)), None
        targets, model = self.others(known)
        return with_absent_labels(targets, gone, kept), model


def _read(known: Known, model: Module, cost: float, words: str, source: str, ranked: bool) -> Targets:
    """A reference's own losses on D_f, or the original's held-out quantiles at their ranks."""
    losses, cost = sample_losses(model, known.forget, known.loss), cost + len(known.forget) / 3
    if not ranked:
        return Targets(list(losses), f"the loss of {words}", cost)
    unseen = known.unseen(source)
    held = sample_losses(known.model, unseen, known.loss)
    values = list(quantiles(ranks_within(losses), held))
    return Targets(values, f"held-out quantile at the rank by {words}", cost + len(unseen) / 3)
