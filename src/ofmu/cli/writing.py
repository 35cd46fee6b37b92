"""What a run leaves beside its model: config, scores, events, ids and the page.

No content of forgotten rows is in them, unless that is asked for.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ofmu.cli.config import config_of
from ofmu.cli.page import page_of
from ofmu.cli.result import Result
from ofmu.cli.say import note
from ofmu.errors import UserError
from ofmu.report.page import render
from ofmu.report.scores import write_scores, write_text


def write_result(result: Result, folder: Path) -> None:
    """Write everything but the model."""
    write_text(folder / "config.json", json.dumps(config_of(result), indent=1, ensure_ascii=False) + "\n")
    write_scores(
        folder / "scores.json",
        result.rows,
        {"costs": [asdict(result.cost)], "ended": result.progress.ended, **result.attacked},
    )
    lines = [json.dumps(event) for event in result.progress.events]
    write_text(folder / "events.jsonl", "".join(line + "\n" for line in lines))
    write_text(folder / "forget_ids.txt", "".join(f"{id}\n" for id in result.request.parts.forget.ids))
    try:
        write_text(folder / "report.html", render(page_of(result)))
    except UserError as error:  # the optional packages of pages are not installed: all else is still worth having
        note(f"report.html is left out: {error}")
