"""The TOFU benchmark: a language model forgets some people, by every method, tuned alike, beside a Retrain."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from torch.nn import Module

from ..engine.store import Store
from ..errors import UserError
from ..methods import serving
from ..report.model import FLOOR, ORIGINAL, RETRAIN, AnswerRow, Losses, Page, Trajectory
from ..report.scores import write_scores, write_text
from ..tasks import Method
from .study import NAMES, Cell
from .tofu_choice import Choice, smoke_setting, split_of, tofu_setting
from .tofu_knowledge import absent_knowledge, knowledge_rows, right_answers
from .tofu_page import Table, intervals, markdown, page_of
from .tofu_references import Reference, reference
from .tofu_rows import missing_rows, score_rows
from .tofu_runs import restored, seen_reference, seen_run, unlearned
from .tofu_seen import Seen, questions
from .tofu_setting import Setting
from .tofu_tuning import chosen
from .tofu_utility import utility_row
from .tuning import need_optuna

SHOWN = 4  # answers on the page
EVERY = tuple(name for name in serving("text") if name != "finetune")  # it has no part that forgets
USUAL = ("ofmu", "graddiff", "graddiff-bounded", "npo", "simnpo", "idkdpo", "rmu", "undial")
Load = Callable[[], tuple[Module, bool]]


@dataclass(frozen=True)
class Plan:
    """The methods by name, in the order in which they are made; seeds and trials of each; what to type."""

    methods: Sequence[str] = USUAL
    seeds: int = 3
    trials: int = 6
    command: str = "ofmu bench tofu"


@dataclass
class _Known:
    """Original and Retrain of one seed, how they are seen, and all models of that seed for the model utility."""

    models: dict[str, Reference]
    seen: dict[str, Seen]
    load: dict[str, tuple[Reference, Load, Seen]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Bench:
    """What stays the same while the table grows."""

    out: Path
    setting: Setting
    development: Setting
    plan: Plan
    store: Store
    say: Callable[[str], None]
    known: dict[int, _Known] = field(default_factory=dict)
    table: Table = field(default_factory=Table)


def run_tofu(out: Path, choice: Choice, plan: Plan, say: Callable[[str], None], store: Path | None = None) -> Page:
    """Make what is not yet in the store; out/tofu.md and tofu.json are whole after every run, and name what is
    missing.

    store: None for out/store. The same command goes on where it stopped; another one finds in the store whatever
    it shares with earlier ones. Raises UserError for unknown methods, and where model, data or optuna are absent.
    """
    if plan.trials:
        need_optuna()
    split_of(choice)  # a mistake in it leaves no folder behind
    kept = Store(store or out / "store")
    setting, development = tofu_setting(choice, kept)
    return carry_out(_Bench(out, setting, setting.on(development), plan, kept, say))


def smoke_tofu(out: Path, seeds: int, say: Callable[[str], None]) -> Page:
    """All methods on the smallest model and a few embedded people, two trials each: the numbers mean nothing."""
    need_optuna()
    setting, development = smoke_setting()
    plan = Plan(EVERY, seeds, 2, f"ofmu bench tofu --smoke --seeds {seeds}")
    return carry_out(_Bench(out, setting, setting.on(development), plan, Store(out / "store"), say))


def method_names(text: str) -> tuple[str, ...]:
    """Names from "ofmu,npo,…"; "all" is every method that forgets. Raises UserError for an unknown name."""
    names = EVERY if text == "all" else tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in EVERY:
            near = difflib.get_close_matches(name, EVERY, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"--methods: found {name!r}; {hint}Methods: {', '.join(EVERY)}, or all")
    if not names or len(set(names)) != len(names):
        raise UserError(f"--methods: found {text!r}, expected each method once, such as ofmu,npo")
    return names


def carry_out(bench: _Bench) -> Page:
    """Method by method: tune, then run on every seed; the model utility of all models last."""
    plan, general = bench.plan, bool(bench.setting.general)
    missing = [_words(name, seed) for name in plan.methods for seed in range(plan.seeds)]
    missing += ["the model utility of all models"] * general
    missing += ["the general knowledge of all models"] * bool(bench.setting.knowledge)
    for name in plan.methods:
        try:
            _method(bench, name, missing)
        except UserError as error:  # a method that cannot run here stops no other
            bench.say(f"{NAMES[name]}: {error}")
            for seed in range(plan.seeds):
                if _words(name, seed) in missing:
                    _absent(bench, name, seed, str(error), missing)
    for seed in range(plan.seeds) if general else ():
        _utility(bench, seed)
        _write(bench, missing)
    for seed in range(plan.seeds):
        _knowledge(bench, seed)
        _write(bench, missing)
    return _write(bench, [])


def _method(bench: _Bench, name: str, missing: list[str]) -> None:
    """Choose the settings of one method, and run it on every seed."""
    plan, setting = bench.plan, bench.setting
    if plan.trials:
        bench.say(f"{NAMES[name]}: {plan.trials} trials on other people")
    preset = setting.method(name)
    found = chosen(bench.development, name, preset, plan.trials, bench.store.root / "tuning", bench.store)
    bench.table.tuning[name] = found
    for seed in range(plan.seeds):
        bench.say(f"{NAMES[name]}, seed {seed}")
        if found.method is None:
            _absent(bench, name, seed, f"all {found.trials} trials of its tuning failed", missing)
        else:
            _run(bench, name, found.method, seed)
            missing.remove(_words(name, seed))
            _write(bench, missing)


def _words(name: str, seed: int) -> str:
    return f"{NAMES[name]} (seed {seed})"


def _write(bench: _Bench, missing: Sequence[str]) -> Page:
    page = page_of(bench.setting, bench.table, bench.plan.command, bench.plan.trials, missing)
    write_text(bench.out / "tofu.md", markdown(page, bench.setting, bench.table))
    costs = [asdict(cost) for task in page.tasks for cost in task.costs]
    tuning = {name: {**asdict(found), "method": repr(found.method)} for name, found in bench.table.tuning.items()}
    more = {"costs": costs, "tuning": tuning, "intervals": intervals(bench.setting, bench.table)}
    write_scores(bench.out / "tofu.json", page.rows, {"command": page.command, **page.environment, **more})
    return page


def _references(bench: _Bench, seed: int) -> _Known:
    """The references of a seed, with their rows; another seed's Retrain says how far two of them differ."""
    if seed in bench.known:
        return bench.known[seed]
    setting, store = bench.setting, bench.store
    models = {}
    for name in (ORIGINAL, RETRAIN):
        bench.say(f"{name}, seed {seed}")
        models[name] = reference(setting, name, seed, store)
    seen = {name: seen_reference(model, setting, store) for name, model in models.items()}
    ours = bench.known[seed] = _Known(models, seen)
    cell = bench.table.cells[seed] = Cell(seed)
    for name, model in models.items():
        gold = None if name == RETRAIN else seen[RETRAIN]
        cell.rows += score_rows(setting.task, name, seed, seen[name], setting, gold, seen[ORIGINAL])
        cell.spent.append(model.spent)
        bench.table.seen[name, seed] = seen[name]
        ours.load[name] = model, partial(_loaded, model, setting), seen[name]
    for other in [bench.known[seed - 1]] if seed - 1 in bench.known else []:
        rows = score_rows(setting.task, FLOOR, seed, other.seen[RETRAIN], setting, seen[RETRAIN], seen[ORIGINAL])
        cell.rows += rows
        cell.spent.append(replace(other.models[RETRAIN].spent, method=FLOOR))
    return ours


def _loaded(model: Reference, setting: Setting) -> tuple[Module, bool]:
    """A reference's upper part, and that it is one."""
    return model.top(setting), True


def _run(bench: _Bench, name: str, method: Method, seed: int) -> None:
    """One method on one seed, made now or found in the store."""
    setting, store, ours = bench.setting, bench.store, _references(bench, seed)
    cell, shown_as, original = bench.table.cells[seed], NAMES[name], ours.models[ORIGINAL]
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
    cell.rows += score_rows(setting.task, shown_as, seed, seen, setting, ours.seen[RETRAIN], ours.seen[ORIGINAL])
    bench.table.seen[shown_as, seed] = seen
    ours.load[shown_as] = run.model, lambda: (restored(run, setting, original), setting.through_top), seen
    if run.spent.ended != "the budget is spent":
        cell.notes.append(f"{shown_as}, seed {seed}: ended because {run.spent.ended}.")
    if name == "ofmu":
        cell.losses = _losses(setting.task, ours.seen, seen)
        cell.answers = _answers(setting, ours.seen, seen)


def _absent(bench: _Bench, name: str, seed: int, why: str, missing: list[str]) -> None:
    """A method without a run: its rows say why."""
    _references(bench, seed)
    bench.table.cells[seed].rows += missing_rows(bench.setting.task, NAMES[name], seed, why)
    missing.remove(_words(name, seed))
    _write(bench, missing)


def _utility(bench: _Bench, seed: int) -> None:
    """The model utility of every model of a seed."""
    for name, (model, load, seen) in bench.known[seed].load.items():
        bench.say(f"{name}, seed {seed}: model utility")
        row = utility_row(bench.setting.task, name, seed, model, load, seen, bench.setting, bench.store)
        bench.table.cells[seed].rows.append(row)


def _knowledge(bench: _Bench, seed: int) -> None:
    """General knowledge of every model of a seed, and what it lost of the original's."""
    setting, store, rows = bench.setting, bench.store, bench.table.cells[seed].rows
    ours = bench.known[seed].load
    if setting.unknown:
        for name in ours:
            rows += absent_knowledge(setting.task, name, seed, setting.unknown)
    if not setting.knowledge:
        return
    before = right_answers(*ours[ORIGINAL][:2], setting, store)
    for name, (model, load, _) in ours.items():
        bench.say(f"{name}, seed {seed}: general knowledge")
        after = None if name == ORIGINAL else right_answers(model, load, setting, store)
        rows += knowledge_rows(setting.task, name, seed, before, after)


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
