"""Made-up numbers on which the authors' own image code ran once; test_golden_images.py holds what it said.

Drawn with `random`, whose stream is the same on every machine and version; six digits.
"""

from __future__ import annotations

import random

CLASSES = 4
SHAPES = ((3, 4), (5,), (2, 3))  # of a made-up model's parameters


def numbers(seed: int, n: int, low: float = 0.0, high: float = 1.0) -> list[float]:
    """n numbers in [low, high]."""
    draw = random.Random(seed)
    return [round(draw.uniform(low, high), 6) for _ in range(n)]


def confidences() -> tuple[list[float], list[float], list[float]]:
    """True-label confidences of retained, test and forgotten images: 30, 30 and 16."""
    return numbers(1, 30, 0.5, 1.0), numbers(2, 30, 0.1, 0.9), numbers(3, 16, 0.2, 1.0)


def parameters(seed: int, low: float, high: float) -> list[list[float]]:
    """A flat list for each of `SHAPES`."""
    sizes = [rows * (more[0] if more else 1) for rows, *more in SHAPES]
    return [numbers(seed + k, size, low, high) for k, size in enumerate(sizes)]
