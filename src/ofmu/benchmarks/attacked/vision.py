"""The models of the vision benchmarks under attack: originals, retrained models and every method's result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch.nn import Module

from ...data.forget_request import ForgetRequest
from ...engine.checkpoint import load_state, save_state
from ...engine.prepare import Parts
from ...evidence.case import Case, Memory
from ...evidence.shadows import Setup, Unlearning
from ...report.model import FLOOR, ORIGINAL
from ..image_choices import Choice, Reinit
from ..image_study import run_choice
from ..vision.cell import split_of
from ..vision.references import SEEDS, Workshop, reference, retrains
from ..vision.runs import request_of, run_key
from ..vision.split import VisionSplit
from .rows import Row, attacked

GROUPS = ("mia", "relearn", "quantise", "interpolate", "inside", "gradnorm", "disturb", "u-lira")


@dataclass(frozen=True)
class Asked:
    """How much is done. gold: retrained models to compare with; shadows: of U-LiRA, 0 leaves it out."""

    gold: int = 5
    shadows: int = 64
    jobs: int = 1
    groups: tuple[str, ...] = GROUPS


def vision_rows(
    shop: Workshop, request: ForgetRequest, task: str, seed: int, choices: Sequence[Choice], asked: Asked
) -> dict[str, list[Row]]:
    """The rows of the original, of a further retrained model and of every method, by their names.

    Models come from the benchmark's store where they are there; methods' results are made once more, since the
    benchmark keeps what it saw of them, not the weights, and are kept beside. The unseen rows are the test set;
    those of a random request are taken to be alike (`Case.alike`).
    """
    parts = split_of(shop, request, seed)
    original = reference(shop, parts, seed, task, ORIGINAL)[0]
    gold = tuple(retrains(shop, parts, seed, task, asked.gold))
    alike = request.kind == "random"
    key_of = shop.key(parts.train, replace(shop.setting.recipe, seed=seed))
    trained = {"original": key_of, "gold": asked.gold, "alike": alike}
    data = Parts(parts.forget, parts.retain, parts.test)
    recipe = replace(shop.setting.recipe, seed=seed)
    bare = Case("image", original, data, gold, original, recipe=recipe, seed=seed, alike=alike, memory=Memory())
    plain = tuple(group for group in asked.groups if group != "u-lira")
    found = {}
    for name in (ORIGINAL, FLOOR):
        model = reference(shop, parts, seed, task, name)[0]
        key = {**trained, "attacked": [name, seed + SEEDS[name]]}
        found[name] = attacked(replace(bare, model=model), plain, shop.store, key, f"{task}, {name}", shop.say)
    for choice in choices:
        model = unlearned(shop, choice, original, parts, task, seed)
        key = {**trained, "attacked": run_key(shop, choice, parts, request_of(shop, parts, task), seed)}
        case = replace(bare, model=model, shadows=_shadows(shop, choice, parts, task, original, asked))
        groups = asked.groups if asked.shadows else plain
        title = f"{task}, seed {seed}: {choice.title}"
        found[choice.title] = attacked(case, groups, shop.store, key, title, shop.say)
    return found


def unlearned(
    shop: Workshop, choice: Choice, original: Module, parts: VisionSplit, task: str, seed: int
) -> Module:
    """A method's result, from the store where it is there."""
    request, model = request_of(shop, parts, task), shop.fresh(0)

    def make(folder: Path) -> None:
        shop.say(f"{task}, seed {seed}: {choice.title} unlearns")
        run = run_choice(choice, original, request, seed)
        state = {name: value.cpu() for name, value in run.model.state_dict().items()}
        save_state(folder / "model.safetensors", {"model": state, "ended": run.ended})

    key = {**run_key(shop, choice, parts, request, seed), "kind": "vision unlearned model"}
    folder = shop.store.get_or_make(key, make, note=f"{task}, seed {seed}: {choice.title}, model")
    model.load_state_dict(load_state(folder / "model.safetensors")["model"])
    return model.eval()


def _shadows(
    shop: Workshop, choice: Choice, parts: VisionSplit, task: str, original: Module, asked: Asked
) -> Setup | None:
    """How shadows of a method are made; None for a procedure that is no method, such as a partial retraining."""
    if isinstance(choice.method, Reinit) or not asked.shadows:
        return None
    recipe, budget = shop.setting.recipe, request_of(shop, parts, task).budget
    how = Unlearning(choice.method, budget, None if choice.name == "ofmu" else recipe.batch)
    return Setup(shop.store.root, original, how=how, number=asked.shadows, jobs=asked.jobs)
