"""Planted multiple-choice knowledge: taught to the one-minute Llama, forgotten, and asked for again.

On WMDP a small model is near chance before anything is unlearned; here it knows every answer first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from torch.nn import Module

from ..data.choices import answered
from ..data.encode import Encoder, TextSamples
from ..data.planted import CHOICES, Planted, planted
from ..engine.language import TINY_LLAMA, train_tokenizer
from ..engine.prepare import Parts, Sources, prepare
from ..methods import build_method
from ..metrics import mean_score, per_sample_nll_error
from ..report.model import ORIGINAL, RETRAIN, Page, ScoreRow, TaskSection
from .choices import choice_row, choice_view
from .demo import mean_of
from .demo_text import RECIPE, SEEDS, fresh, reference
from .experiment import Budget, run_method
from .results import write_results
from .rows import score_row
from .study import Cell, environment, in_one_thread, section, titled
from .text_scores import TextParts, TextView, view_text

TASK = "Planted minerals"
METHODS = ("ofmu", "graddiff", "graddiff-bounded", "npo", "simnpo")
SMOKE = ("ofmu", "graddiff")
SHARE = 1.0  # every method's budget, as a share of one retraining


@in_one_thread()
def run_planted(out: Path, seeds: int, smoke: bool, say: Callable[[str], None]) -> Page:
    """Teach, unlearn with every method, ask; a run that is no smoke leaves planted.md and planted.json."""
    cells = []
    for seed in range(1 if smoke else seeds):
        cells.append(planted_cell(seed, SMOKE if smoke else METHODS, smoke))
        say(f"{TASK}, seed {seed}: done")
    sized = planted(0, **_sizes(smoke))
    about = (
        f"A Llama of a million parameters learned {len(sized.forget) + len(sized.retain)} facts about minerals "
        f"that do not exist; {len(sized.forget)} of them, about other minerals than the rest, are forgotten. A "
        f"question is answered by the likeliest of {CHOICES} choices, so chance is {1 / CHOICES:g}."
    )
    found = section(TASK, about, cells, batch=16, tuning="none: one preset per kind of data")
    page = Page(
        title="Planted multiple-choice knowledge",
        request={"To be forgotten": "all facts about some minerals", "To be kept": "the facts about the others"},
        verdict=verdict(found),
        tasks=[found],
        environment=environment("one thread"),
        command=f"ofmu bench planted {'--smoke' if smoke else f'--seeds {seeds}'}",
        limits=[
            "The facts are arbitrary and the model tiny: that hazardous knowledge, which is woven into much else, "
            "can be forgotten like this is not shown."
        ],
    )
    if not smoke:
        write_results(out, "planted", page)
    return page


def planted_cell(seed: int, methods: Sequence[str], smoke: bool = False) -> Cell:
    """One seed: Original, Retrain and every method, each asked about all groups."""
    world = planted(seed, **_sizes(smoke))
    recipe = replace(RECIPE, epochs=4 if smoke else RECIPE.epochs)
    encoder, cell = _encoder(), Cell(seed)
    parts = TextParts(TextSamples(answered(world.forget), encoder), TextSamples(answered(world.retain), encoder))
    learned = {ORIGINAL: answered(world.forget + world.retain), RETRAIN: answered(world.retain)}
    models = {name: reference(name, learned[name], encoder, seed, cell, recipe) for name in SEEDS}
    views = {name: view_text(model, parts) for name, model in models.items()}

    def rows(name: str, model: Module, view: TextView) -> list[ScoreRow]:
        return [*_asked(name, seed, world, model, encoder), *_losses(name, seed, view, views[RETRAIN])]

    for name, model in models.items():
        cell.rows += rows(name, model, views[name])
    data = Parts(parts.forget, parts.retain, TextSamples(answered(world.heldout), encoder))
    budget = SHARE * recipe.epochs * len(parts.retain)
    for name in methods:
        method = build_method(name, "text", width=int(str(TINY_LLAMA["hidden_size"])))
        prepared = prepare(models[ORIGINAL], "text", data, method, Sources(fresh=fresh, recipe=recipe), seed)
        run = run_method(models[ORIGINAL], prepared, data, method, Budget(budget))
        shown = titled(name)
        cell.add_run(TASK, name, run, budget, rows(shown, run.model, view_text(run.model, parts)))
    return cell


def _asked(name: str, seed: int, world: Planted, model: Module, encoder: Encoder) -> list[ScoreRow]:
    """Accuracy on the forgotten, the kept, and minerals that nobody was taught."""
    groups = (("forget", world.forget, None), ("retain", world.retain, True), ("unseen", world.unseen, None))
    return [
        choice_row(TASK, name, seed, choice_view(model, group, encoder), higher, f"{part}_accuracy")
        for part, group, higher in groups
    ]


def _losses(name: str, seed: int, view: TextView, gold: TextView) -> list[ScoreRow]:
    """Loss on the forgotten answers, and its distance to Retrain's, sample by sample."""
    forget = view.losses["forget"]
    found = {"forget_nll": mean_score(forget, "nats", None)}
    if name not in (ORIGINAL, RETRAIN):
        found["nll_error"] = per_sample_nll_error(forget, gold.losses["forget"])
    return [score_row(TASK, name, seed, metric, score) for metric, score in found.items()]


def verdict(task: TaskSection) -> list[str]:
    """What became of the forgotten and the kept, for every method, in sentences made from the rows."""
    methods = [name for name in dict.fromkeys(row.method for row in task.rows) if name not in (ORIGINAL, RETRAIN)]
    before, gold = (mean_of(task, name, "forget_accuracy") for name in (ORIGINAL, RETRAIN))
    said = [f"Forgotten facts: the original knows {before:.2f} of them, a model never taught them {gold:.2f}."]
    for name in methods:
        forgotten, kept = (mean_of(task, name, f"{part}_accuracy") for part in ("forget", "retain"))
        said.append(
            f"{name}: {forgotten:.2f} of the forgotten, {kept:.2f} of the kept{_judged(forgotten, gold, task)}."
        )
    return said


def _judged(forgotten: float, gold: float, task: TaskSection) -> str:
    """Says so where an accuracy is not chance's, nor Retrain's: over two standard errors of a guess away."""
    asked = sum(row.n for row in task.rows if row.metric == "forget_accuracy" and row.method == RETRAIN)
    chance = 1 / CHOICES
    apart = 2 * math.sqrt(chance * (1 - chance) / asked)
    if forgotten < min(chance, gold) - apart:
        return "; below chance: it still tells the truth apart, and avoids it"
    return "; above chance: it still knows some" if forgotten > max(chance, gold) + apart else ""


def _sizes(smoke: bool) -> dict[str, int]:
    return {"forget": 1, "retain": 2, "heldout": 1, "unseen": 1} if smoke else {}


@cache
def _encoder() -> Encoder:
    """The tokenizer knows the words, not the facts: it learned from other minerals."""
    strangers = planted(1_000_000, forget=100, retain=100, heldout=0, unseen=0)
    texts = [f"{q.question}\n{choice}" for q in strangers.forget + strangers.retain for choice in q.choices]
    return Encoder.of(train_tokenizer(texts, int(str(TINY_LLAMA["vocab_size"]))), max_length=64)
