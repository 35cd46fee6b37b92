"""One forgetting request of one image data set at several budgets: the vision benchmark's models and runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch.nn import Module

from ...data.forget_request import ForgetRequest
from ...engine.prepare import UNIT
from ...report.model import FLOOR, ORIGINAL, RETRAIN
from ..image_choices import PROCEDURES, Choice
from ..image_scores import ImageView, image_rows
from ..vision.cell import split_of
from ..vision.page import meaning
from ..vision.references import SEEDS, Workshop, reference
from ..vision.runs import kept_run
from ..vision.seen import seen_reference
from ..vision.split import VisionSplit
from ..vision.tuned import OBJECTIVE, Tuned, tuned_choices
from .ground import Found, Quality, Spot

NEAR = (FLOOR, ORIGINAL)
QUALITIES = (
    Quality("gap", "gap to Retrain, in points (lower is nearer)", NEAR, log=True),
    Quality("W1", "W1 to Retrain's confidences × 100 (lower is nearer)", NEAR, log=True),
    Quality("PS", "PS: distance of confidences sample by sample × 100 (lower is nearer)", NEAR, log=True),
    Quality("RA", "accuracy on what is kept", (RETRAIN, ORIGINAL)),
    Quality("TA", "test accuracy", (RETRAIN, ORIGINAL)),
)
OURS = "ofmu"  # stays at its preset while the others are tuned: the claim is about the default


@dataclass
class ImageGround:
    """A request with its methods; trials: of every method but OFMU, on a development forget set at each budget.

    seeds: how many are reported.
    """

    shop: Workshop
    request: ForgetRequest
    choices: Sequence[Choice]
    trials: int
    seeds: int
    folder: Path
    _tuned: dict[float, list[Tuned]] = field(default_factory=dict)

    qualities = QUALITIES
    pair = ("gap", "PS")
    unit = UNIT["image"]

    @property
    def name(self) -> str:
        """`fashion: random:0.1`."""
        return f"{self.shop.setting.name}: {self.request}"

    @property
    def resets(self) -> list[str]:
        """Partial re-initialisations, with all layers trained or the last alone."""
        return [choice.title for choice in self.choices if choice.name in PROCEDURES]

    @property
    def about(self) -> str:
        """The paragraph above the table."""
        setting, recipe = self.shop.setting, self.shop.setting.recipe
        return (
            f"{setting.model}, trained from scratch on {setting.train:,} images for {recipe.epochs:g} epochs. "
            f"Forgotten: {meaning(str(self.request))}. {setting.heldout:,} other images are held out for targets."
        )

    def tuning(self, method: str, budget: float) -> str:
        """How a method's settings at a budget were found."""
        found = {one.choice.title: one.words for one in self._tuned.get(budget, ())}
        return found.get(method, "none: the preset")

    def run(self, seed: int, budgets: Sequence[float], found: Found, done: Callable[[], None]) -> None:
        """One seed: its references, then every method at every budget."""
        split = split_of(self.shop, self.request, seed)
        models, views, whole = self._references(split, seed, found)
        for budget in budgets:
            shop = self._at(budget)
            for choice in self._choices(budget):
                run = kept_run(shop, choice, models[ORIGINAL], split, self.name, seed, None)
                spot = Spot(self.name, choice.title, budget, seed, run.spent.samples / whole, run.spent.ended)
                rows = image_rows(self.name, spot.label, seed, run.seen.view, views[RETRAIN])
                note = f"{spot.label}, seed {seed}: {run.spent.ended}" if run.failed else ""
                found.run(spot, rows, replace(run.spent, method=spot.label), note)
                done()

    def _references(
        self, split: VisionSplit, seed: int, found: Found
    ) -> tuple[Mapping[str, Module], Mapping[str, ImageView], float]:
        """The three models, how they are seen, and what one retraining takes in sample-gradients."""
        models, views, spent = {}, {}, {}
        for name in SEEDS:
            models[name], spent[name] = reference(self.shop, split, seed, self.name, name)
            seen = seen_reference(self.shop, split, name, models[name], seed + SEEDS[name], None)
            views[name] = seen.view
        rows = []
        for name, view in views.items():
            rows += image_rows(self.name, name, seed, view, None if name == RETRAIN else views[RETRAIN])
        found.references(seed, rows, list(spent.values()))
        return models, views, spent[RETRAIN].samples

    def _at(self, budget: float) -> Workshop:
        return replace(self.shop, setting=replace(self.shop.setting, share=budget))

    def _choices(self, budget: float) -> list[Choice]:
        """The methods as they are reported at this budget, in their order; tuned when first asked for."""
        if budget not in self._tuned:
            others = [choice for choice in self.choices if choice.name != OURS]
            tuned = tuned_choices(
                self._at(budget),
                self.request,
                self.name,
                others,
                self.trials,
                self.folder / "tuning",
                range(self.seeds),
            )
            ready = iter(tuned)
            self._tuned[budget] = [
                Tuned(choice) if choice.name == OURS else next(ready) for choice in self.choices
            ]
        return [one.choice for one in self._tuned[budget]]


TUNING = (
    f"With --trials, every method but OFMU is tuned at each budget by {OBJECTIVE}; OFMU stays at its preset, "
    "since the question is about the default."
)
