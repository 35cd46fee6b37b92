"""The vision benchmark from beginning to end: tuning, seeds, rows as they come, one table and one page."""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ...data.forget_request import ForgetRequest, parse_forget
from ...data.image_pools import POOLS, load_pool
from ...data.images import ImageSplits
from ...engine.store import Store, default_root
from ...errors import UserError
from ...methods.published import PUBLISHED
from ...report.figures import Drawn
from ...report.model import REFERENCES, Page
from ...report.page import write_page
from ...report.series import series_png
from ..image_choices import Choice, image_methods, parse_choices
from ..results import write_results
from ..study import Cell, in_one_thread
from .cell import vision_cell
from .ensembles import klom_rows
from .figures import figures_of
from .own import OWN, own_pool, own_setting
from .page import page_of, sections_of, series_in
from .references import Workshop
from .setting import Scale, Setting, setting_of, smallest
from .studies import FILES, expanded
from .tuned import Tuned, tuned_choices

Say = Callable[[str], None]
SMOKE_TRIALS = 2
FRESH = 900  # seeds from here on are tuned on (`split.TUNING`, counted down)
EVERYTHING = "digits"  # the benchmark whose smallest form runs every method: its data are embedded


@dataclass(frozen=True)
class VisionOptions:
    """What the command line says beyond seeds and folder; empty: the setting's own.

    ensemble: models a side for KLoM, on the first seed's split; 0: no KLoM. data, size: the user's own images, for
    the benchmark "images" alone. numbers: the seeds themselves, in place of the first so many.
    """

    forget: tuple[str, ...] = ()
    model: str | None = None
    methods: tuple[str, ...] = ()
    scale: Scale = "cpu"
    trials: int = 1
    ensemble: int = 0
    data: str | None = None
    size: int | None = None
    numbers: tuple[int, ...] = ()

    def seeds(self, count: int) -> tuple[int, ...]:
        """The seeds that are reported. Raises UserError for one that is negative, twice there, or tuned on."""
        for seed in self.numbers:
            if not 0 <= seed < FRESH or self.numbers.count(seed) > 1:
                raise UserError(
                    f"--seed-numbers: found {seed} in {' '.join(map(str, self.numbers))}, expected each once, and "
                    f"from 0 to {FRESH - 1} (later ones are for tuning)"
                )
        return self.numbers or tuple(range(count))


@dataclass
class State:
    """What there is so far of a benchmark. left: the cells and methods that are still to come, in words."""

    setting: Setting
    command: str
    cells: dict[str, list[Cell]] = field(default_factory=dict)
    tuned: dict[str, list[Tuned]] = field(default_factory=dict)
    figures: dict[str, list[Drawn]] = field(default_factory=dict)
    left: str = ""

    def page(self) -> Page:
        """The page of what there is."""
        found = sections_of(self.setting, self.cells, self.tuned, self.figures)
        return page_of(self.setting, found, self.command, self.left)


def run_vision(name: str, out: Path, seeds: int, smoke: bool, say: Say, options: VisionOptions) -> Page:
    """All seeds of all requests of a benchmark; `out` gets NAME.md, NAME.json and tuning/ as rows come,
    report.html after every seed, and NAME-deciles.png or NAME-entanglement.png where a series of requests is run.

    Models and runs are kept in the store, so a benchmark that was stopped goes on from there. smoke: one seed of
    the smallest form, which writes nothing (digits: with all methods). Raises UserError where the data are not
    there.
    """
    if options.trials < 1:
        raise UserError(f"--trials: found {options.trials}, expected at least 1 (the preset alone)")
    if options.ensemble < 0 or options.ensemble == 1:
        raise UserError(f"--ensemble: found {options.ensemble}, expected 0 (no KLoM) or at least 2 models a side")
    numbers = options.seeds(seeds)
    setting, pool = _asked(name, smoke, options)
    command = command_of(name, seeds, smoke, options)
    # one thread, so that seconds compare with other runs'
    with in_one_thread() if options.scale == "cpu" else nullcontext():
        if not smoke:
            return _run(setting, out, numbers, options, Store(default_root(os.environ)), say, command, pool)
        options = replace(options, trials=min(options.trials, SMOKE_TRIALS), ensemble=min(options.ensemble, 2))
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder) / "store")
            return _run(smallest(setting), Path(folder), numbers[:1], options, store, say, command, pool)


def _asked(name: str, smoke: bool, options: VisionOptions) -> tuple[Setting, ImageSplits | None]:
    """The setting, and the images where they are the user's own."""
    requests = expanded(options.forget)
    named = [str(parse_forget(text)) for text in requests]
    twice = sorted({text for text in named if named.count(text) > 1})
    if twice:
        raise UserError(f"--forget: {', '.join(twice)} is named twice; name each request once")
    if name == OWN:
        if options.scale != "cpu":
            raise UserError(f"--scale: found {options.scale!r}, expected for {OWN} cpu; give --model")
        pool = own_pool(options.data, options.size)
        source = options.data or ""
        return own_setting(source, pool, model=options.model, requests=requests, methods=options.methods), pool
    if options.data is not None or options.size is not None:
        raise UserError(f"--data, --size: only for the benchmark {OWN}, found {name}")
    methods = options.methods or (tuple(image_methods()) if smoke and name == EVERYTHING else ())
    return setting_of(name, options.scale, model=options.model, requests=requests, methods=methods), None


def command_of(name: str, seeds: int, smoke: bool, options: VisionOptions) -> str:
    """What to type to get the same."""
    words = ["ofmu bench", name]
    words += [f"--data {shlex.quote(options.data)}"] if options.data else []
    words += [f"--size {options.size}"] if options.size else []
    words += [f"--forget {' '.join(options.forget)}"] if options.forget else []
    words += [f"--model {options.model}"] if options.model else []
    words += [f"--methods {' '.join(options.methods)}"] if options.methods else []
    words += [f"--scale {options.scale}"] if options.scale != "cpu" else []
    words += [f"--trials {options.trials}"] if options.trials > 1 else []
    words += [f"--ensemble {options.ensemble}"] if options.ensemble else []
    which = f"--seed-numbers {' '.join(map(str, options.numbers))}" if options.numbers else f"--seeds {seeds}"
    return " ".join([*words, "--smoke" if smoke else which])


def _run(
    setting: Setting,
    out: Path,
    seeds: Sequence[int],
    options: VisionOptions,
    store: Store,
    say: Say,
    command: str,
    pool: ImageSplits | None,
) -> Page:
    choices = parse_choices(setting.methods, PUBLISHED if options.scale == "salun" else {})
    requests = [parse_forget(text) for text in setting.requests]
    state = State(setting, command)
    for place, request in enumerate(requests):
        shop = workshop(setting, request, store, say, pool)
        task = task_name(setting, request)
        found = tuned_choices(shop, request, task, choices, options.trials, out / "tuning", seeds)
        state.tuned[task] = found
        later = [task_name(setting, other) for other in requests[place + 1 :]]
        tuned = [one.choice for one in found]
        _seeds(shop, request, task, tuned, seeds, state, out, later)
        if options.ensemble:
            sides = f"{task}: KLoM, {options.ensemble} models a side"
            state.left = ". ".join([sides, *(f"{other}: everything" for other in later)])
            write_results(out, setting.name, state.page())
            rows = state.cells[task][0].rows
            ran = {row.method for row in rows if row.value is not None}  # what was refused once is refused again
            able = [choice for choice in tuned if choice.title in ran]
            rows += klom_rows(shop, request, task, able, options.ensemble, seeds[0])
        _pictures(setting.name, state.page(), out, say)
    state.left = ""
    write_results(out, setting.name, state.page())
    return state.page()


def _seeds(
    shop: Workshop,
    request: ForgetRequest,
    task: str,
    choices: Sequence[Choice],
    seeds: Sequence[int],
    state: State,
    out: Path,
    later: Sequence[str],
) -> None:
    done = state.cells.setdefault(task, [])
    for place, seed in enumerate(seeds):
        start, after = time.perf_counter(), seeds[place + 1 :]

        def finished(cell: Cell, after: Sequence[int] = after) -> None:
            if not any(one is cell for one in done):
                done.append(cell)
            state.left = missing(task, cell, choices, after, later)
            write_results(out, shop.setting.name, state.page())

        cell, seen = vision_cell(shop, request, task, seed, choices, finished)
        if place == 0:
            state.figures[task] = figures_of(shop, seen, cell)
        if state.left:  # the last page is written by whoever asked for it
            _draw(state.page(), out, shop.say)
        shop.say(f"{task}, seed {seed}: done ({time.perf_counter() - start:.0f} s); {len(after)} seeds left")


def _draw(page: Page, out: Path, say: Say) -> None:
    """The page with its figures, so that a benchmark that is stopped has them."""
    try:
        write_page(out / "report.html", page)
    except UserError as error:  # the optional packages of pages are not installed: the tables are there
        say(f"report.html is left out: {error}")


def _pictures(name: str, page: Page, out: Path, say: Say) -> None:
    """NAME-deciles.png and NAME-entanglement.png, where there is such a series."""
    for kind, study in series_in(page.tasks).items():
        path = out / f"{name}-{FILES[kind]}.png"
        try:
            series_png(study.figures, path)
        except UserError as error:
            say(f"{path.name} is left out: {error}")


def missing(task: str, cell: Cell, choices: Sequence[Choice], seeds: Sequence[int], later: Sequence[str]) -> str:
    """In words, what is not there yet; empty when all is."""
    here = {row.method for row in cell.rows} - set(REFERENCES)
    absent = [choice.title for choice in choices if choice.title not in here]
    parts = [f"seed {cell.seed} of {', '.join(absent)}"] if absent else []
    parts += [f"seeds {', '.join(map(str, seeds))} of all methods"] if seeds else []
    words = [f"{task}: {'; '.join(parts)}"] if parts else []
    return ". ".join([*words, *(f"{other}: everything" for other in later)])


def workshop(
    setting: Setting, request: ForgetRequest, store: Store, say: Say, pool: ImageSplits | None = None
) -> Workshop:
    """The data that a request needs, with the rest; coarse labels are trained where a sub-class is forgotten.

    pool: the images where they are the user's own.
    """
    if request.kind == "subclass" and f"{setting.data}-coarse" in POOLS:
        setting = replace(setting, data=f"{setting.data}-coarse")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Workshop(pool or load_pool(setting.data), setting, store, device, say)


def task_name(setting: Setting, request: ForgetRequest) -> str:
    """A request's name in tables."""
    return f"{setting.name}: {request}"
