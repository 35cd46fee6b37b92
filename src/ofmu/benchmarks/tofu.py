"""The TOFU benchmark: a language model forgets some people, by every method, tuned alike, beside a Retrain."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..engine.store import Store
from ..errors import UserError
from ..methods import serving
from ..report.model import Page
from .study import titled
from .tofu_cells import Bench
from .tofu_choice import Choice, Plan, smoke_setting, split_of, tofu_setting
from .tofu_tuning import chosen, recorded
from .tuning import need_optuna

UTILITY, KNOWLEDGE = "the model utility of all models", "the general knowledge of all models"


def run_tofu(out: Path, choice: Choice, plan: Plan, say: Callable[[str], None], store: Path | None = None) -> Page:
    """Make what is not yet in the store; out/tofu.md and tofu.json are whole after every run, and name what is
    missing.

    store: None for out/store. The same command goes on where it stopped; another one finds in the store whatever
    it shares with earlier ones. Raises UserError for unknown methods, and where model, data or optuna are absent.
    """
    if plan.trials and plan.settings is None:
        need_optuna()
    split_of(choice)  # a mistake in it leaves no folder behind
    root = store or out / "store"
    new = [folder for folder in (root / ".locks", root, out) if not folder.exists()]
    kept = Store(root)
    try:
        setting, development = tofu_setting(choice, kept)
    except UserError:
        for folder in new:
            with suppress(OSError):  # something is in it
                folder.rmdir()
        raise
    return carry_out(Bench(out, setting, setting.on(development), plan, kept, say))


def smoke_tofu(out: Path, seeds: int, say: Callable[[str], None]) -> Page:
    """All methods on the smallest model and a few embedded people, two trials each: the numbers mean nothing."""
    need_optuna()
    setting, development = smoke_setting()
    plan = Plan(every_method(), seeds, 2, f"ofmu bench tofu --smoke --seeds {seeds}")
    return carry_out(Bench(out, setting, setting.on(development), plan, Store(out / "store"), say))


def every_method() -> tuple[str, ...]:
    """All that serve text and have a part that forgets, those of the caller's own included."""
    return tuple(name for name in serving("text") if name != "finetune")


def method_names(text: str) -> tuple[str, ...]:
    """Names from "ofmu,npo,…"; "all" is every method that forgets. Raises UserError for an unknown name."""
    known = every_method()
    names = known if text == "all" else tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"--methods: found {name!r}; {hint}Methods: {', '.join(known)}, or all")
    if not names or len(set(names)) != len(names):
        raise UserError(f"--methods: found {text!r}, expected each method once, such as ofmu,npo")
    return names


def carry_out(bench: Bench) -> Page:
    """Method by method: tune, then run on every seed. Model utility and general knowledge of all models last."""
    plan, general, knowledge = bench.plan, bool(bench.setting.general), bool(bench.setting.knowledge)
    bench.missing[:] = [_words(name, seed) for name in plan.methods for seed in plan.reported]
    bench.missing.extend([UTILITY] * general + [KNOWLEDGE] * knowledge)
    for name in plan.methods:
        try:
            _method(bench, name)
        except UserError as error:  # a method that cannot run here stops no other
            bench.say(f"{titled(name)}: {error}")
            for seed in plan.reported:
                if _words(name, seed) in bench.missing:
                    bench.absent(name, seed, str(error))
                    bench.done(_words(name, seed))
    for seed in plan.reported if general else ():
        bench.utility(seed)
        bench.write()
    for seed in plan.reported:
        bench.knowledge(seed)
        bench.write()
    bench.missing.clear()
    return bench.write()


def _method(bench: Bench, name: str) -> None:
    """Choose the settings of one method, and run it on every seed."""
    plan = bench.plan
    preset = bench.setting.method(name)
    if plan.settings is not None:
        found = recorded(plan.settings, name, preset)
    else:
        if plan.trials:
            bench.say(f"{titled(name)}: {plan.trials} trials on other people")
        found = chosen(bench.development, name, preset, plan.trials, bench.store.root / "tuning", bench.store)
    bench.table.tuning[name] = found
    for seed in plan.reported:
        bench.say(f"{titled(name)}, seed {seed}")
        if found.method is None:
            bench.absent(name, seed, f"all {found.trials} trials of its tuning failed")
        else:
            bench.run(name, found.method, seed)
        bench.done(_words(name, seed))


def _words(name: str, seed: int) -> str:
    return f"{titled(name)} (seed {seed})"
