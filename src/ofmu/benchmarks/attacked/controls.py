"""Controls of all attacks: what they find of models that did not unlearn or forgot too well, and false alarms.

Negative: one retrained model beside others, over seeds; then each p-value of an attack should be below .05 in 5 %
of seeds. Tests of one seed share their models, so they are not independent: the pooled binomial test is too ready
to see a deviation, and the seeds' own rates are tested too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest, ttest_1samp

from ... import __version__
from ...engine.store import Store
from ...evidence.finding import DETECTED, Finding, corrected
from ...evidence.statistics import LEVEL
from ..tofu_references import kept_json

CODE = 5  # of the controls: raised when they change, so that stored outcomes are not taken for new ones


@dataclass(frozen=True)
class Outcome:
    """What one attack said in a control. auc, p: of the one test; missing: why there are none.

    leak: the AUC minus the retrained models'; error: its standard error, None without retrained models.
    """

    attack: str
    auc: float | None
    p: float | None
    verdict: str
    missing: str | None = None
    leak: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Alarms:
    """False alarms at 5 % over seeds and attacks. p: two-sided binomial test of all tests as if independent.

    by_seed: t test of the seeds' own rates against 5 %. families: seeds with an alarm after Holm's correction;
    families_p: one-sided binomial test that they are more than 5 %.
    """

    alarms: int
    tests: int
    low: float
    high: float
    p: float
    by_seed: float
    families: int
    seeds: int
    families_p: float

    @property
    def rate(self) -> float:
        """The share of tests that raised one."""
        return self.alarms / self.tests


def kept(store: Path, name: str, seed: int, make: Callable[[], Sequence[Finding]]) -> list[Outcome]:
    """The outcomes of one control: from the store, or made now."""

    def plain(_: Path) -> dict[str, Any]:
        return {"found": [vars(outcome_of(each)) for each in corrected(make())]}

    parts = {"made": "attack control", "code": [__version__, CODE], "name": name, "seed": seed}
    found: Mapping[str, Any] = kept_json(Store(store), parts, plain, f"{name}, seed {seed}")[1]
    return [Outcome(**each) for each in found["found"]]


def outcome_of(found: Finding) -> Outcome:
    """A finding's numbers."""
    auc = None if found.model is None else found.model.auc
    error = None if found.against is None else found.against.error
    return Outcome(found.attack, auc, found.p, found.verdict, found.missing, found.leak, error)


def pooled(seeds: Sequence[Sequence[Outcome]]) -> Alarms:
    """All tests of all seeds that gave a p-value. Raises ValueError for fewer than 2 seeds, or none of any."""
    caught = [[each.p < LEVEL for each in seed if each.p is not None] for seed in seeds]
    if len(caught) < 2 or not all(caught):
        raise ValueError(f"seeds: found {len(caught)}, expected at least 2 with a p-value each")
    alarms, tests = sum(map(sum, caught)), sum(map(len, caught))
    one, families = binomtest(alarms, tests, LEVEL), sum(map(alarmed, seeds))
    interval = one.proportion_ci(0.95, method="exact")
    rates = [float(np.mean(each)) for each in caught]
    by_seed = float(ttest_1samp(rates, LEVEL).pvalue) if len(set(rates)) > 1 else math.nan
    more = binomtest(families, len(seeds), LEVEL, alternative="greater").pvalue
    return Alarms(
        alarms,
        tests,
        float(interval.low),
        float(interval.high),
        float(one.pvalue),
        by_seed,
        families,
        len(seeds),
        float(more),
    )


def alarmed(seed: Sequence[Outcome]) -> bool:
    """Whether any attack of a seed detects something after correction for all of them."""
    return any(each.verdict in DETECTED for each in seed)


def each_attack(seeds: Sequence[Sequence[Outcome]]) -> dict[str, tuple[int, int]]:
    """By attack: (alarms before correction, tests)."""
    found: dict[str, tuple[int, int]] = {}
    for each in (outcome for seed in seeds for outcome in seed):
        alarms, tests = found.get(each.attack, (0, 0))
        found[each.attack] = (alarms + (each.p is not None and each.p < LEVEL), tests + (each.p is not None))
    return found
