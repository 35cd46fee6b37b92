"""The benchmarks by name; each module is imported when its benchmark runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..report.model import Page


def _tofu_smollm2(out: Path, seeds: int, smoke: bool, say: Callable[[str], None]) -> Page:
    from .tofu import tofu_smollm2

    return tofu_smollm2(out, seeds, smoke, say)


# name -> (folder to write, seeds, smoke: the smallest form, where progress is told) -> the page
BENCHMARKS: dict[str, Callable[..., Page]] = {
    "tofu-smollm2": _tofu_smollm2,
}
