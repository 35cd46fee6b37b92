"""Targets: "the loss the sample would have, had it never been seen", estimated without a Retrain.

Whatever is used as unseen must be unseen: held-out data that the model was not trained on, a base model from
before the training, or a reference trained here on the retain set. Rows split from the training data are members.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import Module

from ..core.ranks import MonotoneMap, quantiles, ranks_within
from ..core.terms import Loss
from ..tasks import Batch, Samples, Targets, TensorSamples
from .measuring import sample_losses, token_losses
from .reset import reset_last
from .training import Recipe, trained

ABSENT = math.log(1e4)  # a label that no retained sample has: p(label) ≈ 1e-4, as a model that never saw it


@dataclass(frozen=True)
class Rows:
    """Some rows of a data set, as a data set."""

    samples: Samples
    rows: Sequence[int]

    @property
    def ids(self) -> Sequence[str]:
        """The stable id of every row."""
        return [self.samples.ids[row] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The samples at `rows` of this selection."""
        inner = self.samples.batch([self.rows[row] for row in rows])
        return replace(inner, rows=torch.as_tensor(list(rows), dtype=torch.int64))

    def length(self, row: int) -> int:
        """About how long a sample is."""
        return self.samples.length(self.rows[row])


def spread(samples: Samples, most: int) -> Samples:
    """At most `most` samples, evenly spread."""
    n = len(samples)
    return samples if n <= most else Rows(samples, [i * n // most for i in range(most)])


def labels_of(samples: Samples) -> Tensor:
    """int64 [n]: the classes of an image data set."""
    if isinstance(samples, TensorSamples):
        return samples.labels
    size = 256
    starts = range(0, len(samples), size)
    return torch.cat([samples.batch(range(i, min(i + size, len(samples)))).labels for i in starts])


def rank_quantile_targets(forget_losses: Tensor, heldout_losses: Tensor) -> Targets:
    """τ_i: the quantile of the original's held-out losses at the rank of its own loss on sample i."""
    tau = quantiles(ranks_within(forget_losses), heldout_losses)
    return Targets(list(tau), "held-out quantile at the rank of the original's own forget losses")


def reference_targets(
    model: Module,
    forget: Samples,
    retain: Samples,
    heldout: Samples | None,
    loss: Loss,
    recipe: Recipe,
    *,
    layers: int = 2,
    share: float = 0.1,
) -> tuple[Targets, Module]:
    """Image targets, and the short reference that they come from: a copy, its last `layers` reset, trained on D_r.

    The reference says which forget samples are hard, held-out data what that costs: u_i is the rank of sample
    i's loss under the reference among the forget samples, τ_i the u_i-quantile of the original's held-out losses.
    (Its rank among the reference's *held-out* losses would be lower: after a short training the layers that were
    not reset still remember D_f, and on a residual network more than half of τ was lost that way.) This takes the
    forget samples to be as hard as held-out ones on the whole. The reference trains for `share` of the recipe's
    epochs. Without held-out data a tenth of D_r is kept from the reference and serves as its unseen data; its own
    losses there are then the scale, since the original has none that are unseen.
    """
    recipe = replace(recipe, epochs=max(1.0, round(recipe.epochs * share)), seed=recipe.seed + 7)
    reference = copy.deepcopy(model)
    reset_last(reference, layers, recipe.seed)
    if heldout is None:
        fold = range(0, len(retain), 10)
        kept = [row for row in range(len(retain)) if row % 10]
        unseen: Samples = Rows(retain, fold)
        cost = trained(reference, Rows(retain, kept), loss, recipe)
        scale = sample_losses(reference, unseen, loss)
        source = "out-of-fold losses of a short reference trained on nine tenths of the retain set"
    else:
        unseen = heldout
        cost = trained(reference, retain, loss, recipe)
        scale = sample_losses(model, unseen, loss)
        source = "held-out quantile at the rank by a short reference trained on the retain set"
    u = ranks_within(sample_losses(reference, forget, loss))
    cost += (len(forget) + len(unseen)) / 3
    source += f" (last {layers} layers reset, {recipe.epochs:g} epochs)"
    return Targets(list(quantiles(u, scale)), source, cost), reference


def with_absent_labels(targets: Targets, forget_labels: Tensor, retain_labels: Tensor) -> Targets:
    """Targets where a label that no retained sample has gets the constant ABSENT: it can't be predicted at all."""
    present = set(retain_labels.unique().tolist())
    values = [
        tau if label in present else torch.tensor(ABSENT)
        for tau, label in zip(targets.values, forget_labels.tolist(), strict=True)
    ]
    return replace(targets, values=values)


def absent_targets(n: int) -> Targets:
    """Every target is ABSENT: the whole forget set carries labels that no retained sample has."""
    return Targets([torch.tensor(ABSENT)] * n, "labels absent from the retain set: probability 1e-4")


def constant_token_targets(model: Module, rows: int, heldout: Samples, loss: Loss) -> Targets:
    """Text, held-out data alone: every token's target is the original's mean held-out token loss."""
    level = torch.cat(token_losses(model, heldout, loss)).mean()
    return Targets([level] * rows, "the original's mean token loss on held-out text", len(heldout) / 3)


def base_token_targets(
    model: Module, base: Module, forget: Samples, heldout: Samples | None, loss: Loss
) -> Targets:
    """Text, with the model from before fine-tuning: each token's loss under it, through a monotone map.

    The map is fitted on held-out text: base token loss → the fine-tuned model's loss on the same unseen token.
    Without held-out text the base model's own losses are the targets.
    """
    old = token_losses(base, forget, loss)
    if heldout is None:
        return Targets(old, "the base model's own token losses", len(forget) / 3)
    mapping = MonotoneMap(
        torch.cat(token_losses(base, heldout, loss)), torch.cat(token_losses(model, heldout, loss))
    )
    source = "the base model's token losses, mapped to the fine-tuned model's level on held-out text"
    return Targets([mapping(tokens) for tokens in old], source, (len(forget) + 2 * len(heldout)) / 3)


def short_token_targets(
    model: Module,
    begin: Callable[[int], Module],
    forget: Samples,
    retain: Samples,
    heldout: Samples | None,
    loss: Loss,
    recipe: Recipe,
    *,
    mapped: bool = False,
) -> tuple[Targets, Module]:
    """Text: the token losses of a model that begins as `begin(seed)` and learns D_r by `recipe`; and that model.

    So short a training leaves every unseen token too likely. Held-out text says by how much: the losses are
    multiplied by what an unseen token costs the original there, over what it costs the reference; or `mapped`, as
    those of a base model are. Without held-out text they are the reference's own.
    """
    reference = begin(recipe.seed)
    cost = trained(reference, retain, loss, recipe)
    reference.requires_grad_(False)
    scaled = heldout is not None and not mapped
    targets = base_token_targets(model, reference, forget, None if scaled else heldout, loss)
    source = f"token losses of a short reference trained on the retain set ({recipe.epochs:g} epochs)"
    if heldout is not None:
        source += f", {'scaled' if scaled else 'mapped'} to the model's level on held-out text"
    values = targets.values
    if scaled and heldout is not None:
        level, short = (torch.cat(token_losses(m, heldout, loss)).mean() for m in (model, reference))
        values = [tokens * (level / short) for tokens in values]
        cost += 2 * len(heldout) / 3
    return Targets(values, source, targets.cost + cost), reference
