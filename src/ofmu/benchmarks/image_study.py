"""Image requests over methods: one cell with its references' scores, and every method from the same original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch.nn import Module

from ..engine.measure import Meter
from ..engine.measuring import sample_losses
from ..engine.prepare import Parts, Sources, prepare
from ..engine.training import Recipe
from ..losses import class_nll
from ..report.model import ORIGINAL, RETRAIN, Losses
from ..tasks import Samples
from .experiment import Budget, Run, device_of, run_method
from .image_choices import Choice, Reinit, parse_choice
from .image_scores import ImageParts, ImageView, image_rows, view_image
from .reinit import run_reinit
from .study import Cell


@dataclass(frozen=True)
class ImageRequest:
    """One request. task: its name in tables. heldout: never trained on, and none of parts.test. recipe: how the
    models were trained; its batch is the baselines' too. budget: what a method may spend, in sample-gradients,
    targets included.
    """

    task: str
    parts: ImageParts
    heldout: Samples
    recipe: Recipe
    budget: float

    @property
    def data(self) -> Parts:
        """What a method may see: the test set is not among it."""
        return Parts(self.parts.forget, self.parts.retain, self.heldout)


def compare(cell: Cell, request: ImageRequest, models: Mapping[str, Module], methods: Sequence[str]) -> None:
    """Add to `cell` the scores of `models` (by their names in tables, Original and Retrain among them) and of
    every method. Raises UserError for an unknown method.
    """
    views = {name: view_image(model, request.parts) for name, model in models.items()}
    gold = views[RETRAIN]
    for name, view in views.items():
        cell.rows += image_rows(request.task, name, cell.seed, view, None if name == RETRAIN else gold)
    for name in methods:
        choice = parse_choice(name)
        run = run_choice(choice, models[ORIGINAL], request, cell.seed)
        view = view_image(run.model, request.parts)
        rows = image_rows(request.task, choice.title, cell.seed, view, gold)
        cell.add_run(request.task, name, run, request.budget, rows)
        if name == "ofmu":
            cell.losses = _losses(request, run, views[ORIGINAL], view, gold)


def run_choice(choice: Choice, original: Module, request: ImageRequest, seed: int, *, cosine: bool = False) -> Run:
    """One method from the original, within the request's budget; cosine: watch cos(g_f, g_r) on the way."""
    budget = Budget(request.budget, nearest=True)
    if isinstance(choice.method, Reinit):
        how = choice.method
        return run_reinit(
            original,
            request.data,
            request.recipe,
            budget,
            seed,
            layers=how.layers,
            rate=how.rate,
            frozen=how.frozen,
        )
    batch = None if choice.name in ("ofmu", "ofmu-safeguarded", "ofmu-both") else request.recipe.batch
    sources = Sources(recipe=request.recipe)
    with Meter() as meter:  # a head start is most of what its method does
        prepared = prepare(
            original, "image", request.data, choice.method, sources, seed, batch=batch, budget=request.budget
        )
    run, before = run_method(original, prepared, request.data, choice.method, budget, cosine=cosine), meter.usage
    return replace(
        run,
        seconds=run.seconds + before.wall_seconds,
        cpu_seconds=run.cpu_seconds + before.cpu_seconds,
        peak_bytes=max(run.peak_bytes or 0, before.peak_on(device_of(original))),
    )


def _losses(request: ImageRequest, run: Run, before: ImageView, after: ImageView, gold: ImageView) -> Losses:
    return Losses(
        request.task,
        before=before.forget_losses.tolist(),
        after=after.forget_losses.tolist(),
        retrain=gold.forget_losses.tolist(),
        unseen=sample_losses(run.model, request.heldout, class_nll).tolist(),
    )
