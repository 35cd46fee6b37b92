"""What a start trains: the last layers over what the frozen layers below them put out, or the whole network."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn import Module

from ..tasks import Samples, TensorSamples
from .kept import KeptLater, Upper, cut, kept_outputs
from .reset import last_layers, reset_last
from .work import work


@dataclass(frozen=True)
class Top:
    """The upper part of a model whose lower layers are frozen; it shares that model's weights.

    samples: D_r as it reads them (kept outputs). Costs in sample-gradients, one forward and backward pass of one
    sample through the whole network, all of it trained, counted by `engine.work` (matrix products and
    convolutions): share is that of a training step of the top, look of a forward pass of the top, below of the
    kept outputs, (forward of the whole − forward of the top) / (forward and backward of the whole); each a sample.
    """

    whole: Module
    module: Upper
    samples: TensorSamples | KeptLater
    share: float
    below: float
    look: float

    @property
    def once(self) -> float:
        """What the kept outputs of D_r have taken."""
        rows = self.samples.done if isinstance(self.samples, KeptLater) else len(self.samples)
        return self.below * rows

    def reads(self, samples: Samples) -> TensorSamples:
        """Other samples as the top reads them, at `below` a sample."""
        return kept_outputs(self.whole, self.module, samples)


@dataclass(frozen=True)
class Whole:
    """All layers, where nothing is frozen or kept: the costs of `Top` for the network itself."""

    module: Module
    samples: Samples
    share: float = 1.0
    below: float = 0.0
    look: float = 1 / 3
    once: float = 0.0

    def reads(self, samples: Samples) -> Samples:
        """The samples themselves."""
        return samples


def reset_top(model: Module, retain: Samples, layers: int, seed: int, *, later: bool = False) -> Top:
    """Reset the last `layers` of `model` in place, freeze those below, and keep their outputs on D_r.

    The images are taken as they are: nothing is augmented. later: a sample's outputs are computed when it is first
    asked for. Raises UserError where a network cannot be cut (`engine.kept.cut`), and as `engine.reset` does.
    """
    reset_last(model, layers, seed)
    model.requires_grad_(True)
    whole = work(model, retain)
    model.requires_grad_(False)
    for layer in last_layers(model, layers):
        for _, module in layer:
            module.requires_grad_(True)
    upper = cut(model, retain)
    kept = KeptLater(model, upper, retain) if later else kept_outputs(model, upper, retain)
    top = work(upper, kept)
    if isinstance(kept, KeptLater):
        kept.done = 0  # looking at what a sample costs is not counted
    below = (whole.forward - top.forward) / whole.both
    return Top(model, upper, kept, share=top.both / whole.both, below=below, look=top.forward / whole.both)
