"""Tuning on development sets: other seeds, other forget sets, their own Retrain, and never the test images."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch.nn import Module

from ... import __version__
from ...data.forget_request import ForgetRequest
from ...report.model import ORIGINAL, RETRAIN
from ..image_choices import Choice, Sizes, space_of
from ..image_scores import ImageView, image_rows, view_image
from ..image_study import ImageRequest, run_choice
from ..tuning import Space, Trial, Tried, Values, best, end_of, tune
from .cell import split_of
from .references import Workshop, reference, short
from .runs import begins, parts_of, request_of
from .seen import CODE, START
from .split import TUNING, development_request, label_count

OBJECTIVE = "the mean of gap and W1 to Retrain on a development forget set, in points"
EDGE = 0.05  # of a range: a chosen value so near to its end is said, as a better one may lie beyond


@dataclass(frozen=True)
class Tuned:
    """A method as it is reported, and how its settings were found, in which space; trials: none where the preset
    stands.
    """

    choice: Choice
    trials: Sequence[Trial] = ()
    space: Space = field(default_factory=dict)

    @property
    def words(self) -> str:
        """For tables."""
        if not self.trials:
            return f"none: {self.choice.origin}"
        failed = sum(trial.score is None for trial in self.trials)
        if failed == len(self.trials):
            return f"all {failed} trials failed; {self.choice.origin}"
        chosen = best(self.trials)
        values = ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in chosen.values.items()
        )
        many = f"{len(self.trials)} trials" + (f" ({failed} failed)" if failed else "")
        which = (
            f"{self.choice.origin} was best"
            if chosen.number == 0
            else f"trial {chosen.number} of 0–{len(self.trials) - 1}"
        )
        return f"{many} on a development forget set; {which}: {values}{self._at_an_end(chosen.values)}"

    def _at_an_end(self, values: Values) -> str:
        ends: dict[str, list[str]] = {}
        for name, value in values.items():
            end = end_of(self.space[name], value, EDGE) if name in self.space else None
            if end is not None:
                ends.setdefault(end, []).append(name)
        return "".join(f"; at the {end} end of its range: {', '.join(names)}" for end, names in ends.items())


@dataclass(frozen=True)
class Development:
    """One development forget set: its request, its original, and how its Retrain is seen."""

    request: ImageRequest
    original: Module
    gold: ImageView
    seed: int

    def score(self, choice: Choice) -> Tried:
        """The objective of one run, and its cost in sample-gradients."""
        run = run_choice(choice, self.original, self.request, self.seed)
        if run.failed:
            return Tried(None, run.cost, run.ended)
        view = view_image(run.model, self.request.parts)
        rows = {row.metric: row for row in image_rows(self.request.task, choice.title, 0, view, self.gold)}
        values = [rows[name].value for name in ("gap", "W1")]
        return Tried(statistics.fmean(math.nan if value is None else value for value in values), run.cost)


def development(shop: Workshop, moved: ForgetRequest, task: str) -> Development:
    """The development set of a task. moved: what is forgotten there (`development_request`)."""
    seed = TUNING
    name = f"{task} (development)"
    parts = split_of(shop, moved, seed)
    original, _ = reference(shop, parts, seed, name, ORIGINAL)
    retrain, _ = reference(shop, parts, seed, name, RETRAIN)
    gold = view_image(retrain, parts_of(parts, tuning=True))
    return Development(request_of(shop, parts, name, tuning=True), original, gold, seed)


def tuned_choices(
    shop: Workshop,
    request: ForgetRequest,
    task: str,
    choices: Sequence[Choice],
    trials: int,
    folder: Path | None,
    seeds: Sequence[int],
) -> list[Tuned]:
    """Every method with the best of `trials` settings, the same number for all; 1 or fewer: the presets.

    Trials are kept in `folder`, and those that are there are not run again. A method without anything to tune
    stays as it is. seeds: those that are reported; none of their classes is tuned on.
    """
    if trials <= 1:
        return [Tuned(choice) for choice in choices]
    moved = development_request(request, label_count(shop.data, request), seeds)
    elsewhere = [str(moved)] if moved != request and not request.classes else []
    ground: list[Development] = []  # made when first needed: a finished search needs no models

    def score(choice: Choice) -> Tried:
        if not ground:
            ground.append(development(shop, moved, task))
        return ground[0].score(choice)

    parts = split_of(shop, moved, TUNING)
    sizes = Sizes(len(parts.forget), len(parts.retain), request_of(shop, parts, task).budget)
    found = []
    for choice in choices:
        space, preset = space_of(choice, sizes)
        if not space:
            found.append(Tuned(choice))
            continue

        def evaluate(values: Values, choice: Choice = choice) -> Tried:
            found = score(choice.tuned(values))
            said = found.failure if found.score is None else f"{found.score:.2f}"
            shop.say(f"{task}, tuning {choice.title}: {said} at {values}")
            return found

        same = replace(shop.setting, methods=(), requests=())  # what else is run changes no trial
        searched = begins(choice) and request.kind not in (
            "class",
            "classes",
        )  # for those it looks at no unseen data
        code = [__version__, CODE, *[START][:searched]]
        setting = repr((same, str(request), choice.method, *code, *elsewhere))
        study = f"{task}: {choice.title} {short({'setting': setting})}"
        tried = tune(space, preset, trials, evaluate, folder=folder, study=study)
        done = any(trial.score is not None for trial in tried)
        found.append(Tuned(choice.tuned(best(tried).values) if done else choice, tried, space))
    return found
