"""Series of forgetting requests: by memorisation decile (sample difficulty), and by entanglement with the rest.

The claim under test: without decorrelation what is harder to forget costs more utility; with it, difficulty and
utility loss are decoupled. A flat line of utility loss over the deciles is what decoupled means.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...data.forget_request import ForgetRequest
from ...report.figures import Lines
from ...report.model import ORIGINAL, RETRAIN, ScoreRow
from ..paired import interval

ENTANGLEMENT = "entanglement"  # the metric's name in the rows of Original
SHORT = {  # what `--forget` may say for a whole series
    "deciles": tuple(f"decile:{number}" for number in range(10)),
    "entanglement": tuple(f"entangled:{level:g}" for level in (0, 0.25, 0.5, 0.75, 1)),
}
FEWEST = 3  # requests that make a series
FILES = {"decile": "deciles", "entangled": "entanglement"}  # what a series' picture is called, after the benchmark
AXES = {"decile": "memorisation decile of the forget set", "entangled": "level of similarity to the retain set"}
UNITS = {"decile": "deciles", "entangled": "levels"}
TITLES = {"decile": "Sample difficulty", "entangled": "Entanglement"}
Values = dict[str, dict[int, float]]  # method -> seed -> value
Measure = Callable[[float, float], float]  # of a method's value and Retrain's


@dataclass(frozen=True)
class Study:
    """The figures and sentences of one series."""

    figures: list[Lines]
    sentences: list[str]


def expanded(texts: Sequence[str]) -> tuple[str, ...]:
    """The requests with `deciles` and `entanglement` written out."""
    return tuple(one for text in texts for one in SHORT.get(text, (text,)))


def studies_of(requests: Mapping[str, ForgetRequest], rows: Sequence[ScoreRow]) -> dict[str, Study]:
    """The series that are there, by kind. requests: by task, in order; rows: of all tasks."""
    found = {}
    for kind in TITLES:
        tasks = {task: request.amount or 0.0 for task, request in requests.items() if request.kind == kind}
        tasks = {task: x for task, x in tasks.items() if any(row.task == task for row in rows)}
        if len(tasks) >= FEWEST:
            found[kind] = _study(kind, tasks, rows)
    return found


def forget_gap(rows: Sequence[ScoreRow]) -> Values:
    """|UA − UA of Retrain| in points, by method and seed, of one task."""
    return _against_retrain(rows, "UA", lambda ours, gold: abs(ours - gold))


def utility_loss(rows: Sequence[ScoreRow]) -> Values:
    """TA of Retrain − TA in points: what unlearning cost beyond what retraining costs; of one task."""
    return _against_retrain(rows, "TA", lambda ours, gold: gold - ours)


def slopes(values: Mapping[float, Values], method: str) -> tuple[float, float | None, float | None]:
    """Least-squares slope of a method's values over x, seed by seed: mean and its 95 % interval over seeds.

    values: x -> method -> seed -> value. Seeds that lack an x are left out; raises ValueError where none is left.
    """
    seeds = set.intersection(*(set(found.get(method, {})) for found in values.values()))
    if not seeds:
        raise ValueError(f"{method}: no seed has a value at every x")
    xs = list(values)
    middle = statistics.fmean(xs)
    width = sum((x - middle) ** 2 for x in xs)
    return interval([sum((x - middle) * values[x][method][seed] for x in xs) / width for seed in sorted(seeds)])


def _study(kind: str, tasks: Mapping[str, float], rows: Sequence[ScoreRow]) -> Study:
    figures, sentences = [], []
    for name, measure, caption in (
        ("forget gap", forget_gap, "Distance of UA to Retrain's, in points; 0 is best."),
        (
            "utility loss",
            utility_loss,
            "Test accuracy of Retrain minus the method's; flat is decoupled.",
        ),
    ):
        values = {x: measure([row for row in rows if row.task == task]) for task, x in tasks.items()}
        methods = list(dict.fromkeys(method for found in values.values() for method in found))
        shown = [method for method in methods if method != ORIGINAL]
        lines = {m: [(x, statistics.fmean(v[m].values())) for x, v in values.items() if v.get(m)] for m in shown}
        reach = {m: [_error(list(v[m].values())) for v in values.values() if v.get(m)] for m in shown}
        figures.append(
            Lines(
                f"{TITLES[kind]}: {name}",
                f"{caption} Bars: one standard error over seeds.",
                (AXES[kind], f"{name} in points"),
                lines,
                (0.0, "Retrain"),
                reach,
            )
        )
        words = [_slope(values, method) for method in shown]
        head = f"{TITLES[kind]}: {name}, slope over the {UNITS[kind]} with its 95 % interval over seeds"
        sentences.append(f"{head}: {'; '.join(words)}.")
    scores = _entanglements(tasks, rows)
    if scores:
        sentences.append(f"{TITLES[kind]}: score of each forget set in the original's features: {scores}.")
    return Study(figures, sentences)


def _slope(values: Mapping[float, Values], method: str) -> str:
    try:
        mean, low, high = slopes(values, method)
    except ValueError:
        return f"{method}: no seed is complete"
    return f"{method} {mean:+.2f}" + ("" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]")


def _entanglements(tasks: Mapping[str, float], rows: Sequence[ScoreRow]) -> str:
    found = []
    for task, x in tasks.items():
        seen = [row.value for row in rows if row.task == task and row.metric == ENTANGLEMENT]
        numbers = [value for value in seen if value is not None]
        if numbers:
            found.append(f"{x:g}: {statistics.fmean(numbers):.3g}")
    return ", ".join(found)


def _against_retrain(rows: Sequence[ScoreRow], metric: str, measure: Measure) -> Values:
    gold = {row.seed: row.value for row in rows if row.method == RETRAIN and row.metric == metric}
    found: Values = {}
    for row in rows:
        base = gold.get(row.seed)
        if row.metric == metric and row.method != RETRAIN and row.value is not None and base is not None:
            found.setdefault(row.method, {})[row.seed] = measure(row.value, base)
    return found


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
