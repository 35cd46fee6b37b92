"""What a report is made of: plain, checked data. No model, tensor or file is known here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .figures import Drawn

from ofmu.report.evidence import EvidenceSection

ORIGINAL = "Original"  # the model before unlearning
RETRAIN = "Retrain"  # trained again without the forgotten samples: what unlearning should equal
FLOOR = "Retrain (2nd)"  # a second, independent retraining: how near two honest retrainings come
REFERENCES = (ORIGINAL, RETRAIN, FLOOR)


def _number(name: str, value: object, *, minimum: float | None = None) -> None:
    """Raise ValueError unless value is a finite number (≥ minimum)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}, expected a finite number")
    if minimum is not None and value < minimum:
        raise ValueError(f"{name} is {value!r}, expected a number ≥ {minimum:g}")


def _text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} is {value!r}, expected a text that is not empty")


def _count(name: str, value: object, minimum: int = 0) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name} is {value!r}, expected an integer ≥ {minimum}")


@dataclass(frozen=True)
class ScoreRow:
    """One measured number: a task × method × seed × metric.

    n counts the samples the value was computed on. higher_is_better is None where the best value is Retrain's
    own. A metric that could not be computed has value None and says why in missing. low and high are the ends of
    its 95 % interval over samples, where there is one; they are given together. Raises ValueError for anything
    else, NaN and infinity included.
    """

    task: str
    method: str
    seed: int
    metric: str
    value: float | None
    n: int
    higher_is_better: bool | None = None
    missing: str | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        for name in ("task", "method", "metric"):
            _text(name, getattr(self, name))
        _count("seed", self.seed)
        _count("n", self.n, minimum=0 if self.value is None else 1)
        if not (self.higher_is_better is None or isinstance(self.higher_is_better, bool)):
            raise ValueError(f"higher_is_better is {self.higher_is_better!r}, expected true, false or null")
        self._check_interval()
        if self.value is None:
            if not isinstance(self.missing, str) or not self.missing.strip():
                raise ValueError("value is null, expected a number, or the reason it is absent under 'missing'")
            return
        _number("value", self.value)
        if self.missing is not None:
            raise ValueError(f"value is {self.value!r} and missing is {self.missing!r}, expected only one")

    def _check_interval(self) -> None:
        if self.low is None and self.high is None:
            return
        for name in ("low", "high"):
            _number(name, getattr(self, name))
        if self.value is None or self.low is None or self.high is None or self.low > self.high:
            raise ValueError(
                f"low, high are {self.low!r}, {self.high!r} of {self.value!r}, expected low ≤ high, of a value"
            )


@dataclass(frozen=True)
class Point:
    """Where a run stood: cost in gradient-equivalents so far, losses in nats, None where not measured.

    cosine: cos(g_f, g_r) there, of fixed samples.
    """

    step: int
    cost: float
    forget_loss: float
    target: float | None
    retain_loss: float
    retain_level: float | None
    heldout_loss: float | None = None
    cosine: float | None = None

    def __post_init__(self) -> None:
        _count("step", self.step)
        _number("cost", self.cost, minimum=0)
        for name in ("forget_loss", "target", "retain_loss", "retain_level", "heldout_loss", "cosine"):
            value = getattr(self, name)
            if value is not None or name in ("forget_loss", "retain_loss"):
                _number(name, value)


@dataclass(frozen=True)
class Trajectory:
    """The path of one run (task × method × seed)."""

    task: str
    method: str
    seed: int
    points: Sequence[Point]


@dataclass(frozen=True)
class Losses:
    """Per-sample losses (nats, ≥ 0) of one task.

    before, after and retrain are of the forgotten samples: by the original model, by `method`'s result, by
    Retrain. unseen is the result's losses on samples that nobody trained on.
    """

    task: str
    before: Sequence[float]
    after: Sequence[float]
    retrain: Sequence[float] | None = None
    unseen: Sequence[float] | None = None
    method: str = "OFMU"

    def __post_init__(self) -> None:
        for name in ("before", "after", "retrain", "unseen"):
            values = getattr(self, name)
            if values is not None and len(values) == 0:
                raise ValueError(f"{name} is empty, expected at least one loss (or None for the optional ones)")
            for i, value in enumerate(values or ()):
                _number(f"{name}[{i}]", value, minimum=0)


@dataclass(frozen=True)
class AnswerRow:
    """What the models said to one forgotten question."""

    id: str
    before: str
    after: str
    truth: str
    question: str | None = None
    retrain: str | None = None


@dataclass(frozen=True)
class Answers:
    """Sample answers of a text task; made only when whoever asked allowed the forgotten text to be shown."""

    task: str
    rows: Sequence[AnswerRow]


@dataclass(frozen=True)
class Cost:
    """What one method took on one task, on average over its seeds; None where it was not measured.

    gradients and target_cost are gradient-equivalents (one forward and backward pass of a batch), target_cost
    being part of gradients; of_retraining = gradients / Retrain's. budget is what the method was allowed;
    tuning says in words how its settings were found. peak_mb is of the GPU's memory where `gpu`, else of the
    process's.
    """

    task: str
    method: str
    gradients: float | None = None
    of_retraining: float | None = None
    target_cost: float | None = None
    seconds: float | None = None
    peak_mb: float | None = None
    budget: float | None = None
    tuning: str = "none"
    gpu: bool = False

    def __post_init__(self) -> None:
        for name in ("gradients", "of_retraining", "target_cost", "seconds", "peak_mb", "budget"):
            value = getattr(self, name)
            if value is not None:
                _number(f"{name} of {self.method}", value, minimum=0)


@dataclass(frozen=True)
class TaskSection:
    """All that a page says of one task. answers is None where they may not be shown, or there are none.

    dots: whether a panel is drawn for every metric; False where the figures show the same numbers better.
    """

    name: str
    description: str
    rows: Sequence[ScoreRow]
    trajectories: Sequence[Trajectory] = ()
    losses: Losses | None = None
    answers: Answers | None = None
    costs: Sequence[Cost] = ()
    notes: Sequence[str] = ()
    figures: Sequence[Drawn] = ()
    dots: bool = True

    def __post_init__(self) -> None:
        others = sorted({row.task for row in self.rows} - {self.name})
        if others:
            raise ValueError(f"rows of section {self.name!r} name the tasks {others}, expected only its own")


@dataclass(frozen=True)
class Page:
    """One report. request: what was asked, label → text. verdict: two or three plain sentences.

    limits: what the page does not show, in sentences (the page adds those that follow from the data). config: the
    run's configuration as text, environment: versions and machine, command: what to type to get the page.
    evidence: what attacks found, where some were run.
    """

    title: str
    request: Mapping[str, str]
    verdict: Sequence[str]
    tasks: Sequence[TaskSection]
    environment: Mapping[str, str]
    command: str
    limits: Sequence[str] = ()
    config: str = ""
    evidence: EvidenceSection | None = None

    @property
    def rows(self) -> list[ScoreRow]:
        """The score rows of all tasks."""
        return [row for task in self.tasks for row in task.rows]
