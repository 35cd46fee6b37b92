"""Fashion-MNIST's ten classes in five coarse ones, so that a model can forget a fine class of a coarse one."""

from __future__ import annotations

from pathlib import Path

import torch

from ofmu.data.images import ImageSplits, load_fashion

GROUPS = ("top", "trouser", "dress", "footwear", "bag")
# coarse class of T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot
COARSE = (0, 1, 0, 2, 0, 3, 0, 3, 4, 3)


def load_fashion_coarse(root: str | Path | None = None) -> ImageSplits:
    """`load_fashion` with labels of `GROUPS`; `fine` holds the ten classes. A forgotten sneaker stays footwear.

    Trouser, dress and bag are groups of their own: to forget one of them is to forget a coarse class.
    """
    made = load_fashion(root)
    fine = (made.train.labels, made.test.labels)
    coarse = torch.tensor(COARSE)
    for part in (made.train, made.test):
        part.labels = coarse[part.labels]
    return ImageSplits(made.train, made.test, GROUPS, made.mean, made.std, fine)
