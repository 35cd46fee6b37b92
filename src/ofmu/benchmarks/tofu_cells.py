"""What the TOFU benchmark makes of one seed: the references, each method's run, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch.nn import Module

from ..engine.store import Store
from ..report.model import FLOOR, ORIGINAL, RETRAIN, AnswerRow, Losses, Page, Trajectory
from ..report.scores import write_scores, write_text
from ..tasks import Method
from .study import Cell, titled
from .tofu_choice import Plan
from .tofu_knowledge import absent_knowledge, knowledge_rows, right_answers
from .tofu_page import markdown, page_of
from .tofu_references import Reference, reference
from .tofu_rows import missing_rows, score_rows
from .tofu_runs import restored, seen_reference, seen_run, unlearned
from .tofu_seen import Seen, questions
from .tofu_setting import Setting
from .tofu_tables import Table, intervals
from .tofu_utility import utility_parts, utility_row
from .tofu_written import write_logs

SHOWN = 4  # answers on the page
Load = Callable[[], tuple[Module, bool]]


@dataclass
class Known:
    """Original and Retrain of one seed, how they are seen, and all models of that seed for the model utility."""

    models: dict[str, Reference]
    seen: dict[str, Seen]
    load: dict[str, tuple[Reference, Load, Seen]] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """A table that grows, and what it is made with; beside it the logs of the public tools (`tofu_written`).

    missing: what the plan's command makes besides, in words; the file names it.
    """

    out: Path
    setting: Setting
    development: Setting
    plan: Plan
    store: Store
    say: Callable[[str], None]
    known: dict[int, Known] = field(default_factory=dict)
    table: Table = field(default_factory=Table)
    missing: list[str] = field(default_factory=list)

    def write(self) -> Page:
        """Write out/tofu.md and out/tofu.json as far as they are made."""
        page = page_of(self.setting, self.table, self.plan.command, self.plan.tuning, self.missing)
        write_text(self.out / "tofu.md", markdown(page, self.setting, self.table))
        costs = [asdict(cost) for task in page.tasks for cost in task.costs]
        tuning = {
            name: {**asdict(found), "method": repr(found.method)} for name, found in self.table.tuning.items()
        }
        more = {"costs": costs, "tuning": tuning, "intervals": intervals(self.setting, self.table)}
        write_scores(self.out / "tofu.json", page.rows, {"command": page.command, **page.environment, **more})
        return page

    def references(self, seed: int) -> Known:
        """The references of a seed, with their rows; another seed's Retrain says how far two of them differ."""
        if seed in self.known:
            return self.known[seed]
        setting, store = self.setting, self.store
        models = {}
        for name in (ORIGINAL, RETRAIN):
            self.say(f"{name}, seed {seed}")
            models[name] = reference(setting, name, seed, store)
        seen = {name: seen_reference(model, setting, store) for name, model in models.items()}
        ours = self.known[seed] = Known(models, seen)
        cell = self.table.cells[seed] = Cell(seed)
        for name, model in models.items():
            gold = None if name == RETRAIN else seen[RETRAIN]
            cell.rows += score_rows(setting.task, name, seed, seen[name], setting, gold, seen[ORIGINAL])
            cell.spent.append(model.spent)
            self.table.seen[name, seed] = seen[name]
            self._logs(name, seed, seen[name])
            ours.load[name] = model, partial(_loaded, model, setting), seen[name]
        cell.notes += [f"{name}, seed {seed}: {m.spent.ended}." for name, m in models.items() if m.spent.ended]
        other = self.known.get(seed - 1)
        if other is not None and other.models[RETRAIN].key != models[RETRAIN].key:
            beside = seen[RETRAIN], seen[ORIGINAL]
            cell.rows += score_rows(setting.task, FLOOR, seed, other.seen[RETRAIN], setting, *beside)
            cell.spent.append(replace(other.models[RETRAIN].spent, method=FLOOR))
        return ours

    def run(self, name: str, method: Method, seed: int) -> None:
        """One method on one seed, made now or found in the store."""
        setting, store, ours = self.setting, self.store, self.references(seed)
        cell, shown_as, original = self.table.cells[seed], titled(name), ours.models[ORIGINAL]
        run = unlearned(setting, name, method, seed, original, store)
        cell.spent.append(replace(run.spent, method=shown_as))
        cell.trajectories.append(Trajectory(setting.task, shown_as, seed, run.points))
        if run.failed:
            cell.rows += missing_rows(setting.task, shown_as, seed, run.spent.ended)
            return
        try:
            seen = seen_run(run, setting, original, store)
        except ValueError as error:  # a model that ends in numbers that are none has no scores
            cell.rows += missing_rows(setting.task, shown_as, seed, f"it could not be measured: {error}")
            return
        cell.rows += score_rows(
            setting.task, shown_as, seed, seen, setting, ours.seen[RETRAIN], ours.seen[ORIGINAL]
        )
        self.table.seen[shown_as, seed] = seen
        self._logs(shown_as, seed, seen)
        ours.load[shown_as] = run.model, lambda: (restored(run, setting, original), setting.through_top), seen
        if run.spent.ended != "the budget is spent":
            cell.notes.append(f"{shown_as}, seed {seed}: ended because {run.spent.ended}.")
        if name == "ofmu":
            cell.losses = _losses(setting.task, ours.seen, seen)
            cell.answers = _answers(setting, ours.seen, seen)

    def absent(self, name: str, seed: int, why: str) -> None:
        """A method without a run: its rows say why."""
        self.references(seed)
        self.table.cells[seed].rows += missing_rows(self.setting.task, titled(name), seed, why)

    def done(self, what: str) -> None:
        """It is no longer missing."""
        self.missing.remove(what)
        self.write()

    def utility(self, seed: int) -> None:
        """The model utility of every model of a seed."""
        for name, (model, load, seen) in self.known[seed].load.items():
            self.say(f"{name}, seed {seed}: model utility")
            found = utility_parts(model, load, seen, self.setting, self.store)
            self.table.cells[seed].rows.append(utility_row(self.setting.task, name, seed, found))
            self._logs(name, seed, seen, found)

    def _logs(self, name: str, seed: int, seen: Seen, utility: Mapping[str, Any] | None = None) -> None:
        """The layouts of the public tools, in out/logs: again where the model utility has come."""
        retrain = None if name == RETRAIN else self.known[seed].seen[RETRAIN]
        write_logs(self.out, name, seed, seen, self.setting, retrain, utility)

    def knowledge(self, seed: int) -> None:
        """General knowledge of every model of a seed, and what it lost of the original's."""
        setting, store, rows = self.setting, self.store, self.table.cells[seed].rows
        ours = self.known[seed].load
        if setting.unknown:
            for name in ours:
                rows += absent_knowledge(setting.task, name, seed, setting.unknown)
        if not setting.knowledge:
            return
        before = right_answers(*ours[ORIGINAL][:2], setting, store)
        for name, (model, load, _) in ours.items():
            self.say(f"{name}, seed {seed}: general knowledge")
            after = None if name == ORIGINAL else right_answers(model, load, setting, store)
            rows += knowledge_rows(setting.task, name, seed, before, after)


def _loaded(model: Reference, setting: Setting) -> tuple[Module, bool]:
    """A reference's upper part, and that it is one."""
    return model.top(setting), True


def _losses(task: str, seen: dict[str, Seen], after: Seen) -> Losses:
    return Losses(
        task,
        before=seen[ORIGINAL].losses["forget"].tolist(),
        after=after.losses["forget"].tolist(),
        retrain=seen[RETRAIN].losses["forget"].tolist(),
        unseen=after.losses["unseen"].tolist(),
    )


def _answers(setting: Setting, seen: dict[str, Seen], after: Seen) -> list[AnswerRow]:
    said = [each.said["forget"] for each in (seen[ORIGINAL], after, seen[RETRAIN])]
    rows = [
        AnswerRow(r.id, old, new, r.completion, question=r.prompt, retrain=gold)
        for r, old, new, gold in zip(questions(setting)["forget"], *said, strict=True)
    ]
    return rows[:: max(1, len(rows) // SHOWN)][:SHOWN]
