"""`ofmu bench targets`: every source on every seed, beside the ceiling that a second Retrain sets."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...data.forget_request import parse_forget
from ...engine.store import Store, default_root
from ...engine.targets_named import DEFAULT, SOURCES
from ...errors import UserError
from ...report.model import FLOOR, ORIGINAL, REFERENCES, RETRAIN, Page, TaskSection
from ..paired import Difference, differences
from ..pareto.ground import seeds_after
from ..results import write_results
from ..study import Cell, Spent, environment, in_one_thread, machine, section
from ..tofu_choice import Choice, smoke_setting, tofu_setting
from ..tofu_models import ONE_MINUTE
from ..vision.bench import workshop
from ..vision.setting import NAMES, setting_of, smallest
from .grounds import Ground, ImageGround, TextGround, estimate, unit
from .measure import CONFIDENCE, ERROR, RANK, missing_rows, target_rows

NAME, TEXT = "targets", "llama"
SHOWN = (RANK, ERROR, CONFIDENCE)  # what the sentences are about
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """data: names of the vision benchmark, or "llama"; forget: image requests; sources: empty for all."""

    data: tuple[str, ...] = ("digits", "fashion", "cifar10", TEXT)
    forget: tuple[str, ...] = ("random:0.1",)
    sources: tuple[str, ...] = ()
    seeds: int = 3
    smoke: bool = False

    @property
    def command(self) -> str:
        """What to type to get the same."""
        words = ["ofmu bench", NAME, f"--data {' '.join(self.data)}", f"--forget {' '.join(self.forget)}"]
        words += [f"--sources {' '.join(self.sources)}"] if self.sources else []
        return " ".join([*words, "--smoke" if self.smoke else f"--seeds {self.seeds}"])


def check(plan: Plan) -> None:
    """UserError for what cannot be run, before anything is loaded."""
    unknown = [name for name in plan.data if name not in (*NAMES, TEXT)]
    if unknown or not plan.data or len(set(plan.data)) != len(plan.data):
        found = ", ".join(unknown or plan.data) or "nothing"
        raise UserError(f"--data: found {found}; expected some of {', '.join(NAMES)}, {TEXT}, each once")
    kinds = {"text" if name == TEXT else "image" for name in plan.data}
    there = sorted({name for kind, sources in SOURCES.items() if kind in kinds for name in sources})
    strange = [name for name in plan.sources if name not in there]
    if strange:
        raise UserError(f"--sources: found {', '.join(strange)}; expected some of {', '.join(there)}")
    if plan.seeds < 1:
        raise UserError(f"--seeds: found {plan.seeds}, expected at least 1")


def run_targets(out: Path, plan: Plan, say: Say) -> Page:
    """All sources on all seeds; `out` gets targets.md and targets.json after every seed.

    Models and estimates are kept in the store. smoke: one seed of the smallest form, in a store of its own. Raises
    UserError where the plan or the data cannot be had.
    """
    if plan.smoke:
        data = ("digits",) if plan.data == Plan().data else plan.data
        plan = replace(plan, data=data, seeds=1)
    check(plan)
    with in_one_thread() if not torch.cuda.is_available() else nullcontext():
        if not plan.smoke:
            return _run(out, plan, Store(default_root(os.environ)), say)
        with tempfile.TemporaryDirectory() as folder:
            return _run(out, plan, Store(Path(folder) / "store"), say)


def _run(out: Path, plan: Plan, store: Store, say: Say) -> Page:
    grounds = list(grounds_of(plan, store, say))
    cells: dict[str, list[Cell]] = {ground.name: [] for ground in grounds}
    for seed in range(plan.seeds):
        for place, ground in enumerate(grounds):
            cells[ground.name].append(_cell(ground, seed, plan.sources, say))
            later = [f"seed {seed} of {other.name}" for other in grounds[place + 1 :]]
            later += seeds_after(seed, plan.seeds)
            page = page_of(grounds, cells, plan.command, "; ".join(later))
            write_results(out, NAME, page)
    return page


def grounds_of(plan: Plan, store: Store, say: Say) -> Sequence[Ground]:
    """The tasks of a plan, in their order."""
    made: list[Ground] = []
    for data in plan.data:
        if data == TEXT:
            setting, _ = smoke_setting() if plan.smoke else tofu_setting(Choice(model=ONE_MINUTE), store)
            made.append(TextGround(setting, store))
            continue
        setting_ = setting_of(data, "cpu")
        setting_ = smallest(setting_) if plan.smoke else setting_
        for text in plan.forget:
            request = parse_forget(text)
            made.append(ImageGround(workshop(setting_, request, store, say), request))
    return made


def _cell(ground: Ground, seed: int, asked: Sequence[str], say: Say) -> Cell:
    """One seed: the original and the second Retrain as estimates of Retrain's losses, and every source."""
    seeded, cell = ground.seeded(seed), Cell(seed)
    gold = seeded.losses(RETRAIN)
    cell.spent += [replace(spent, method=name) for name, spent in seeded.spent.items()]
    for name in (ORIGINAL, FLOOR):
        cell.rows += target_rows(ground.name, name, seed, seeded.losses(name), gold)
    for name in SOURCES[ground.kind]:
        if asked and name not in asked:
            continue
        try:
            found = estimate(ground, seeded, name, seed)
        except UserError as error:  # a source that cannot be asked here stops no other
            cell.rows += missing_rows(ground.name, name, seed, str(error))
            continue
        cell.rows += target_rows(ground.name, name, seed, found.tau, gold)
        cell.spent.append(Spent(name, found.cost, found.seconds, found.cost))
        say(f"{ground.name}, seed {seed}: {name}, {found.words}")
    return cell


def page_of(grounds: Sequence[Ground], cells: dict[str, list[Cell]], command: str, left: str) -> Page:
    """The page of what there is; left: what is still missing, in words."""
    tasks = [_section(ground, cells[ground.name]) for ground in grounds if cells[ground.name]]
    verdict = [f"Not finished. Missing: {left}."] if left else []
    for ground, task in zip((g for g in grounds if cells[g.name]), tasks, strict=True):
        default = DEFAULT[ground.kind]
        if not any(row.method == default and row.value is not None for row in task.rows):
            default = "reference"  # text without a model from before the training
        verdict += [f"{task.name}. {sentence}" for sentence in sentences(task, default)]
    return Page(
        title=f"ofmu bench {NAME}",
        request={
            "Measured": "how near each source of targets comes to a retrained model's losses on D_f",
            "Beside": "a second retraining (the ceiling), and the original's own losses",
        },
        verdict=verdict,
        tasks=tasks,
        environment=environment(machine()),
        command=command,
        limits=[
            "Good targets are necessary for a good match and not enough: a method must also reach them.",
            "The default source is compared with the others by the 95 % interval of the paired differences.",
        ],
    )


def _section(ground: Ground, cells: Sequence[Cell]) -> TaskSection:
    made = section(ground.name, ground.about, cells, batch=unit(ground), tuning="")
    costs = [cost if cost.method in REFERENCES else replace(cost, tuning="none") for cost in made.costs]
    return replace(made, costs=costs)


def sentences(task: TaskSection, default: str) -> list[str]:
    """For each metric: all sources from the best, the ceiling, and who is told apart from the default."""
    said = []
    for metric in SHOWN:
        means = _means(task, metric)
        ceiling = means.pop(FLOOR, None)
        means = {name: value for name, value in means.items() if name not in (ORIGINAL, RETRAIN)}
        if not means or ceiling is None:
            continue
        order = sorted(means, key=means.__getitem__, reverse=metric == RANK)
        ranking = ", ".join(f"{name} {means[name]:.2f}" for name in order)
        text = f"{metric}, best first: {ranking} (a second Retrain {ceiling:.2f})."
        if default in means:
            sign = 1 if metric == RANK else -1
            found = differences(task.rows, metric, default)
            better = [one.words for one in found if sign * one.mean > 0 and _apart(one)]
            text += f" Better than the default ({default}), told apart: {', '.join(better) or 'none'}."
        said.append(text)
    return said


def _apart(one: Difference) -> bool:
    """Whether the interval leaves out 0."""
    return one.low is not None and one.high is not None and one.low * one.high > 0


def _means(task: TaskSection, metric: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in task.rows:
        if row.metric == metric and row.value is not None:
            found.setdefault(row.method, []).append(row.value)
    return {name: statistics.fmean(values) for name, values in found.items()}
