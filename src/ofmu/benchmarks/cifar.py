"""A small residual network on CIFAR-10 forgets a random tenth of its training set, and a class."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch.nn import Module

from ..data.images import ImageSplits, load_cifar10
from ..engine.checkpoint import load_state, save_state
from ..engine.hashing import ids_fingerprint
from ..engine.networks import ResNetConfig, build
from ..engine.prepare import UNIT
from ..engine.store import Store, default_root
from ..engine.training import Recipe, trained
from ..losses import class_nll
from ..report.model import FLOOR, ORIGINAL, RETRAIN, Page, TaskSection
from .cifar_data import CifarSplit, Forgotten, cifar_split
from .image_scores import ImageParts
from .image_study import REINIT, ImageRequest, compare
from .reading import RULE, nearest, reading
from .results import write_results
from .study import NAMES, Cell, Spent, environment, one_thread, run_cells, section

NAME = "cifar10-ci"
METHODS = ("ofmu", "graddiff", "npo", "finetune", REINIT)
TASKS: dict[str, Forgotten] = {"CIFAR-10: random 10 %": "random", "CIFAR-10: one class": "class"}
SEEDS = {ORIGINAL: 0, RETRAIN: 777, FLOOR: 1999}
TUNING = "none: the presets for images"


@dataclass(frozen=True)
class Settings:
    """How large the benchmark is. share: a method's budget, of a retraining."""

    train: int = 4500
    heldout: int = 500
    network: ResNetConfig = field(default_factory=lambda: ResNetConfig(blocks=1, width=16, groups=4, stem=2))
    recipe: Recipe = field(
        default_factory=lambda: Recipe(epochs=18, batch=50, lr=6e-3, schedule="linear", hold=0.2)
    )
    share: float = 0.4


SMALLEST = Settings(
    train=200,
    heldout=100,
    network=ResNetConfig(blocks=1, width=4, groups=4, stem=2),
    recipe=Recipe(epochs=1, batch=32, lr=4e-3),
)


def run_cifar(out: Path, seeds: int, smoke: bool, say: Callable[[str], None]) -> Page:
    """All seeds of both requests; `out` gets cifar10-ci.md and .json, anew whenever a cell is done.

    References are kept in the store, so that a run that was stopped goes on from there. smoke: one seed of the
    smallest form, which writes nothing. Raises UserError where the images are not there.
    """
    data = load_cifar10(part=NAME)
    one_thread()  # so that seconds compare with other runs'
    if smoke:
        with tempfile.TemporaryDirectory() as folder:
            cells = cifar_cells(data, 1, SMALLEST, Store(Path(folder)), say)
            return _page(run_cells(cells, 1, lambda cell: None), SMALLEST, "ofmu bench --smoke")
    settings, command = Settings(), f"ofmu bench {NAME} --seeds {seeds}"
    done: list[Cell] = []

    def finished(cell: Cell) -> None:
        done.append(cell)
        say(f"{cell.rows[0].task}, seed {cell.seed}: done; {2 * seeds - len(done)} of {2 * seeds} left")
        write_results(out, NAME, _page(done, settings, command))

    cells = cifar_cells(data, seeds, settings, Store(default_root(os.environ)), say)
    return _page(run_cells(cells, 1, finished), settings, command)


def cifar_cells(
    data: ImageSplits, seeds: int, settings: Settings, store: Store, say: Callable[[str], None]
) -> list[Callable[[], Cell]]:
    """Both requests of seed 0, then of seed 1, …: the two share their original."""
    return [partial(cifar_cell, task, data, seed, settings, store, say) for seed in range(seeds) for task in TASKS]


def cifar_cell(
    task: str, data: ImageSplits, seed: int, settings: Settings, store: Store, say: Callable[[str], None]
) -> Cell:
    """One seed of one request: references from the store or trained now, then every method."""
    split = cifar_split(data, seed, TASKS[task], train=settings.train, heldout=settings.heldout)
    cell = Cell(seed)
    models = {}
    for name in SEEDS:
        models[name], spent = reference(name, split, seed, settings, store)
        cell.spent.append(spent)
        say(f"{task}, seed {seed}: {name} is there ({spent.seconds:.0f} s)")
    parts = ImageParts(split.forget, split.retain, split.test)
    budget = settings.share * settings.recipe.epochs * len(split.retain)
    request = ImageRequest(task, parts, split.heldout, settings.recipe, budget)
    compare(cell, request, models, METHODS)
    return cell


def reference(name: str, split: CifarSplit, seed: int, settings: Settings, store: Store) -> tuple[Module, Spent]:
    """A trained reference and what it took when it was trained, from the store where it is there."""
    samples = split.train if name == ORIGINAL else split.retain
    recipe = replace(settings.recipe, seed=seed + SEEDS[name])
    model = build("cifar-resnet", settings.network, recipe.seed)

    def make(folder: Path) -> None:
        start = time.perf_counter()
        cost = trained(model, samples, class_nll, recipe)
        took = {"cost": cost, "seconds": time.perf_counter() - start}
        save_state(folder / "reference.safetensors", {"model": model.state_dict(), **took})

    key = {
        "benchmark": NAME,
        "samples": ids_fingerprint(samples.ids),
        "network": asdict(settings.network),
        "recipe": asdict(recipe),
        "torch": torch.__version__,
    }
    saved = load_state(store.get_or_make(key, make, note=f"{NAME} {name}") / "reference.safetensors")
    model.load_state_dict(saved["model"])
    return model.eval(), Spent(name, saved["cost"], saved["seconds"])


def _page(cells: Sequence[Cell], settings: Settings, command: str) -> Page:
    by_task = {task: [cell for cell in cells if cell.rows[0].task == task] for task in TASKS}
    sections = [_section(task, found, settings) for task, found in by_task.items() if found]
    return Page(
        title=f"ofmu bench {NAME}",
        request={
            "To be forgotten": "a random tenth of the training images; one class, the seed's own",
            "To be kept": "all other training images",
            "Methods": f"{', '.join(NAMES[method] for method in METHODS)}, each with {_budget(settings)}",
        },
        verdict=[line for task in sections for line in (*nearest(task), *reading(task, NAMES["ofmu"]))],
        tasks=sections,
        environment=environment(f"one thread of a shared {os.cpu_count()}-core machine"),
        command=command,
        limits=[
            f"{settings.train:,} images: the network learns them by heart and tests poorly. Numbers compare with "
            "each other, not with published ones.",
            "Network, recipe and OFMU's preset for images were settled on other splits of these images (seed "
            "100) and on digits; the other methods' presets were not tuned.",
            RULE,
            "Seconds are wall time on a machine that others used too: compare gradient-equivalents.",
            "GradDiff, NPO and FineTune have no exit rule: they spend the whole budget, wherever that leads.",
        ],
    )


def _budget(settings: Settings) -> str:
    return f"{100 * settings.share:.0f} % of a retraining, targets and start included"


def _section(task: str, cells: list[Cell], settings: Settings) -> TaskSection:
    which = {"random": "a random tenth of its training images", "class": "one class, the seed's own"}[TASKS[task]]
    tests = "" if TASKS[task] == "random" else ", without the forgotten class"
    stem = " and a stem of stride 2" if settings.network.stem == 2 else ""
    about = (
        f"A ResNet-{6 * settings.network.blocks + 2} (width {settings.network.width}{stem}, SiLU, group "
        f"norm) learned {settings.train:,} images of {NAME} (32 × 32 pixels) by heart and forgets {which}. "
        f"{settings.heldout:,} other training images are held out for targets; the table's test set is the "
        f"1,000 official test images of {NAME}{tests}. Every method may spend {_budget(settings)}."
    )
    return section(task, about, cells, batch=UNIT["image"], tuning=TUNING)
