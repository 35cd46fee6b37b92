"""Settings that papers or their code print, for who repeats their protocol: not what our presets use."""

from __future__ import annotations

from ..losses import NLL
from .base import Descent, Method
from .dampening import SSD
from .relabel import RandomLabels
from .saliency import SalUn
from .scalarised import Scalarised
from .scrub import Scrub

# salun: the README of the authors' code: ResNet-18 trained for 182 epochs with SGD on CIFAR-10, a random tenth, 10
# epochs, batches of 256. scrub: settings that go round with the authors' code: 3 epochs, batches of 128 (D_r) and
# 32 (D_f), SGD or Adam. ssd: the paper, for forget sets below a tenth. The loop around them is ours, and
# docs/vision.md says what differs: passes, batches, augmentation.
PUBLISHED: dict[str, Method] = {
    "salun": SalUn(Scalarised(RandomLabels(), NLL(), Descent("sgd", 0.013, momentum=0.9)), share=0.5),
    "scrub": Scrub(Descent("adamw", 5e-4), alpha=0.001, gamma=0.99, rounds=2),
    "ssd": SSD(alpha=10.0, strength=1.0),
}
