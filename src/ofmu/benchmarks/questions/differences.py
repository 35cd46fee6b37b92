"""Variants minus the base, paired: by seed within a set, and over all sets together."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from ...report.model import REFERENCES, ScoreRow
from ..paired import Difference, differences, interval
from .variants import BASE_TITLE

Side = Literal["nearer", "farther", "both ways", "not told apart", "one seed alone", "not run"]


def within(rows: Sequence[ScoreRow], task: str, metric: str) -> dict[str, Difference]:
    """By variant, its mean difference to the base on one set over the seeds that both have, with its interval."""
    found = differences([row for row in rows if row.task == task], metric, BASE_TITLE)
    return {one.other: one for one in found}


def over_all(rows: Sequence[ScoreRow], tasks: Sequence[str], metric: str) -> dict[str, Difference]:
    """The same over several sets: averaged within a seed, since the sets of one seed share its original.

    A set that a variant or the base lacks (a target that never held) is left out of that seed's average; so is a
    seed that has none.
    """
    values: dict[str, dict[tuple[int, str], float]] = {}
    for row in rows:
        if row.metric == metric and row.task in tasks and row.value is not None:
            values.setdefault(row.method, {})[row.seed, row.task] = row.value
    base, found = values.pop(BASE_TITLE, {}), {}
    for method, theirs in values.items():
        by_seed: dict[int, list[float]] = {}
        for place in sorted(base.keys() & theirs.keys()):
            by_seed.setdefault(place[0], []).append(theirs[place] - base[place])
        if method not in REFERENCES and by_seed:
            means = [statistics.fmean(pairs) for pairs in by_seed.values()]
            found[method] = Difference(method, *interval(means), len(means))
    return found


def whole(rows: Sequence[ScoreRow], tasks: Sequence[str]) -> list[str]:
    """The sets that most seeds of the base have been run on: of an unfinished run, those that can be averaged."""
    seeds = {task: {row.seed for row in rows if row.task == task and row.method == BASE_TITLE} for task in tasks}
    most = max((len(found) for found in seeds.values()), default=0)
    return [task for task in tasks if len(seeds[task]) == most]


def side(found: Sequence[Difference | None]) -> Side:
    """What the intervals of several distances say together: of the same variant, lower is nearer to Retrain."""
    there = [one for one in found if one is not None]
    if not any(one.low is not None for one in there):
        return "one seed alone" if there else "not run"
    below = any(one is not None and one.high is not None and one.high < 0 for one in found)
    above = any(one is not None and one.low is not None and one.low > 0 for one in found)
    if below and above:
        return "both ways"
    return "nearer" if below else "farther" if above else "not told apart"


def shown(found: Difference | None) -> str:
    """`+1.20 [+0.30, +2.10]`, bold where the interval leaves out 0; a dash where there is nothing to compare."""
    if found is None:
        return "–"
    if found.low is None or found.high is None:
        return f"{found.mean:+.2f}"
    text = f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
    return f"**{text}**" if found.low > 0 or found.high < 0 else text
