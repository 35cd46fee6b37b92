"""One forget set of one seed, ready to run on: its original, how its Retrain is seen, what all variants share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch.nn import Module

from ...data.forget_request import ForgetRequest
from ...engine.prepare import Prepared, Sources, prepare
from ...report.model import FLOOR, ORIGINAL, RETRAIN
from ..image_scores import ImageView, view_image
from ..image_study import ImageRequest
from ..vision.bench import task_name
from ..vision.cell import split_of
from ..vision.references import Workshop, reference
from ..vision.runs import request_of
from ..vision.split import TUNING, VisionSplit, development_request
from .variants import BASE


@dataclass(frozen=True)
class Ground:
    """request.budget: the largest one. tuning: a development set, scored on the development part."""

    shop: Workshop
    seed: int
    parts: VisionSplit
    request: ImageRequest
    original: Module
    gold: ImageView
    tuning: bool = False

    @property
    def whole(self) -> float:
        """What one retraining costs, in sample-gradients."""
        return self.shop.setting.recipe.epochs * len(self.parts.retain)

    @cached_property
    def prepared(self) -> Prepared:
        """Targets and start: the same for all variants, each of which is charged for them. To be copied."""
        sources = Sources(recipe=self.request.recipe)
        data, budget = self.request.data, self.request.budget
        return prepare(self.original, "image", data, BASE, sources, self.seed, budget=budget)

    def floor(self) -> Module:
        """A second, independent retraining."""
        return reference(self.shop, self.parts, self.seed, self.request.task, FLOOR)[0]


def ground_of(shop: Workshop, forget: ForgetRequest, seed: int) -> Ground:
    """A reported set."""
    return _ground(shop, forget, seed, task_name(shop.setting, forget), tuning=False)


def development_of(shop: Workshop, forget: ForgetRequest) -> Ground:
    """The set that values are chosen on: another seed, other classes, a Retrain of its own."""
    moved = development_request(forget, len(shop.data.classes))
    return _ground(shop, moved, TUNING, f"{task_name(shop.setting, forget)} (development)", tuning=True)


def _ground(shop: Workshop, forget: ForgetRequest, seed: int, task: str, *, tuning: bool) -> Ground:
    parts = split_of(shop, forget, seed)
    original, _ = reference(shop, parts, seed, task, ORIGINAL)
    retrain, _ = reference(shop, parts, seed, task, RETRAIN)
    request = request_of(shop, parts, task, tuning=tuning)
    return Ground(shop, seed, parts, request, original, view_image(retrain, request.parts), tuning)
