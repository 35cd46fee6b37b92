"""The benchmark tofu-smollm2: a small real language model forgets two of TOFU's authors and keeps two others."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from .. import __version__
from ..engine.store import Store
from ..report.model import ORIGINAL, RETRAIN, AnswerRow, Losses, Page, TaskSection, Trajectory
from ..report.scores import write_scores, write_text
from .demo import mean_of
from .study import NAMES, Cell, Spent, section
from .tofu_page import markdown
from .tofu_references import reference
from .tofu_runs import Seen, score_rows, seen_reference, shown, unlearned
from .tofu_setting import Setting, smoke_setting, tofu_setting

SHOWN = 4  # answers on the page
TUNING = "none: the preset for language models"


def tofu_smollm2(out: Path, seeds: int, smoke: bool, say: Callable[[str], None]) -> Page:
    """Run what is not yet under out/store, and write the page's tables as tofu-smollm2.md and .json into `out`.

    smoke: seconds, on embedded people and a tiny model. Raises UserError where the wheel or TOFU is absent.
    """
    store = Store(out / "store")
    setting = smoke_setting() if smoke else tofu_setting(store)
    sections = []
    for spec in setting.trainables:
        cells = [tofu_cell(setting, spec, seed, store, say) for seed in range(seeds)]
        sections.append(_section(setting, spec, cells))
    page = _page(setting, sections, f"ofmu bench tofu-smollm2 --seeds {seeds}" + " --smoke" * smoke)
    write_text(out / "tofu-smollm2.md", markdown(page))
    write_scores(out / "tofu-smollm2.json", page.rows, {"command": page.command, **page.environment})
    return page


def tofu_cell(setting: Setting, spec: str, seed: int, store: Store, say: Callable[[str], None]) -> Cell:
    """One seed: references and every method, unlearning through the parameters that `spec` names."""
    task = _task(setting, spec)
    cell = Cell(seed)
    references = {name: reference(setting, name, seed, store) for name in (ORIGINAL, RETRAIN)}
    seen = {name: seen_reference(found, setting, store) for name, found in references.items()}
    for name, found in references.items():
        cell.rows += score_rows(task, name, seed, seen[name], seen[RETRAIN], setting)
        cell.spent.append(found.spent)
    for name in setting.methods:
        say(f"{task}, seed {seed}: {NAMES[name]}")
        run = unlearned(setting, spec, name, seed, references[ORIGINAL], store)
        cell.rows += score_rows(task, NAMES[name], seed, run.seen, seen[RETRAIN], setting)
        cell.spent.append(_named(run.spent, NAMES[name]))
        cell.trajectories.append(Trajectory(task, NAMES[name], seed, run.points))
        cell.notes.append(f"{NAMES[name]}, seed {seed}: ended because {run.spent.ended}.")
        if name == "ofmu":
            cell.losses = _losses(task, seen, run.seen)
            cell.answers = _answers(setting, seen, run.seen)
    return cell


def _task(setting: Setting, spec: str) -> str:
    return f"{setting.name}, trained: {spec}"


def _named(spent: Spent, name: str) -> Spent:
    return Spent(name, spent.samples, spent.seconds, spent.setup, spent.peak_bytes, spent.budget, spent.ended)


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


def _section(setting: Setting, spec: str, cells: Sequence[Cell]) -> TaskSection:
    about = f"{setting.about} Training trained {setting.trained}; unlearning trains {spec}."
    return section(_task(setting, spec), about, cells, batch=setting.batch, tuning=TUNING)


def _page(setting: Setting, sections: list[TaskSection], command: str) -> Page:
    recipe = setting.recipe
    return Page(
        title="SmolLM2-135M forgets two TOFU authors" if setting.name == "TOFU" else setting.name,
        request={
            "To be forgotten": f"{len(setting.forget)} questions",
            "To be kept": f"{len(setting.retain)} questions",
            "Unseen, reported": f"{len(setting.unseen)} questions about people nobody trained on",
            "Held-out, for targets": f"{len(setting.heldout)} questions about other people, never reported",
            "Training": f"{recipe.epochs:g} epochs, batch {recipe.batch}, AdamW {recipe.lr:g}, answers only",
            "Budget": f"{setting.budget:g} sample-gradients for every method = {setting.budget / setting.batch:g} "
            f"gradients of a batch of {setting.batch}, targets included",
        },
        verdict=[_verdict(task) for task in sections],
        tasks=sections,
        environment={
            "ofmu": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
        },
        command=command,
        limits=[
            f"The truth ratio takes {setting.wrong} wrong answers per question; ROUGE-L is the recall of "
            f"{setting.generated} answers of at most {setting.longest} tokens.",
            "TOFU's model utility (nine parts, real-world questions among them) is not computed: what was kept is "
            "measured on the kept and on the unseen people only.",
            "A budget is checked between steps, and a step of OFMU is up to eight ascents and eight repairs: it "
            "may spend more than its budget (see the cost columns).",
            "Seconds include looking at the path, and the machine was shared.",
        ],
    )


def _verdict(task: TaskSection) -> str:
    def mean(method: str, metric: str) -> float:
        return mean_of(task, method, metric)

    ours = NAMES["ofmu"]
    return (
        f"{task.name}: the loss on the forgotten answers went from {mean(ORIGINAL, 'forget_nll'):.2f} to "
        f"{mean(ours, 'forget_nll'):.2f} (a retrained model has {mean(RETRAIN, 'forget_nll'):.2f}); "
        f"kept answers have probability {mean(ours, 'retain_prob'):.3f} "
        f"(retrained: {mean(RETRAIN, 'retain_prob'):.3f})."
    )
