"""What a run may spend: a number of gradients, a share of retraining, or the default."""

from __future__ import annotations

import math

from ofmu.cli.job import gradient
from ofmu.engine.estimates import ENOUGH
from ofmu.engine.prepare import UNRECORDED
from ofmu.engine.provenance import Provenance
from ofmu.errors import UserError
from ofmu.tasks import Kind

SHARE: dict[Kind, float] = {"image": ENOUGH, "text": 0.8}  # of retraining: what a run may spend by default
LEAST = 100.0  # gradient-equivalents that any run may spend by default


def budget_of(given: float | str | None) -> tuple[float | None, float | None]:
    """(gradient-equivalents, share of retraining), one of them, or neither; UserError for anything else."""
    if given is None:
        return None, None
    text = str(given).strip()
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(
            f"--budget: found {given}, expected gradient-equivalents above 0, or a share of retraining such as 5%"
        )
    return (None, value / 100) if text.endswith("%") else (value, None)


def samples_allowed(given: float | str | None, kind: Kind, retain: int, provenance: Provenance | None) -> float:
    """A budget in sample-gradients; by default a share of retraining on the retain set, and at least `LEAST`.

    A share is one of the recipe's epochs on the retain set; of the usual recipe where none is recorded.
    """
    gradients, share = budget_of(given)
    if gradients is not None:
        return gradients * gradient(kind)
    whole = (provenance.recipe if provenance else UNRECORDED[kind]).epochs * retain
    return max(SHARE[kind] * whole, LEAST * gradient(kind)) if share is None else share * whole
