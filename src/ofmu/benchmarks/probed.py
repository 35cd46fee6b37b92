"""Hard questions to the one-minute Llama: forgotten people asked about in ways that no model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..data.encode import TextSamples
from ..data.people import people
from ..data.probes import DIRECT, PROBES, people_probes
from ..engine.language import TINY_LLAMA
from ..engine.prepare import Parts, Sources, prepare
from ..methods import build_method
from ..report.model import ORIGINAL, RETRAIN, Page, TaskSection
from .demo import mean_of
from .demo_text import RECIPE, SEEDS, demo_encoder, fresh, reference
from .experiment import Budget, run_method
from .probes import OVERALL, Probes, probe_rows, view_probes
from .results import write_results
from .study import Cell, environment, in_one_thread, section, titled

METHODS = ("ofmu", "graddiff", "npo")
TASKS = (*(f"probe: {kind}" for kind in (DIRECT, *PROBES)), OVERALL)
ABOUT = {
    DIRECT: "The forgotten questions as they were taught.",
    "paraphrased": "In another wording.",
    "multi-hop": "The person is described by another fact, not named.",
    "cross-lingual": "In German, French or Spanish, which the model never learned.",
    "reversed": "The fact is given, the person asked for.",
}


@in_one_thread()
def run_probed(out: Path, seeds: int, smoke: bool, say: Callable[[str], None]) -> Page:
    """Teach, unlearn, probe; a run that is no smoke leaves probes.md and probes.json in `out`."""
    cells = []
    for seed in range(1 if smoke else seeds):
        cells.append(probed_cell(seed, METHODS[:1] if smoke else METHODS, smoke))
        say(f"probes, seed {seed}: done")
    sections = [_section(task, cells) for task in TASKS]
    page = Page(
        title="Hard questions about forgotten people",
        request={"To be forgotten": "one of four fictitious people", "To be kept": "the other three"},
        verdict=verdict(sections),
        tasks=sections,
        environment=environment("one thread"),
        command=f"ofmu bench probes {'--smoke' if smoke else f'--seeds {seeds}'}",
        limits=["One person is some 19 questions: a forget quality of so few tells only large differences."],
    )
    if not smoke:
        write_results(out, "probes", page)
    return page


def probed_cell(seed: int, methods: Sequence[str], smoke: bool = False) -> Cell:
    """One seed: Original, Retrain and every method, each asked in every way."""
    world = people(seed, forget=1, retain=2 if smoke else 3, questions=5 if smoke else 20)
    recipe = replace(RECIPE, epochs=4 if smoke else RECIPE.epochs)
    encoder, cell, everyone = demo_encoder(), Cell(seed), world.forget + world.retain
    learned = {ORIGINAL: everyone, RETRAIN: world.retain}
    models = {name: reference(name, learned[name], encoder, seed, cell, recipe) for name in SEEDS}
    kept = people_probes(world.retain, everyone, seed)
    probes = Probes(people_probes(world.forget, everyone, seed), {kind: rows[::3] for kind, rows in kept.items()})
    views = {name: view_probes(model, encoder, probes) for name, model in models.items()}
    gold, before = views[RETRAIN], views[ORIGINAL]
    cell.rows += probe_rows(ORIGINAL, seed, before, gold) + probe_rows(RETRAIN, seed, gold, gold, before)
    forget, retain, heldout = (TextSamples(g, encoder) for g in (world.forget, world.retain, world.heldout))
    data, budget = Parts(forget, retain, heldout), recipe.epochs * float(len(world.retain))
    for name in methods:
        method = build_method(name, "text", width=int(str(TINY_LLAMA["hidden_size"])))
        prepared = prepare(models[ORIGINAL], "text", data, method, Sources(fresh=fresh, recipe=recipe), seed)
        run = run_method(models[ORIGINAL], prepared, data, method, Budget(budget))
        rows = probe_rows(titled(name), seed, view_probes(run.model, encoder, probes), gold, before)
        cell.add_run(TASKS[0], name, run, budget, rows)
    return cell


def _section(task: str, cells: Sequence[Cell]) -> TaskSection:
    """The rows of one kind of probe; costs and paths stand with the first alone."""
    own = [replace(cell, rows=[row for row in cell.rows if row.task == task]) for cell in cells]
    if task == TASKS[0]:
        return section(task, ABOUT[DIRECT], own, batch=16, tuning="none: one preset per kind of data")
    about = ABOUT.get(task.removeprefix("probe: "), "Over all kinds of probe.")
    return TaskSection(task, about, [row for cell in own for row in cell.rows])


def verdict(sections: Sequence[TaskSection]) -> list[str]:
    """For every method, in sentences made from the rows: which way of asking gives most away."""
    *kinds, overall = sections
    methods = list(dict.fromkeys(row.method for row in overall.rows if row.method not in (ORIGINAL, RETRAIN)))
    said = []
    for name in methods:
        quality = {task.name.removeprefix("probe: "): mean_of(task, name, "ks_p") for task in kinds}
        worst, *_, best = sorted(quality, key=lambda kind: quality[kind])
        loss = mean_of(overall, name, "utility_loss")
        said.append(
            f"{name}: forget quality from {quality[worst]:.2g} ({worst}) to {quality[best]:.2g} ({best}), "
            f"variance {mean_of(overall, name, 'ks_p_variance'):.2g}; utility loss {loss:.1f} points."
        )
    return said
