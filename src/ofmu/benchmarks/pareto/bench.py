"""`ofmu bench pareto` from beginning to end: seed by seed through all tasks, files written after every run."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...data.forget_request import parse_forget
from ...engine.store import Store, default_root
from ...errors import UserError
from ...methods import serving
from ...report.model import Page
from ..image_choices import parse_choices
from ..study import in_one_thread
from ..vision.bench import workshop
from ..vision.references import Workshop
from ..vision.setting import EIGHT, NAMES, setting_of, smallest
from .ground import Found, Ground, seeds_after
from .images import TUNING, ImageGround
from .page import draw, page_of, write
from .text import text_ground

NAME, TEXT = "pareto", "llama"
REQUESTS = {  # what is forgotten where --forget says nothing
    "fashion": ("random:0.1", "class", "subclass:7", "entangled:0.5"),
    "cifar100": ("random:0.1", "class", "subclass:17", "entangled:0.5"),
}
USUAL = ("random:0.1", "class", "entangled:0.5")
BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.5)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What was asked for. Empty: what the data usually are asked to forget, the model and methods of the setting.

    data: names of the vision benchmark, or "llama". budgets: shares of a retraining. trials: 1 for presets.
    """

    data: tuple[str, ...] = ("fashion", "cifar10-ci")
    forget: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    budgets: tuple[float, ...] = BUDGETS
    model: str | None = None
    seeds: int = 3
    trials: int = 1
    smoke: bool = False

    @property
    def command(self) -> str:
        """What to type to get the same."""
        words = ["ofmu bench", NAME, f"--data {' '.join(self.data)}"]
        words += [f"--forget {' '.join(self.forget)}"] if self.forget else []
        words += [f"--methods {' '.join(self.methods)}"] if self.methods else []
        words += [f"--model {self.model}"] if self.model else []
        words += [f"--budgets {' '.join(f'{budget:g}' for budget in self.budgets)}"]
        words += [f"--trials {self.trials}"] if self.trials > 1 else []
        return " ".join([*words, "--smoke" if self.smoke else f"--seeds {self.seeds}"])


SMOKED = Plan(("digits",), ("random:0.1",), ("ofmu", "reinit", "npo"), (0.1, 0.5))  # where nothing else is asked
SMOKED_TEXT = ("ofmu", "npo")


def check(plan: Plan) -> None:
    """UserError for what cannot be run, before anything is loaded."""
    unknown = [name for name in plan.data if name not in (*NAMES, TEXT)]
    if unknown or not plan.data or len(set(plan.data)) != len(plan.data):
        found = ", ".join(unknown or plan.data) or "nothing"
        raise UserError(f"--data: found {found}; expected some of {', '.join(NAMES)}, {TEXT}, each once")
    if not plan.budgets or not all(0 < budget <= 1 for budget in plan.budgets):
        raise UserError(f"--budgets: found {plan.budgets}, expected shares of a retraining, over 0 and up to 1")
    if len(set(plan.budgets)) != len(plan.budgets):
        raise UserError(f"--budgets: found {plan.budgets}, expected each once")
    for name, count in (("--seeds", plan.seeds), ("--trials", plan.trials)):
        if count < 1:
            raise UserError(f"{name}: found {count}, expected at least 1")
    if TEXT in plan.data and len(plan.data) > 1 and plan.methods:
        raise UserError(f"--methods: {TEXT} and images have different ones; run them apart")
    if plan.data == (TEXT,):
        strange = [name for name in plan.methods if name not in serving("text")]
        if strange:
            raise UserError(f"--methods: found {', '.join(strange)}; for text: {', '.join(serving('text'))}")
        if plan.forget or plan.model:
            raise UserError(f"--forget, --model: images alone; {TEXT} forgets two of its people")


def run_pareto(out: Path, plan: Plan, say: Say) -> Page:
    """All seeds of all tasks; `out` gets pareto.md and pareto.json as runs end, and figures/ after every seed.

    Models and runs are kept in the store, so that a benchmark that was stopped goes on from there. smoke: one seed
    of the smallest form, in a store of its own. Raises UserError where the plan or the data cannot be had.
    """
    plan = _smallest(plan) if plan.smoke else plan
    check(plan)
    with in_one_thread() if not torch.cuda.is_available() else nullcontext():
        if not plan.smoke:
            return _run(out, plan, Store(default_root(os.environ)), say)
        with tempfile.TemporaryDirectory() as folder:
            return _run(out, plan, Store(Path(folder) / "store"), say)


def _smallest(plan: Plan) -> Plan:
    """One seed of few methods at two budgets; the data as asked, else the embedded digits."""
    data = plan.data if plan.data != Plan().data else SMOKED.data
    text = data == (TEXT,)
    methods = plan.methods or (SMOKED_TEXT if text else SMOKED.methods)
    forget = plan.forget or (() if text else SMOKED.forget)
    budgets = plan.budgets if plan.budgets != BUDGETS else SMOKED.budgets
    trials = min(plan.trials, 2)
    return replace(plan, data=data, forget=forget, methods=methods, budgets=budgets, seeds=1, trials=trials)


def _run(out: Path, plan: Plan, store: Store, say: Say) -> Page:
    grounds = {ground.name: (ground, Found()) for ground in grounds_of(plan, store, out, say)}

    def page(left: str) -> Page:
        return page_of(grounds, f"ofmu bench {NAME}", plan.command, left, TUNING)

    for seed in range(plan.seeds):
        for place, (name, (ground, found)) in enumerate(grounds.items()):
            start = time.perf_counter()
            rest = _left(plan, seed, list(grounds)[place + 1 :])

            def done(name: str = name, seed: int = seed, rest: Sequence[str] = rest) -> None:
                left = "; ".join([f"some runs of {name}, seed {seed}", *rest])
                write(out, NAME, page(left), grounds)

            ground.run(seed, plan.budgets, found, done)
            draw(out, ground, found)
            say(f"{name}, seed {seed}: done ({time.perf_counter() - start:.0f} s)")
    write(out, NAME, page(""), grounds)
    return page("")


def _left(plan: Plan, seed: int, later: Sequence[str]) -> list[str]:
    words = [f"seed {seed} of {', '.join(later)}"] if later else []
    return words + [f"{text} of all" for text in seeds_after(seed, plan.seeds)]


def grounds_of(plan: Plan, store: Store, out: Path, say: Say) -> list[Ground]:
    """The tasks of a plan, in their order."""
    made: list[Ground] = []
    for data in plan.data:
        if data == TEXT:
            trials = plan.trials if plan.trials > 1 else 0
            made.append(text_ground(plan.methods, trials, store, say, plan.smoke))
            continue
        setting = setting_of(data, "cpu", model=plan.model, methods=plan.methods or EIGHT)
        setting = smallest(setting) if plan.smoke else setting
        choices = parse_choices(setting.methods)
        shops: dict[str, Workshop] = {}
        for text in plan.forget or REQUESTS.get(data, USUAL):
            request = parse_forget(text)
            kind = request.kind if request.kind == "subclass" else ""
            if kind not in shops:  # all other requests share the data in memory
                shops[kind] = workshop(setting, request, store, say)
            made.append(ImageGround(shops[kind], request, choices, plan.trials, plan.seeds, out))
    return made
