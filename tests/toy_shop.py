"""A benchmark of images so small that its models train in a moment."""

from __future__ import annotations

from pathlib import Path

import torch

from ofmu.benchmarks.vision.references import Workshop
from ofmu.benchmarks.vision.setting import Setting
from ofmu.data.images import CIFAR10_CLASSES, ImageSplits
from ofmu.engine.store import Store
from ofmu.engine.training import Recipe
from ofmu.tasks import TensorSamples


def toy_shop(folder: Path) -> Workshop:
    """Random pictures of ten classes, and a store of their own in `folder`."""
    data = ImageSplits(_part("train", 300), _part("test", 60), CIFAR10_CLASSES, (0.0,) * 3, (1.0,) * 3)
    setting = Setting("toy", "toy", "cnn", Recipe(1, 32, 4e-3), 160, 60, 40)
    return Workshop(data, setting, Store(folder / "store"), torch.device("cpu"), lambda line: None)


def _part(name: str, n: int) -> TensorSamples:
    generator = torch.Generator().manual_seed(n)
    pixels = torch.randn(n, 3, 8, 8, generator=generator)
    return TensorSamples(pixels, torch.arange(n) % 10, [f"{name}/{i}" for i in range(n)])
