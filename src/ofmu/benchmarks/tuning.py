"""Settings chosen at an equal budget: as many trials for every method, drawn by Optuna, on a task of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..engine.files import locked
from ..engine.hashing import content_key
from ..engine.loop import Diverged
from ..errors import UserError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

Value = float | int | str
Values = dict[str, Value]


@dataclass(frozen=True)
class Range:
    """Real numbers from low to high, drawn evenly; log: even in the logarithm."""

    low: float
    high: float
    log: bool = True


@dataclass(frozen=True)
class Options:
    """One of a few values."""

    values: tuple[Value, ...]


Space = Mapping[str, Range | Options]


def end_of(dimension: Range | Options, value: Value, margin: float) -> str | None:
    """Which end of a dimension a value is at, "low" or "high"; None for neither.

    margin: how near to it, as a share of the range in its scale. Of options the first and the last are ends where
    they are numbers in rising order.
    """
    if isinstance(dimension, Options):
        numbers = [float(one) for one in dimension.values if not isinstance(one, str)]
        if len(numbers) < max(2, len(dimension.values)) or numbers != sorted(numbers):
            return None
        return "low" if value == numbers[0] else "high" if value == numbers[-1] else None
    low, high, at = (math.log(x) if dimension.log else x for x in (dimension.low, dimension.high, float(value)))
    place = (at - low) / (high - low)
    return "low" if place <= margin else "high" if place >= 1 - margin else None


@dataclass(frozen=True)
class Tried:
    """What a trial gave: its score (lower is better), or why there is none; cost in sample-gradients."""

    score: float | None
    cost: float = 0.0
    failure: str = ""


@dataclass(frozen=True)
class Trial:
    """values: what was tried; score: lower is better, None where it failed, and `failed` then says how."""

    number: int
    values: Values
    score: float | None
    failed: str | None = None
    cost: float = 0.0


def tune(
    space: Space,
    preset: Mapping[str, Value],
    trials: int,
    evaluate: Callable[[Values], Tried],
    *,
    folder: Path | None = None,
    study: str = "",
) -> list[Trial]:
    """So many trials: the first is the preset, so that tuning never makes a method worse.

    The rest are drawn by a tree-structured Parzen estimator (Bergstra et al. 2011), seeded by the trial's
    number: half of them at random, the others from what is known. folder: keeps the trials in a journal that any
    number of processes may share (None: they are forgotten); each takes the trials that no other is making. A
    trial is on record once it has ended; a killed one is drawn again. study: tells searches in one folder apart,
    as do another space and another preset. A run that diverges (`Diverged`) or refuses its settings
    (`UserError`), and a score that is not finite, are failed trials, recorded as such, never numbers. Raises
    ValueError for a preset that lacks a dimension, UserError where optuna is not installed.
    """
    if set(preset) != set(space):
        raise ValueError(f"preset: found {sorted(preset)}, expected the space's {sorted(space)}")
    need_optuna()
    if folder is None:
        with TemporaryDirectory() as made:
            return tune(space, preset, trials, evaluate, folder=Path(made), study=study)
    folder.mkdir(parents=True, exist_ok=True)
    shape = {name: [type(each).__name__, asdict(each)] for name, each in space.items()}
    key = content_key({"study": study, "space": repr(shape), "preset": dict(preset)})[:16]
    name = f"{study} {key}"
    for wait in (False, True):  # first what nobody makes, then wait for what others make
        for slot in range(trials):
            with locked(folder / f".{key}-{slot}.lock", wait=wait) as mine:
                kept = _study(folder, name)
                if mine and _finished(kept, slot) is None:
                    values = dict(preset) if slot == 0 else _drawn(kept, space, slot, trials)
                    _record(kept, space, slot, values, _attempted(evaluate, values))
    kept = _study(folder, name)
    return [_trial(found) for slot in range(trials) if (found := _finished(kept, slot)) is not None]


def best(trials: Sequence[Trial]) -> Trial:
    """The trial with the lowest score, the earliest among equals; ValueError where all failed."""
    done = [trial for trial in trials if trial.score is not None]
    if not done:
        raise ValueError(
            f"all {len(trials)} trials failed, the first: {trials[0].failed if trials else 'none ran'}"
        )
    return min(done, key=lambda trial: (trial.score, trial.number))


def need_optuna() -> None:
    """UserError where optuna is not installed."""
    try:
        import optuna
    except ImportError:
        raise UserError(
            '--trials: needs optuna: pip install "ofmu[tuning]"; without --trials the presets are taken'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _attempted(evaluate: Callable[[Values], Tried], values: Values) -> Tried:
    try:
        found = evaluate(dict(values))
    except (Diverged, UserError) as error:
        return Tried(None, 0.0, str(error))
    if found.score is not None and not math.isfinite(found.score):
        return Tried(None, found.cost, f"the score is {found.score}")
    return found


def _study(folder: Path, name: str) -> Study:
    """The study as its journal has it now: a study that is kept draws from the trials that it saw first."""
    import optuna

    journal = optuna.storages.journal.JournalFileBackend(str(folder / "trials.journal"))
    storage = optuna.storages.JournalStorage(journal)
    return optuna.create_study(storage=storage, study_name=name, load_if_exists=True)


def _finished(study: Study, slot: int) -> FrozenTrial | None:
    found = [
        t for t in study.get_trials(deepcopy=False) if t.user_attrs.get("slot") == slot and t.state.is_finished()
    ]
    return found[0] if found else None


def _distribution(dimension: Range | Options) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(dimension, Options):
        return CategoricalDistribution(dimension.values)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _drawn(study: Study, space: Space, slot: int, trials: int) -> Values:
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState, create_trial

    sampler = TPESampler(seed=slot, n_startup_trials=max(2, trials // 2))
    blank = create_trial(state=TrialState.RUNNING)
    return {
        name: sampler.sample_independent(study, blank, name, _distribution(space[name])) for name in sorted(space)
    }


def _record(study: Study, space: Space, slot: int, values: Values, found: Tried) -> None:
    from optuna.trial import TrialState, create_trial

    study.add_trial(
        create_trial(
            state=TrialState.FAIL if found.score is None else TrialState.COMPLETE,
            value=found.score,
            params=values,
            distributions={name: _distribution(dimension) for name, dimension in space.items()},
            user_attrs={"slot": slot, "cost": found.cost, "failure": found.failure},
        )
    )


def _trial(found: FrozenTrial) -> Trial:
    told = found.user_attrs
    return Trial(told["slot"], dict(found.params), found.value, told["failure"] or None, told["cost"])
