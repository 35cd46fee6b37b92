"""`ofmu demo` and `ofmu bench`: benchmarks that end in one page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ofmu.cli.exits import DONE, OURS
from ofmu.cli.loading import check_place
from ofmu.cli.places import folder_to_refresh
from ofmu.cli.say import note
from ofmu.cli.tofu_options import TofuOptions
from ofmu.engine.trainable import parse_trainable
from ofmu.errors import UserError
from ofmu.report.model import Page
from ofmu.report.page import write_page
from ofmu.report.scores import write_scores
from ofmu.report.table import print_scores

if TYPE_CHECKING:
    from ofmu.benchmarks.pareto.bench import Plan
    from ofmu.benchmarks.targets.bench import Plan as TargetPlan
    from ofmu.benchmarks.vision.bench import VisionOptions


def demo(out: Path, seeds_image: int, seeds_text: int, jobs: int) -> int:
    """Run the demo and write page, scores and picture."""
    from ofmu.benchmarks.demo import run_demo
    from ofmu.report.picture import demo_picture

    for name, count in (("--seeds-image", seeds_image), ("--seeds-text", seeds_text), ("--jobs", jobs)):
        if count < 1:
            raise UserError(f"{name}: found {count}, expected at least 1")
    out = folder_to_refresh(out)
    page = run_demo(out, seeds_image=seeds_image, seeds_text=seeds_text, jobs=jobs, say=note)
    _write(out, page)
    demo_picture(page, out / "picture.png")
    return DONE


def bench(name: str | None, out: Path, seeds: int, smoke: bool, options: VisionOptions) -> int:
    """Run one benchmark, or with `smoke` and no name one of every kind in its smallest form."""
    from ofmu.benchmarks.catalogue import BENCHMARKS, SMOKED, VISION, vision

    _check_bench(name, seeds, smoke, options)
    names = [name] if name is not None else SMOKED
    folders = {chosen: folder_to_refresh(out / chosen) for chosen in names}
    broken: list[str] = []
    for chosen, folder in folders.items():
        note(f"{chosen}: {seeds} seeds" if not smoke else f"{chosen}: smoke")
        try:
            run = vision(chosen, options) if chosen in VISION else BENCHMARKS[chosen]
            page = run(folder, seeds, smoke, note)
        except UserError as error:
            if name is not None:
                raise
            note(f"{chosen}: skipped, {error}")  # a smoke run of everything goes as far as the data here allow
            continue
        _write(folder, page)
        broken += [f"{chosen}, {method}: {why}" for method, why in _unmeasured(page).items()] if smoke else []
    return _told(broken)


def _told(broken: Sequence[str]) -> int:
    """The exit code of a smoke run, after saying where it measured nothing."""
    for line in broken:
        note(f"nothing was measured: {line}")
    return OURS if broken else DONE


def _unmeasured(page: Page) -> dict[str, str]:
    """The methods that have no number at all, and why: what a smoke run is there to find."""
    found = {row.method: row.missing or "it has no rows" for row in page.rows if row.value is None}
    measured = {row.method for row in page.rows if row.value is not None}
    return {method: why for method, why in found.items() if method not in measured}


def _check_bench(name: str | None, seeds: int, smoke: bool, options: VisionOptions) -> None:
    from ofmu.benchmarks.catalogue import BENCHMARKS, VISION
    from ofmu.benchmarks.vision.bench import VisionOptions

    if name is None and not smoke:
        raise UserError(f"bench: expected the name of a benchmark, one of {', '.join(BENCHMARKS)} (or --smoke)")
    if name is not None and name not in BENCHMARKS:
        near = get_close_matches(name, BENCHMARKS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"bench: found {name!r}; {hint}Benchmarks: {', '.join(BENCHMARKS)}")
    if seeds < 1:
        raise UserError(f"--seeds: found {seeds}, expected at least 1")
    if options != VisionOptions() and name not in VISION:
        raise UserError(
            "--forget, --model, --methods, --scale, --trials, --ensemble, --data, --size, --seed-numbers: "
            f"only for the benchmarks {', '.join(VISION)}"
        )


def tofu(options: TofuOptions) -> int:
    """Run the TOFU benchmark as it was asked for."""
    from ofmu.benchmarks.tofu import method_names, run_tofu, smoke_tofu
    from ofmu.benchmarks.tofu_choice import USUAL, Choice, Plan

    for name, count, least in (("--seeds", options.seeds, 1), ("--trials", options.trials, 0)):
        if count < least:
            raise UserError(f"{name}: found {count}, expected at least {least}")
    if options.budget is not None and not 0 < options.budget < math.inf:
        raise UserError(f"--budget: found {options.budget:g}, expected a number of gradients above 0")
    if options.trainable is not None:
        parse_trainable(options.trainable)
    for name, given in (("--original", options.original), ("--retrain", options.retrain)):
        check_place(given, name)
    out = folder_to_refresh(options.out)
    if options.smoke:
        page = smoke_tofu(out, 1, note)
        _write(out, page)
        return _told([f"tofu, {method}: {why}" for method, why in _unmeasured(page).items()])
    names = USUAL if options.methods is None else method_names(options.methods)
    numbers, settings = _numbers(options.seed_numbers or ()), _results(options.settings, names)
    plan = Plan(names, options.seeds, options.trials, _command(options), numbers, settings)
    asked = options.split, options.model, options.trainable, options.keep, options.budget
    choice = Choice(*asked, options.original, options.retrain)
    _write(out, run_tofu(out, choice, plan, note, options.store))
    return DONE


def pareto(plan: Plan, out: Path) -> int:
    """Run the benchmark of quality against cost."""
    from ofmu.benchmarks.pareto.bench import run_pareto

    out = folder_to_refresh(out)
    _write(out, run_pareto(out, plan, note))
    return DONE


def targets(plan: TargetPlan, out: Path) -> int:
    """Run the benchmark of sources of targets."""
    from ofmu.benchmarks.targets.bench import run_targets

    out = folder_to_refresh(out)
    _write(out, run_targets(out, plan, note))
    return DONE


def _numbers(given: Sequence[int]) -> tuple[int, ...]:
    """Seeds as they are given. UserError for one that is negative or there twice."""
    for seed in given:
        if seed < 0 or given.count(seed) > 1:
            raise UserError(
                f"--seed-numbers: found {seed} in {' '.join(map(str, given))}, expected each once, from 0 on"
            )
    return tuple(given)


def _results(file: Path | None, names: Sequence[str]) -> Path | None:
    """The file, which says of every method how it was tuned: else UserError, before anything is made."""
    from ofmu.benchmarks.tofu_tuning import recorded
    from ofmu.methods import build_method

    if file is not None:
        for name in names:
            recorded(file, name, build_method(name, "text"))
    return file


def _command(options: TofuOptions) -> str:
    """What to type for the same numbers: all that was given but where to write."""
    left_out = {"out", "store", "smoke"}
    left_out |= {"trials"} if options.settings is not None else set()
    left_out |= {"seeds"} if options.seed_numbers else set()
    given = {field.name: getattr(options, field.name) for field in fields(options) if field.name not in left_out}
    words = [f"--{name.replace('_', '-')} {_typed(value)}" for name, value in given.items() if value is not None]
    return " ".join(["ofmu bench tofu", *words])


def _typed(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _write(out: Path, page: Page) -> None:
    costs = [cost for task in page.tasks for cost in task.costs]
    write_scores(out / "scores.json", page.rows, {"costs": [asdict(cost) for cost in costs]})
    write_page(out / "report.html", page)
    print_scores(page.rows, costs, Console())
    for sentence in page.verdict:
        print(sentence)
    print(f"{out}: report.html, scores.json")
