"""One unlearning run, kept in the store with all that scores and figures are made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch.nn import Module

from ... import __version__
from ...engine.checkpoint import load_state, save_state
from ...report.model import Point
from ..image_choices import Choice, Reinit
from ..image_scores import ImageParts
from ..image_study import ImageRequest, run_choice
from ..study import Spent
from .references import Workshop, samples_fingerprint
from .seen import CODE, START, Seen, plain, see, seen_from
from .split import VisionSplit


@dataclass(frozen=True)
class KeptRun:
    """A finished run: how its model is seen, what it took, its path. failed: it diverged (`spent.ended`: how)."""

    seen: Seen
    spent: Spent
    points: list[Point]
    failed: bool


def parts_of(split: VisionSplit, *, tuning: bool = False) -> ImageParts:
    """What a split is scored on: the test set in tables, the development part while tuning."""
    return ImageParts(split.forget, split.retain, split.development if tuning else split.test)


def request_of(shop: Workshop, split: VisionSplit, task: str, *, tuning: bool = False) -> ImageRequest:
    """The request of a split, with the setting's budget."""
    recipe = shop.setting.recipe
    budget = shop.setting.share * recipe.epochs * len(split.retain)
    return ImageRequest(task, parts_of(split, tuning=tuning), split.heldout, recipe, budget)


def kept_run(
    shop: Workshop, choice: Choice, original: Module, split: VisionSplit, task: str, seed: int, level: float | None
) -> KeptRun:
    """The run of a method from the original, from the store where it is there.

    seed: that of the original's training too. level: as `see` takes it (None: the model is not relearned).
    """
    request = request_of(shop, split, task)

    def make(folder: Path) -> None:
        run = run_choice(choice, original, request, seed, cosine=True)
        took = {
            "cost": run.cost,
            "setup": run.setup_cost,
            "seconds": run.seconds,
            "peak": run.peak_bytes,
            "gpu": run.gpu,
        }
        state = {
            **took,
            "ended": run.ended,
            "failed": run.failed,
            "points": [asdict(point) for point in run.points],
            "seen": plain(see(run.model, split, shop.setting.recipe, level)),
        }
        save_state(folder / "run.safetensors", state)

    title = f"{task}, seed {seed}: {choice.title}"
    key = run_key(shop, choice, split, request, seed) | ({"relearned": False} if level is None else {})
    folder = shop.store.get_or_make(key, make, note=title)
    saved = load_state(folder / "run.safetensors")
    spent = Spent(
        choice.title,
        saved["cost"],
        saved["seconds"],
        saved["setup"],
        saved["peak"],
        request.budget,
        saved["ended"],
        saved.get("gpu", False),
    )
    points = [Point(**point) for point in saved["points"]]
    return KeptRun(seen_from(saved["seen"], split), spent, points, saved["failed"])


def run_key(
    shop: Workshop, choice: Choice, split: VisionSplit, request: ImageRequest, seed: int
) -> dict[str, object]:
    """What a run depends on: its original, its data, the method with its settings, the budget, the code."""
    return {
        "kind": "vision run",
        "code": [__version__, CODE],
        "original": shop.key(split.train, replace(shop.setting.recipe, seed=seed)),
        "forget": samples_fingerprint(split.forget),
        "heldout": samples_fingerprint(split.heldout),
        "method": [choice.name, repr(choice.method)],
        "budget": request.budget,
        "seed": seed,
        "test": samples_fingerprint(split.test),
        **({"start": START} if begins(choice) else {}),
    }


def begins(choice: Choice) -> bool:
    """Whether the method searches for a head start."""
    return not isinstance(choice.method, Reinit) and "head" in choice.method.needs
