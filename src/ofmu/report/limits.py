"""What the data of a page do not show, said in sentences: drawn from what is absent, not from an opinion."""

from __future__ import annotations

from collections.abc import Sequence

from ofmu.report.lattice import ks_lattice
from ofmu.report.model import FLOOR, RETRAIN, Page, ScoreRow, TaskSection

GENERAL = (
    "Tests can find what is left of the forgotten samples; passing them does not prove that nothing is left. "
    "Attacks that are not listed here were not tried."
)
SMALL = 100  # below about this many samples a share is uncertain by several points


def limits_of(page: Page) -> list[str]:
    """The caller's limits, those that follow from each task's data, and what holds for any such report."""
    drawn = [sentence for task in page.tasks for sentence in _task_limits(task)]
    return [*page.limits, *drawn, GENERAL]


def _task_limits(task: TaskSection) -> list[str]:
    if not task.rows:
        return [f"{task.name}: nothing was measured."]
    methods = {row.method for row in task.rows}
    found = []
    if RETRAIN not in methods:
        found.append("no model was retrained without the forgotten samples, so nearness to one is unknown")
    elif FLOOR not in methods:
        found.append("only one retraining was made, so how far two of them differ by chance is unknown")
    found += _spread(task.rows) + _size(task.rows) + _lattice(task.rows)
    if task.losses is not None and task.losses.unseen is None:
        found.append("no losses on samples that nobody trained on, so they cannot be compared")
    if any(row.value is None for row in task.rows):
        found.append("some metrics could not be computed (see the notes under the table)")
    return [f"{task.name}: {sentence}." for sentence in found]


def _spread(rows: Sequence[ScoreRow]) -> list[str]:
    seeds = {method: {r.seed for r in rows if r.method == method} for method in {r.method for r in rows}}
    single = sorted(method for method, own in seeds.items() if len(own) == 1)
    if not single:
        return []
    if len(single) == len(seeds):
        return ["one seed, so the spread between runs is unknown"]
    return [f"one seed only for {', '.join(single)}, so their spread between runs is unknown"]


def _size(rows: Sequence[ScoreRow]) -> list[str]:
    counts = [row.n for row in rows if row.value is not None]
    if not counts or min(counts) >= SMALL:
        return []
    return [f"some numbers rest on {min(counts)} samples only; small differences in them mean little"]


def _lattice(rows: Sequence[ScoreRow]) -> list[str]:
    """What p of a KS test can be at all, where questions are so few that its steps matter."""
    counts = sorted(
        {row.n for row in rows if row.metric == "ks_p" and row.value is not None and row.n < 10 * SMALL}
    )
    return [_nearest(n) for n in counts]


def _nearest(n: int) -> str:
    near = ks_lattice(n, n)
    if near.below is None:
        return f"KS p of {n} against {n} questions is never below {near.above:.2g}"
    return (
        f"KS p of {n} against {n} questions takes few values: the two on either side of .05 are "
        f"{near.below:.2g} and {near.above:.2g}"
    )
