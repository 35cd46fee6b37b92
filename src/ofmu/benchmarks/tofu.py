"""The benchmark tofu-smollm2: a small real language model forgets two of TOFU's authors and keeps two others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..engine.store import Store
from ..report.model import FLOOR, ORIGINAL, RETRAIN, AnswerRow, Losses, Page, ScoreRow, Trajectory
from ..report.scores import write_scores, write_text
from .study import NAMES, Cell
from .tofu_page import markdown, page_of, task_of
from .tofu_references import Reference, reference
from .tofu_runs import Seen, score_rows, seen_reference, shown, unlearned
from .tofu_setting import Setting, smoke_setting, tofu_setting
from .tofu_utility import utility_rows

SHOWN = 4  # answers on the page
UTILITY = ["the model utility of the references and OFMU"]  # what is made last
Cells = dict[str, list[Cell]]  # what is trained -> one cell a seed, as far as the runs are finished
Runs = list[tuple[str, int, str]]  # (what is trained, seed, method)


@dataclass(frozen=True)
class References:
    """Original and Retrain of one seed, and how they are seen."""

    models: dict[str, Reference]
    seen: dict[str, Seen]


def tofu_smollm2(out: Path, seeds: int, smoke: bool, say: Callable[[str], None]) -> Page:
    """Run what is not yet under out/store; tofu-smollm2.md and .json in `out` are whole after every run.

    Each run's rows are written as it ends, with a line that names the runs that are still missing. smoke:
    seconds, on embedded people and a tiny model. Raises UserError where the wheel or TOFU is absent.
    """
    store = Store(out / "store")
    setting = smoke_setting() if smoke else tofu_setting(store)
    command = f"ofmu bench tofu-smollm2 --seeds {seeds}" + " --smoke" * smoke
    runs = runs_of(setting, seeds)
    cells: Cells = {}
    known: dict[int, References] = {}
    for i, (spec, seed, name) in enumerate(runs):
        say(f"{task_of(setting, spec)}, seed {seed}: {NAMES[name]}")
        if seed not in known:
            known[seed] = _references(setting, seed, store)
        table = {cell.seed: cell for cell in cells.setdefault(spec, [])}
        if seed not in table:
            table[seed] = _started(setting, spec, seed, known)
            cells[spec].append(table[seed])
        _add(table[seed], setting, spec, name, known[seed], store)
        _write(out, page_of(setting, cells, command, [_words(*run) for run in runs[i + 1 :]] + UTILITY))
    for cell in cells[setting.trained] if setting.general else []:
        say(f"{task_of(setting, setting.trained)}, seed {cell.seed}: model utility")
        cell.rows += _utility(setting, cell.seed, known[cell.seed], store)
    page = page_of(setting, cells, command, [])
    _write(out, page)
    return page


def _write(out: Path, page: Page) -> None:
    write_text(out / "tofu-smollm2.md", markdown(page))
    write_scores(out / "tofu-smollm2.json", page.rows, {"command": page.command, **page.environment})


def _utility(setting: Setting, seed: int, ours: References, store: Store) -> list[ScoreRow]:
    """Model utility of the references and of OFMU."""
    run = unlearned(setting, setting.trained, "ofmu", seed, ours.models[ORIGINAL], store)
    models = {name: (model, ours.seen[name]) for name, model in ours.models.items()}
    models[NAMES["ofmu"]] = run.model, run.seen
    task = task_of(setting, setting.trained)
    return [
        row
        for name, (model, seen) in models.items()
        for row in utility_rows(task, name, seed, model, seen, setting, store)
    ]


def runs_of(setting: Setting, seeds: int) -> Runs:
    """All runs, in the order in which they are made: table by table, in it method by method on every seed."""
    return [
        (spec, seed, name) for spec, names in setting.tables.items() for name in names for seed in range(seeds)
    ]


def _words(spec: str, seed: int, name: str) -> str:
    return f"{NAMES[name]} ({spec}, seed {seed})"


def _references(setting: Setting, seed: int, store: Store) -> References:
    models = {name: reference(setting, name, seed, store) for name in (ORIGINAL, RETRAIN)}
    return References(models, {name: seen_reference(model, setting, store) for name, model in models.items()})


def _started(setting: Setting, spec: str, seed: int, known: dict[int, References]) -> Cell:
    """A cell with its references; another seed's Retrain, where there is one, says how far two of them differ."""
    task, cell, ours = task_of(setting, spec), Cell(seed), known[seed]
    for name, seen in ours.seen.items():
        cell.rows += score_rows(task, name, seed, seen, ours.seen[RETRAIN], setting)
        cell.spent.append(ours.models[name].spent)
    for other in [known[seed - 1]] if seed - 1 in known else []:
        cell.rows += score_rows(task, FLOOR, seed, other.seen[RETRAIN], ours.seen[RETRAIN], setting)
        cell.spent.append(replace(other.models[RETRAIN].spent, method=FLOOR))
    return cell


def _add(cell: Cell, setting: Setting, spec: str, name: str, ours: References, store: Store) -> None:
    """One method's run, made now or found in the store."""
    task, shown_as = task_of(setting, spec), NAMES[name]
    run = unlearned(setting, spec, name, cell.seed, ours.models[ORIGINAL], store)
    cell.rows += score_rows(task, shown_as, cell.seed, run.seen, ours.seen[RETRAIN], setting)
    cell.spent.append(replace(run.spent, method=shown_as))
    cell.trajectories.append(Trajectory(task, shown_as, cell.seed, run.points))
    cell.notes.append(f"{shown_as}, seed {cell.seed}: ended because {run.spent.ended}.")
    if name == "ofmu":
        cell.losses = _losses(task, ours.seen, run.seen)
        cell.answers = _answers(setting, ours.seen, run.seen)


def _losses(task: str, seen: dict[str, Seen], after: Seen) -> Losses:
    return Losses(
        task,
        before=seen[ORIGINAL].view.losses["forget"].tolist(),
        after=after.view.losses["forget"].tolist(),
        retrain=seen[RETRAIN].view.losses["forget"].tolist(),
        unseen=after.view.losses["unseen"].tolist(),
    )


def _answers(setting: Setting, seen: dict[str, Seen], after: Seen) -> list[AnswerRow]:
    asked = shown(setting.forget, setting.generated)
    said = zip(asked, seen[ORIGINAL].forget, after.forget, seen[RETRAIN].forget, strict=True)
    rows = [AnswerRow(r.id, old, new, r.completion, question=r.prompt, retrain=gold) for r, old, new, gold in said]
    return rows[:: max(1, len(rows) // SHOWN)][:SHOWN]
