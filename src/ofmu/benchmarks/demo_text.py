"""One seed of the demo's text task: a tiny Llama memorises people, forgets two, and is compared with Retrain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from torch.nn import Module

from ..data.encode import Encoder, TextSamples
from ..data.people import people
from ..data.records import Record
from ..engine.language import TINY_LLAMA, from_scratch, train_tokenizer
from ..engine.measuring import sample_losses
from ..engine.prepare import Parts, Sources, prepare
from ..engine.training import Recipe, trained
from ..losses import token_nll
from ..methods import build_method
from ..report.model import ORIGINAL, RETRAIN, AnswerRow, Losses
from .answering import answer
from .experiment import Budget, run_method
from .study import Cell, Spent, titled
from .text_scores import text_parts, text_rows, view_text

RECIPE = Recipe(epochs=16, batch=8, lr=2.5e-3, rule="adamw", decay=0.01, schedule="linear", clip=1.0)
SHARE = 1.0  # every method's budget, as a share of one retraining, which is cheap for six people
SEEDS = {ORIGINAL: 0, RETRAIN: 777}
SHOWN = 4  # answers on the page


def text_cell(task: str, seed: int, methods: Sequence[str]) -> Cell:
    """Train Original and Retrain, unlearn with every method, score and sample a few answers."""
    world = people(seed, forget=2, retain=6)
    encoder = demo_encoder()
    parts = text_parts(world.forget, world.retain, world.unseen, encoder)
    cell = Cell(seed)
    learned = {ORIGINAL: world.retain + world.forget, RETRAIN: world.retain}
    models = {name: reference(name, learned[name], encoder, seed, cell) for name in SEEDS}
    views = {name: view_text(model, parts) for name, model in models.items()}
    gold = views[RETRAIN]
    for name, view in views.items():
        cell.rows += text_rows(task, name, seed, view, gold)
    data = Parts(parts.forget, parts.retain, TextSamples(world.heldout, encoder))
    budget = SHARE * RECIPE.epochs * len(parts.retain)
    results: dict[str, Module] = {}
    for name in methods:
        method = build_method(name, "text", width=int(str(TINY_LLAMA["hidden_size"])))
        sources = Sources(fresh=fresh, recipe=RECIPE)
        prepared = prepare(models[ORIGINAL], "text", data, method, sources, seed, budget=budget)
        run = run_method(models[ORIGINAL], prepared, data, method, Budget(budget))
        results[name] = run.model
        view = view_text(run.model, parts)
        cell.add_run(task, name, run, budget, text_rows(task, titled(name), seed, view, gold))
    if "ofmu" in results:
        cell.losses = _losses(task, models, results["ofmu"], data)
        cell.answers = _answers(models, results["ofmu"], world.forget, encoder)
    return cell


@cache
def demo_encoder() -> Encoder:
    """The tokenizer knows the language, not the people: it learned from others who share its words.

    Fitted on the people of the task it would have a token of its own for each of their facts and split every wrong
    answer into pieces, so that the truth could be told by its length.
    """
    strangers = [people(1_000_000 + i, forget=1, retain=24, heldout=0, unseen=0) for i in range(6)]
    records = [record for group in strangers for record in group.forget + group.retain]
    texts = [f"{turn.role}\n{turn.content}" for record in records for turn in record.messages]
    return Encoder.of(train_tokenizer(texts, int(str(TINY_LLAMA["vocab_size"]))), max_length=256)


def fresh(seed: int) -> Module:
    """The one-minute Llama, untrained."""
    return from_scratch(TINY_LLAMA, seed, attention="sdpa")


def reference(
    name: str, records: Sequence[Record], encoder: Encoder, seed: int, cell: Cell, recipe: Recipe = RECIPE
) -> Module:
    """Original or Retrain (each has its own seed), trained on `records`; the cell is told what it took."""
    start = time.perf_counter()
    model = fresh(seed + SEEDS[name])
    samples = TextSamples(records, encoder)
    cost = trained(model, samples, token_nll, replace(recipe, seed=seed + SEEDS[name]))
    cell.spent.append(Spent(name, cost, time.perf_counter() - start))
    return model


def _losses(task: str, models: dict[str, Module], after: Module, data: Parts) -> Losses:
    assert data.heldout is not None  # the demo always has held-out people
    return Losses(
        task,
        before=sample_losses(models[ORIGINAL], data.forget, token_nll).tolist(),
        after=sample_losses(after, data.forget, token_nll).tolist(),
        retrain=sample_losses(models[RETRAIN], data.forget, token_nll).tolist(),
        unseen=sample_losses(after, data.heldout, token_nll).tolist(),
    )


def _answers(
    models: dict[str, Module], after: Module, forget: Sequence[Record], encoder: Encoder
) -> list[AnswerRow]:
    shown = forget[:: max(1, len(forget) // SHOWN)][:SHOWN]
    said = [answer(model, encoder, shown) for model in (models[ORIGINAL], after, models[RETRAIN])]
    return [
        AnswerRow(record.id, before, now, record.completion, question=record.prompt, retrain=retrained)
        for record, before, now, retrained in zip(shown, *said, strict=True)
    ]
