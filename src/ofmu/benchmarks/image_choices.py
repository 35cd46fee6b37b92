"""Which method runs, with which settings: presets, changed by hand (`npo:forget_weight=1`) or by tuning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from ..errors import UserError
from ..methods import Method, build_method, serving
from .settings import value_of, with_values
from .study import NAMES
from .tuning import Options, Range, Space, Value, Values

RATES = ("of.descent.lr", "descent.lr", "outer.lr", "rate")  # where a method keeps its learning rate
AROUND = 5.6  # a tuned learning rate lies within this factor of the preset's: three quarters of a decade
# Their best lay at the end of that range, and a wider one found better (for SCRUB and FineTune it found worse).
WIDER = {"neggrad-plus": 18.0, "salun": 18.0}


@dataclass(frozen=True)
class Reinit:
    """Partial re-initialisation, a procedure: reset the last `layers` (0: half of them), train on D_r.

    rate: the learning rate, relative to that of the original's recipe. frozen: only the reset layers are trained,
    on the kept outputs of the others (`reinit.run_reinit`).
    """

    layers: int = 2
    rate: float = 1.0
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.layers < 0 or self.rate <= 0:
            raise ValueError(
                f"Reinit: found {self}, expected layers of 0 (half of them) or more and a rate above 0"
            )


PROCEDURES: dict[str, Reinit] = {  # without a number, how many layers is tuned
    "reinit": Reinit(2),
    "reinit-1": Reinit(1),
    "reinit-2": Reinit(2),
    "reinit-half": Reinit(0),
    "head": Reinit(2, frozen=True),
    "head-1": Reinit(1, frozen=True),
    "head-2": Reinit(2, frozen=True),
    "head-half": Reinit(0, frozen=True),
}
TITLES = {"reinit": "Re-init", "head": "Head"}
_WEIGHT = {"forget_weight": Range(0.01, 1.0)}
KNOBS: dict[str, Space] = {  # what is tuned beside the learning rate, by method
    "ofmu": {"hold": Range(0.7, 0.99, log=False)},
    "graddiff": _WEIGHT,
    "graddiff-bounded": {"forget_weight": Range(0.1, 3.0)},
    "kl": _WEIGHT,
    "npo": {"forget_weight": Range(0.03, 3.0)},
    "simnpo": {"forget_weight": Range(0.03, 3.0)},
    "neggrad-plus": {"forget_weight": Range(0.001, 1.0)},
    "randomlabel": _WEIGHT,
    "salun": {"share": Range(0.1, 0.9, log=False), "of.forget_weight": Range(0.01, 1.0)},
    "scrub": {"rounds": Options((1, 2, 3, 5, 10, 20))},
    "ssd": {"alpha": Range(1.0, 100.0), "strength": Range(0.1, 10.0)},
    "iu": {"scale": Range(0.1, 20.0), "damping": Range(1e-3, 1.0)},
    "reinit": {"layers": Options((1, 2, 3, 0))},
    "head": {"layers": Options((1, 2, 3, 0))},
}


@dataclass(frozen=True)
class Sizes:
    """What a run has: numbers of forget and retain samples, and what it may spend, in sample-gradients."""

    forget: int
    retain: int
    budget: float


@dataclass(frozen=True)
class Choice:
    """A method (or procedure) with its settings. name: in METHODS or PROCEDURES; title: in tables; source: where
    its untuned settings come from, in words. fixed: the settings that the user gave, which no tuning changes.
    """

    name: str
    title: str
    method: Method | Reinit
    source: str = "the preset"
    fixed: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Where its settings come from before any tuning, in words, with those that the user gave."""
        given = ", ".join(f"{path} {value_of(self.method, path):g}" for path in self.fixed)
        return f"{self.source}, with {given} as given" if given else self.source

    def tuned(self, values: Mapping[str, Value]) -> Choice:
        """The same with some settings changed."""
        return replace(self, method=with_values(self.method, values))


def image_methods() -> list[str]:
    """The names of all step rules and procedures that serve image classifiers."""
    return [*serving("image"), *PROCEDURES]


def parse_choice(text: str, published: Mapping[str, Method] = {}) -> Choice:
    """`name` or `name:field=value[,field=value]`; fields inside fields by dots. UserError with what there is.

    published: settings by name that are taken in place of a preset's.
    """
    name, _, changes = text.strip().partition(":")
    if name not in image_methods():
        near = get_close_matches(name, image_methods(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        if "," in name:
            hint = f"separate methods by spaces: --methods {' '.join(name.split(','))}. "
        raise UserError(f"--methods: found {name!r}; {hint}For images: {', '.join(image_methods())}")
    method = PROCEDURES[name] if name in PROCEDURES else published.get(name) or build_method(name, "image")
    source = "the published setting" if name in published else "the preset"
    title = _plain(name)
    values: Values = {}
    for change in filter(None, changes.split(",")):
        field, equals, value = change.partition("=")
        if not equals:
            raise UserError(f"--methods: found {change!r} in {text!r}, expected field=value")
        values[field.strip()] = _number(value, text)
    if values:
        title += f" ({', '.join(f'{key} {value:g}' for key, value in values.items())})"
    try:
        method = with_values(method, values)
    except UserError as error:
        raise UserError(f"--methods: {text}: {error}") from None
    return Choice(name, title, method, source, tuple(values))


def parse_choices(texts: Sequence[str], published: Mapping[str, Method] = {}) -> list[Choice]:
    """Several, each once, as `parse_choice`; UserError where two have one title.

    Titles tell settings only where a method is there more than once: the column of tuning has them anyway.
    """
    choices = [parse_choice(text, published) for text in texts]
    names = [choice.name for choice in choices]
    choices = [replace(one, title=_plain(one.name)) if names.count(one.name) == 1 else one for one in choices]
    titles = [choice.title for choice in choices]
    twice = sorted({title for title in titles if titles.count(title) > 1})
    if twice:
        raise UserError(f"--methods: {', '.join(twice)} is named twice; name each method once")
    return choices


def _plain(name: str) -> str:
    """A method's title without its settings."""
    return TITLES.get(name) or NAMES.get(name, name)


def space_of(choice: Choice, sizes: Sizes | None = None) -> tuple[Space, Values]:
    """What is tuned for a method, and where the preset stands: its learning rate and main knob, if not fixed.

    sizes: of the run, so that no trial goes to a value that it cannot have; the preset is the nearest that it can.
    """
    knobs = dict(KNOBS.get(choice.name, {}))
    rate = next((path for path in RATES if _has(choice.method, path)), None)
    if rate is not None and choice.name not in ("ssd", "iu"):
        preset = float(value_of(choice.method, rate))
        around = WIDER.get(choice.name, AROUND)
        knobs[rate] = Range(preset / around, preset * around)
    if sizes is not None:
        knobs |= _fitting(choice.name, sizes)
    knobs = {path: one for path, one in knobs.items() if path not in choice.fixed}
    return knobs, {path: _within(one, value_of(choice.method, path)) for path, one in knobs.items()}


def _fitting(name: str, sizes: Sizes) -> Space:
    """The knobs whose range depends on the run.

    SSD selects nothing from alpha = n/n_f on, and refuses it. SCRUB has its rounds where the budget also pays for
    the pass over D_r that ends it; every number beyond gives one and the same run, cut off after D_f. Both its
    losses take the teacher's forward pass besides, a third of a gradient.
    """
    if name == "ssd":
        most = 0.95 * (sizes.forget + sizes.retain) / sizes.forget
        return {"alpha": Range(min(1.0, most / 2), min(100.0, most))}
    if name == "scrub":
        kept, forgotten = 4 / 3 * sizes.retain, 4 / 3 * sizes.forget
        most = (sizes.budget - kept) / (kept + forgotten)
        rounds = KNOBS["scrub"]["rounds"]
        assert isinstance(rounds, Options)
        return {"rounds": Options(tuple(n for n in rounds.values if float(n) <= max(1.0, most)))}
    return {}


def _within(one: Range | Options, value: Value) -> Value:
    """The value, or the nearest that there is."""
    if isinstance(one, Range):
        return value if one.low <= float(value) <= one.high else min(max(float(value), one.low), one.high)
    if value in one.values or isinstance(value, str):
        return value
    return min(one.values, key=lambda other: abs(float(other) - float(value)))


def _has(method: object, path: str) -> bool:
    try:
        return isinstance(value_of(method, path), float)
    except AttributeError:
        return False


def _number(value: str, text: str) -> float | int:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"--methods: found {value!r} in {text!r}, expected a number, finite, for example 0.5")
    return int(number) if number == int(number) and "." not in value else number
