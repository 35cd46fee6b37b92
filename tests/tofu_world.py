"""A TOFU benchmark so small that its runs take a moment: a tiny Llama and embedded people."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from ofmu.benchmarks.tofu_cells import Bench
from ofmu.benchmarks.tofu_choice import Plan, choice_question, one_minute
from ofmu.benchmarks.tofu_models import Preset
from ofmu.benchmarks.tofu_setting import Setting, built
from ofmu.benchmarks.tofu_split import Split, people_split
from ofmu.engine.language import TINY_LLAMA
from ofmu.engine.models import LoadedModel
from ofmu.engine.store import Store
from ofmu.engine.training import Recipe

SMALL = {**TINY_LLAMA, "vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4}
RECIPE = Recipe(12, 8, 1e-2, "adamw", 0.0, "linear", clip=1.0)
PRESET = Preset("top:2", RECIPE, epochs=1, generated=2, longest=6)


@cache
def base() -> LoadedModel:
    return one_minute(SMALL)


@cache
def split() -> Split:
    return people_split(1, 1, questions=8)


@cache
def setting(spec: str = "top:2") -> Setting:
    return built(base(), "tiny", split(), PRESET, spec)


def with_general(given: Setting) -> Setting:
    groups = given.groups
    general = {"real_authors": groups.heldout[:2], "world_facts": groups.unseen[:2]}
    return replace(given, general=general, knowledge=[choice_question(record) for record in groups.retain[:5]])


def bench(out: Path, given: Setting, plan: Plan, told: list[str]) -> Bench:
    return Bench(out, given, given.on(split().development), plan, Store(out / "store"), told.append)
