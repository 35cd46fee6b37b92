"""`ofmu compare`: several runs of one task beside each other."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from ofmu.cli.exits import DONE
from ofmu.cli.places import another, file_to_write
from ofmu.cli.say import note, print_json
from ofmu.errors import UserError
from ofmu.report.model import REFERENCES, Cost, Page, ScoreRow, TaskSection
from ofmu.report.page import write_page
from ofmu.report.scores import read_scores
from ofmu.report.summary import tasks_of
from ofmu.report.table import print_scores

Named = TypeVar("Named", ScoreRow, Cost)
SAME = 1e-6  # two runs that measured one reference model may differ by rounding


def compare(runs: Sequence[str], out: str | None, overwrite: bool, machine: bool) -> int:
    """Read, join, print; and write a page to `out`."""
    file = None if out is None else file_to_write(out, overwrite)
    rows: list[ScoreRow] = []
    costs: list[Cost] = []
    for run in runs:
        found, extra = read_scores(_file(run))
        suffix = _suffix(rows, found, run)
        rows = _joined(rows, [_named(row, suffix) for row in found], run)
        costs += [_named(_cost(run, cost), suffix) for cost in extra.get("costs", [])]
    if not rows:
        raise UserError("compare: found no runs, expected folders that unlearn wrote")
    if file is not None:
        write_page(file, _page(runs, str(file), rows, costs))
        note(f"{file} written")
    if machine:
        print_json({"rows": [asdict(row) for row in rows], "costs": [asdict(cost) for cost in costs]})
    else:
        print_scores(rows, costs, Console())
    return DONE


def _file(run: str) -> Path:
    path = Path(run).expanduser()
    return path / "scores.json" if path.is_dir() else path


def _cost(run: str, fields: dict[str, Any]) -> Cost:
    try:
        return Cost(**fields)
    except (TypeError, ValueError) as error:
        raise UserError(f"{run}: costs cannot be read ({error}); was it written by ofmu unlearn?") from None


def _suffix(rows: list[ScoreRow], more: list[ScoreRow], run: str) -> str:
    """What tells a method's second run from the first: its folder's name, or its place where that is taken."""
    known = {_key(row) for row in rows if row.method not in REFERENCES}
    folder = _file(run).parent
    for suffix in ("", f" ({folder.absolute().name})", f" ({folder})"):
        if not any(_key(_named(row, suffix)) in known for row in more):
            return suffix
    raise UserError(f"compare: found {run} more than once, expected every run once")


def _named(found: Named, suffix: str) -> Named:
    return found if found.method in REFERENCES else replace(found, method=found.method + suffix)


def _joined(rows: list[ScoreRow], more: list[ScoreRow], run: str) -> list[ScoreRow]:
    """Both, once each: references measured twice must agree."""
    known = {_key(row): row for row in rows}
    joined = list(rows)
    for row in more:
        before = known.get(_key(row))
        if before is None:
            joined.append(row)
        elif not _same(before, row):
            raise UserError(
                f"{run}: {row.method} has {row.metric} = {row.value}, another run has {before.value}; expected "
                "runs of one task with the same models"
            )
    if rows and set(tasks_of(more)) - set(tasks_of(rows)):
        note(f"{run} is of another task ({', '.join(tasks_of(more))}): it gets a table of its own")
    return joined


def _key(row: ScoreRow) -> tuple[str, str, int, str]:
    return row.task, row.method, row.seed, row.metric


def _same(a: ScoreRow, b: ScoreRow) -> bool:
    if a.value is None or b.value is None:
        return a.value is b.value
    return abs(a.value - b.value) <= SAME * max(1.0, abs(a.value))


def _page(runs: Sequence[str], out: str, rows: Sequence[ScoreRow], costs: Sequence[Cost]) -> Page:
    sections = []
    for task in tasks_of(rows):
        own = [row for row in rows if row.task == task]
        spent = [cost for cost in costs if cost.task == task]
        sections.append(TaskSection(task, "Several runs on one request.", own, costs=spent))
    methods = list(dict.fromkeys(row.method for row in rows if row.method not in REFERENCES))
    return Page(
        "Unlearning runs compared",
        {"Runs": ", ".join(runs)},
        [f"{len(methods)} results are laid beside each other: {', '.join(methods)}."],
        sections,
        {"runs": json.dumps(list(runs))},
        shlex.join(["ofmu", "compare", *runs, "--out", another(out)]),
    )
