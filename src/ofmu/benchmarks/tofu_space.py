"""What is tuned of every method of language models: its learning rate and its main other setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..tasks import Method
from .settings import value_of, with_values
from .tuning import Range, Tried, Values, best, end_of, tune

# the rate is drawn from preset/5 … 2·preset: a decade, most of it below, since too high breaks
BELOW, ABOVE = 5.0, 2.0
EDGE = 0.05  # of a range: a chosen value so near to its end is marked
AROUND = 5.0  # the other knob is drawn from preset/5 … 5·preset
RATES = ("descent.lr", "outer.lr")
KNOBS: Mapping[str, str | None] = {  # method -> its main setting besides the learning rate
    "ofmu": "rate",  # of the ascent, beside the repair's
    "ofmu-matched": "rate",
    "ofmu-both": "rate",
    "ofmu-paper": "rate",
    "finetune": None,
    "gradascent": None,
    "graddiff": "forget_weight",
    "graddiff-bounded": "forget_weight",
    "kl": "forget_weight",
    "npo": "forget.beta",
    "simnpo": "forget.beta",
    "idkdpo": "forget.beta",
    "rmu": "forget.scale",
    "undial": "forget.strength",
    "pcgrad": None,
    "mgda": None,
    "upgrad": None,
}


@dataclass(frozen=True)
class Chosen:
    """How one method was tuned. method: with the best values found; None: every trial failed.

    trials: made, of which `failed` have no value; first: the preset's objective, best: the lowest; values: by the
    path of a field; cost: sample-gradients that all trials took; ends: which end of its range a value lies
    at, where it does: a better one may lie beyond.
    """

    method: Method | None
    trials: int
    failed: int
    first: float | None
    best: float | None
    values: Mapping[str, float]
    cost: float
    ends: Mapping[str, str] = field(default_factory=dict)


def space(name: str, preset: Method) -> dict[str, Range]:
    """The rate and the method's knob, where it has such, both drawn log-uniformly; empty: nothing is tuned."""
    ranges, knob = {}, KNOBS.get(name)
    for rate in [path for path in RATES if hasattr(preset, path.partition(".")[0])][:1]:
        lr = float(value_of(preset, rate))
        ranges[rate] = Range(lr / BELOW, lr * ABOVE)
    if knob is not None:
        middle = float(value_of(preset, knob))
        ranges[knob] = Range(middle / AROUND, middle * AROUND)
    return ranges


def tuned(
    name: str, preset: Method, trials: int, folder: Path, key: str, attempt: Callable[[Method], Tried]
) -> Chosen:
    """The best of `trials` settings of a method (`tuning.tune`), or its preset where nothing is to be tuned.

    key: names the task.
    """
    ranges = space(name, preset)
    trials = trials if ranges else min(trials, 1)
    start: Values = {path: float(value_of(preset, path)) for path in ranges}
    made = tune(
        ranges,
        start,
        trials,
        lambda values: attempt(with_values(preset, values)),
        folder=folder,
        study=f"{name}, {key}",
    )
    failed = sum(trial.score is None for trial in made)
    cost = sum(trial.cost for trial in made)
    if failed == len(made):
        return Chosen(None, len(made), failed, None, None, {}, cost)
    found = best(made)
    values = {path: float(value) for path, value in found.values.items()}
    method, first = with_values(preset, found.values), made[0].score
    found_ends = {path: end_of(ranges[path], value, EDGE) for path, value in values.items()}
    ends = {path: end for path, end in found_ends.items() if end is not None}
    return Chosen(method, len(made), failed, first, found.score, values, cost, ends)
