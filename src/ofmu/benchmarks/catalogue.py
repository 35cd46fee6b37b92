"""The benchmarks by name. Each is imported when it is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..report.model import Page

Say = Callable[[str], None]
Benchmark = Callable[[Path, int, bool, Say], Page]  # (out, seeds, smoke, say)


def _cifar(out: Path, seeds: int, smoke: bool, say: Say) -> Page:
    from .cifar import run_cifar

    return run_cifar(out, seeds, smoke, say)


BENCHMARKS: dict[str, Benchmark] = {
    "cifar10-ci": _cifar,
}
