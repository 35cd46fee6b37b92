"""The benchmarks by name; each module is imported when its benchmark runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..report.model import Page

if TYPE_CHECKING:
    from .vision.bench import VisionOptions

Say = Callable[[str], None]
Benchmark = Callable[[Path, int, bool, Say], Page]  # (folder to write, seeds, smoke: the smallest form, progress)


def vision(name: str, options: VisionOptions | None = None) -> Benchmark:
    """A benchmark of images by its name, with what was asked beyond seeds (None: presets, not tuned)."""

    def run(out: Path, seeds: int, smoke: bool, say: Say) -> Page:
        from .vision.bench import VisionOptions, run_vision

        return run_vision(name, out, seeds, smoke, say, options or VisionOptions())

    return run


def _tofu(out: Path, seeds: int, smoke: bool, say: Say) -> Page:
    from .tofu import run_tofu, smoke_tofu
    from .tofu_choice import Choice, Plan

    return smoke_tofu(out, 1, say) if smoke else run_tofu(out, Choice(), Plan(seeds=seeds), say)


def _planted(out: Path, seeds: int, smoke: bool, say: Say) -> Page:
    from .planted import run_planted

    return run_planted(out, seeds, smoke, say)


def _probes(out: Path, seeds: int, smoke: bool, say: Say) -> Page:
    from .probed import run_probed

    return run_probed(out, seeds, smoke, say)


def _pareto(out: Path, seeds: int, smoke: bool, say: Say) -> Page:
    from .pareto.bench import Plan, run_pareto

    return run_pareto(out, Plan(seeds=seeds, smoke=smoke), say)


def _targets(out: Path, seeds: int, smoke: bool, say: Say) -> Page:
    from .targets.bench import Plan, run_targets

    return run_targets(out, Plan(seeds=seeds, smoke=smoke), say)


VISION = ("digits", "fashion", "cifar10", "cifar100", "cifar10-ci", "images")
BENCHMARKS: dict[str, Benchmark] = {
    **{name: vision(name) for name in VISION},
    "tofu": _tofu,
    "planted": _planted,
    "probes": _probes,
    "pareto": _pareto,
    "targets": _targets,
}
# what `--smoke` without a name runs: every pipeline, images on embedded and on real data
SMOKED = ("digits", "cifar10-ci", "tofu", "planted", "probes", "pareto", "targets")
