"""The benchmark's page, its markdown and its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...report.figures import Frontier
from ...report.frontier import frontier_png, frontier_svg
from ...report.labels import label as name_of
from ...report.model import FLOOR, ORIGINAL, RETRAIN, Page, ScoreRow, TaskSection
from ...report.scores import read_scores, write_scores, write_text
from ..paired import interval
from ..study import environment, machine, section
from .curves import frontiers
from .ground import OVER, Found, Ground, Quality, Spot
from .verdict import LEVEL, MARGIN, sentences

OURS = "OFMU"
Grounds = Mapping[str, tuple[Ground, Found]]


def page_of(grounds: Grounds, title: str, command: str, left: str, tuned: str) -> Page:
    """The page of what there is; left: what is still missing, in words."""
    verdict = [f"Not finished. Missing: {left}."] if left else []
    for name, (ground, found) in grounds.items():
        said = sentences(found, OURS, ground.pair, ground.resets)
        verdict += [f"{name}. {sentence}" for sentence in said]
    budgets = sorted({budget for _, found in grounds.values() for budget in found.budgets})
    return Page(
        title=title,
        request={
            "To be forgotten": "; ".join(grounds),
            "Budgets": ", ".join(f"{100 * budget:g} %" for budget in budgets) + " of a retraining on what is kept",
            "Methods": ", ".join(dict.fromkeys(m for _, found in grounds.values() for m in found.methods)),
        },
        verdict=verdict,
        tasks=[section_of(ground, found) for ground, found in grounds.values() if found.cells],
        environment=environment(machine()),
        command=command,
        limits=[
            f"Shown: the one-sided {100 * LEVEL:g} % bounds of the paired differences over seeds exceed "
            f"{100 * MARGIN:g} % of the floor's mean in both distances. Ruled out: at least one of two bounds at "
            f"{100 - 50 * (1 - LEVEL):g} % does not reach it.",
            f"A method that spends over {100 * OVER:g} % more than a budget has not kept it: its point is drawn "
            "at what it spent, and it is compared with nobody there.",
            tuned,
        ],
    )


def section_of(ground: Ground, found: Found) -> TaskSection:
    """A task's table, costs and figures."""
    about = f"{ground.about} Budgets: shares of a retraining, targets, start and references included."
    words = {spot.label: ground.tuning(spot.method, spot.budget) for spot in found.spots}
    cells = [found.cells[seed] for seed in sorted(found.cells)]
    made = section(ground.name, about, cells, batch=ground.unit, tuning=words)
    return replace(made, figures=tuple(frontiers(found, ground.name, ground.qualities)), dots=False)


def write(out: Path, name: str, page: Page, grounds: Grounds) -> None:
    """Write out/NAME.md and out/NAME.json; what was there is replaced."""
    today = datetime.now(UTC).date().isoformat()
    spots = [asdict(spot) for _, found in grounds.values() for spot in found.spots]
    qualities = {task: [asdict(quality) for quality in ground.qualities] for task, (ground, _) in grounds.items()}
    extra: dict[str, Any] = {
        "title": page.title,
        "command": page.command,
        "date": today,
        "environment": dict(page.environment),
        "verdict": list(page.verdict),
        "qualities": qualities,
        "runs": spots,
    }
    write_scores(out / f"{name}.json", page.rows, extra)
    made = "; ".join(f"{key} {value}" for key, value in page.environment.items())
    blocks = [f"# {page.title}", f"    {page.command}\n\n{today}; {made}."]
    if page.verdict:
        blocks.append("## In short\n\n" + "\n".join(f"- {sentence}" for sentence in page.verdict))
    blocks += [block for ground, found in grounds.values() if found.cells for block in _blocks(ground, found)]
    blocks.append("## Limits\n\n" + "\n".join(f"- {sentence}" for sentence in page.limits))
    write_text(out / f"{name}.md", "\n\n".join(blocks) + "\n")


def draw(out: Path, ground: Ground, found: Found) -> None:
    """Write out/figures/TASK-QUALITY.svg and .png of one task."""
    for quality, drawn in zip(ground.qualities, frontiers(found, ground.name, ground.qualities), strict=False):
        stem = "".join(c if c.isalnum() else "-" for c in f"{ground.name} {quality.metric}".lower())
        svg = frontier_svg(drawn, {}, stem)
        spaced = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
        write_text(out / "figures" / f"{stem}.svg", spaced + "\n")
        frontier_png([drawn], out / "figures" / f"{stem}.png")


def picture(results: Path, out: Path, tasks: Sequence[str] = (), metrics: Sequence[str] = ("gap", "PS")) -> Path:
    """One picture from a results file: a line of panels for each task (default: the first), one a metric.

    Raises UserError where the file has no such task or metric.
    """
    panels: list[Frontier] = []
    there = read(results)
    for task, (found, qualities) in there.items():
        if (task in tasks) if tasks else not panels:
            panels += frontiers(found, task, [quality for quality in qualities if quality.metric in metrics])
    if not panels:
        known = "; ".join(f"{task} ({', '.join(q.metric for q in listed)})" for task, (_, listed) in there.items())
        raise UserError(
            f"{results}: nothing of {', '.join(tasks) or 'any task'} in {', '.join(metrics)}; there is {known}"
        )
    return frontier_png(panels, out, across=len(metrics))


def read(results: Path) -> dict[str, tuple[Found, list[Quality]]]:
    """What a results file holds, by task."""
    rows, extra = read_scores(results)
    made: dict[str, tuple[Found, list[Quality]]] = {}
    for task, qualities in extra["qualities"].items():
        found = Found(spots=[Spot(**spot) for spot in extra["runs"] if spot["task"] == task])
        mine = [row for row in rows if row.task == task]
        for seed in sorted({row.seed for row in mine}):
            found.references(seed, [row for row in mine if row.seed == seed], [])
        kept = [Quality(**{**quality, "levels": tuple(quality["levels"])}) for quality in qualities]
        made[task] = found, kept
    return made


def _blocks(ground: Ground, found: Found) -> list[str]:
    head = ["budget", "method", "seeds", "spent", *(name_of(quality.metric).short for quality in ground.qualities)]
    lines = [_row(head), "|---|---|" + "---:|" * (len(head) - 2)]
    rows = found.rows
    references = (ORIGINAL, RETRAIN, FLOOR)
    lines += [_row(["", name, *_counted(rows, name, "–", ground.qualities)]) for name in references]
    for budget in found.budgets:
        for method in found.methods:
            share = found.share(method, budget)
            if share is not None:
                over = "" if found.keeps(method, budget) else " (over)"
                label = next(s.label for s in found.spots if s.method == method and s.budget == budget)
                spent = f"{100 * share:.1f} %{over}"
                cells = _counted(rows, label, spent, ground.qualities)
                lines.append(_row([f"{100 * budget:g} %", method, *cells]))
    notes = [f"- {note}" for seed in sorted(found.cells) for note in found.cells[seed].notes]
    tuned = [f"- {spot.label}: {ground.tuning(spot.method, spot.budget)}" for spot in _first(found.spots)]
    tuned = [line for line in tuned if "none: the preset" not in line]
    caption = "Mean ± half of the 95 % interval over seeds."
    blocks = [f"## {ground.name}", ground.about, "\n".join(lines), caption]
    return [*blocks, *(["\n".join(notes)] if notes else []), *(["\n".join(tuned)] if tuned else [])]


def _first(spots: Sequence[Spot]) -> list[Spot]:
    """One spot a label."""
    return list({spot.label: spot for spot in spots}.values())


def _counted(rows: Sequence[ScoreRow], label: str, spent: str, qualities: Sequence[Quality]) -> list[str]:
    mine = [row for row in rows if row.method == label]
    cells = [str(len({row.seed for row in mine})), spent]
    for quality in qualities:
        values = [row.value for row in mine if row.metric == quality.metric and row.value is not None]
        cells.append(_cell(values) if values else "–")
    return cells


def _cell(values: Sequence[float]) -> str:
    mean, low, high = interval(values)
    digits = 3 if abs(mean) < 1.5 else 2
    return f"{mean:.{digits}f}" + ("" if low is None or high is None else f" ± {(high - low) / 2:.{digits}f}")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
