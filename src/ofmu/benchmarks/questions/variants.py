"""The variants: each differs in one thing from OFMU's safeguarded rounds without momentum, and has one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from ...core.schedule import Driven, Geometric, Lagrangian, Penalty, Priority, Relative
from ...core.similarity import Cosine, Dot, Hinge, Measure, PerLayer, Projection, SquaredCosine
from ...errors import UserError
from ...methods import OFMU, default_rate

Question = Literal["similarity", "penalty", "priority"]
# β = 0, no penalty, priority ½; the head start would hide all. Without what is younger than the tables (`LATER`)
BASE = replace(OFMU.safeguarded(default_rate("image", None)), momentum=0.0, brake=None, cooling=0.0)
BASE_TITLE = "base"
BETAS = (0.1, 0.03, 0.3)  # shares of the ascent direction (`OFMUFields.balanced`); the default first
RHOS = (1e-2, 1e-3, 1e-4)  # the printed ρ first, of which findings on small nets say that it is too much
RATIOS = (0.1, 0.03, 0.3)  # ρ‖∇‖∇Φ‖²‖/‖g_r‖ at the start; it grows to three times as much
REACHES = (0.2, 0.1, 0.3)  # how far the priority goes from ½
ONE_WAY, THERE_AND_BACK = 40, 20  # rounds of a move in one direction
WORDS: dict[Question, str] = {
    "similarity": "Similarity term",
    "penalty": "Penalty schedule",
    "priority": "Forget/retain priority",
}


@dataclass(frozen=True)
class Variant:
    """One row. symbol: of its number; values: what that may be, the first where nothing is tuned."""

    question: Question
    title: str
    symbol: str
    values: tuple[float, ...]
    make: Callable[[float], OFMU]


def _similar(title: str, measure: Measure) -> Variant:
    return Variant("similarity", title, "β", BETAS, lambda beta: replace(BASE, beta=beta, similarity=measure))


def _penalised(title: str, symbol: str, values: tuple[float, ...], penalty: Callable[[float], Penalty]) -> Variant:
    return Variant("penalty", title, symbol, values, lambda value: replace(BASE, penalty=penalty(value)))


def _prior(title: str, priority: Callable[[float], Priority]) -> Variant:
    return Variant("priority", title, "a", REACHES, lambda a: replace(BASE, priority=priority(a)))


VARIANTS: tuple[Variant, ...] = (
    _similar("cosine", Cosine()),
    _similar("squared cosine", SquaredCosine()),
    _similar("hinge", Hinge()),
    _similar("per-layer cosine", PerLayer()),
    _similar("projection length", Projection()),
    _similar("dot product", Dot()),
    _penalised("fixed geometric (paper)", "ρ₀", RHOS, lambda rho: Geometric(rho, 1.1)),
    _penalised("ratio-balanced", "r₀", RATIOS, lambda r: Relative(r, 1.1, 3 * r)),
    _penalised("augmented Lagrangian", "ρ₀", RHOS, lambda rho: Lagrangian(rho, 1.1)),
    _penalised("stationarity-driven", "r₀", RATIOS, lambda r: Driven(Relative(r, 1.1, 3 * r))),
    _prior("fixed, forget first (½ + a)", lambda a: Priority(0.5 + a)),
    _prior("fixed, retain first (½ − a)", lambda a: Priority(0.5 - a)),
    _prior("forget → retain", lambda a: Priority(0.5 + a, 0.5 - a, ONE_WAY)),
    _prior("retain → forget", lambda a: Priority(0.5 - a, 0.5 + a, ONE_WAY)),
    _prior("forget → retain and back", lambda a: Priority(0.5 + a, 0.5 - a, THERE_AND_BACK, "triangle")),
)


def chosen(titles: Sequence[str]) -> list[Variant]:
    """The variants of these titles, or whose titles begin so; all for none. UserError for an unknown one."""
    if not titles:
        return list(VARIANTS)
    found = []
    for title in titles:
        match = [variant for variant in VARIANTS if variant.title == title] or [
            variant for variant in VARIANTS if variant.title.startswith(title)
        ]
        if len(match) != 1:
            names = [variant.title for variant in VARIANTS]
            near = get_close_matches(title, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"--variants: found {title!r}{hint} Expected one of: {'; '.join(names)}")
        found += match
    return found
