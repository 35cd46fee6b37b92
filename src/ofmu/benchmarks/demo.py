"""The demo: a class, noisy samples and two people, forgotten on a laptop in minutes; all data is embedded."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..report.model import FLOOR, ORIGINAL, RETRAIN, Page, TaskSection
from .demo_image import image_cell
from .demo_text import text_cell
from .study import NAMES, Cell, environment, run_cells, section

METHODS = ("ofmu", "graddiff", "npo")
CLASS, NOISE, PEOPLE = "Digits: one class", "Digits: 10 % of noisy samples", "Fictitious people"
TUNING = "none: one preset per kind of data"


def run_demo(
    out: Path, *, seeds_image: int = 5, seeds_text: int = 3, jobs: int = 2, say: Callable[[str], None] = print
) -> Page:
    """Run all cells, longest first, and lay out the page. `out` names the folder in the page's command only."""
    cells: list[tuple[str, partial[Cell]]] = []
    cells += [(PEOPLE, partial(text_cell, PEOPLE, seed, METHODS)) for seed in range(seeds_text)]
    cells += [(NOISE, partial(image_cell, NOISE, seed, METHODS, 0.2)) for seed in range(seeds_image)]
    cells += [(CLASS, partial(image_cell, CLASS, seed, METHODS, None)) for seed in range(seeds_image)]
    left = len(cells)

    def done(cell: Cell) -> None:
        nonlocal left
        left -= 1
        say(f"{cell.rows[0].task}, seed {cell.seed}: done; {left} of {len(cells)} left")

    say(f"training and unlearning {len(cells)} small models, {jobs} at a time")
    found = run_cells([cell for _, cell in cells], jobs, done)
    by_task = {name: [c for (task, _), c in zip(cells, found, strict=True) if task == name] for name, _ in cells}
    sections = [_section(name, by_task[name]) for name in (CLASS, NOISE, PEOPLE) if by_task.get(name)]
    return Page(
        title="ofmu demo",
        request={
            "To be forgotten": "a class of digits; a tenth of noisily labelled digits; two of eight people",
            "To be kept": "all other digits; the other six people",
            "Methods": ", ".join(NAMES[method] for method in METHODS) + ", each with the same budget",
        },
        verdict=[_verdict(task) for task in sections],
        tasks=sections,
        environment=environment(f"{jobs} processes of one thread"),
        command=f"ofmu demo --out {out.name}",
        limits=[
            "The data are embedded and the models tiny: this shows that the machinery works, not how well it does "
            "on yours.",
            "GradDiff and NPO have no exit rule: they spend the whole budget, wherever that leads.",
        ],
    )


def _section(name: str, cells: list[Cell]) -> TaskSection:
    if name == PEOPLE:
        about = (
            "A Llama of a million parameters learned 160 questions and answers about eight fictitious people by "
            "heart. Two of the people, 40 questions, are forgotten."
        )
        return section(name, about, cells, batch=16, tuning=TUNING)
    if name == CLASS:
        about = "A small convolutional network forgets every sample of one digit (the seed's own)."
        return section(name, about, cells, batch=256, tuning=TUNING)
    about = (
        "A small convolutional network forgets a random tenth of its training samples. A fifth of all labels are "
        "wrong, so that something is memorised: on clean digits doing nothing is already near the floor."
    )
    return section(name, about, cells, batch=256, tuning=TUNING)


def mean_of(task: TaskSection, method: str, metric: str) -> float:
    """The mean over seeds of a metric; raises ValueError where a seed has none."""
    values = [row.value for row in task.rows if row.method == method and row.metric == metric]
    if not values or any(value is None for value in values):
        raise ValueError(f"{task.name}: {metric} of {method} is missing for some seed")
    return statistics.fmean(value for value in values if value is not None)


def _verdict(task: TaskSection) -> str:
    ours = NAMES["ofmu"]
    if task.name == PEOPLE:
        before, after, gold = (mean_of(task, name, "forget_nll") for name in (ORIGINAL, ours, RETRAIN))
        kept, gold_kept = (mean_of(task, name, "retain_prob") for name in (ours, RETRAIN))
        return (
            f"{task.name}: the loss on the forgotten answers went from {before:.2f} to {after:.1f} (a retrained "
            f"model has {gold:.1f}); kept answers have probability {kept:.3f} (retrained: {gold_kept:.3f})."
        )
    gaps, distances = ([mean_of(task, name, m) for name in (ORIGINAL, ours, FLOOR)] for m in ("gap", "W1"))
    return (
        f"{task.name}: the average gap to a retrained model went from {gaps[0]:.1f} to {gaps[1]:.1f} points, W1 "
        f"from {distances[0]:.1f} to {distances[1]:.1f} (two retrained models differ by {gaps[2]:.1f} and "
        f"{distances[2]:.1f})."
    )
