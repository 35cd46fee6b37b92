"""Score rows on stdout, one a line with its interval: for commands that measure a model or two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from ofmu.cli.say import note, print_json
from ofmu.report.labels import arrow
from ofmu.report.model import RETRAIN, ScoreRow

MODEL_NAME = "Model"  # what rows call the model that is measured


def show_rows(rows: Sequence[ScoreRow], machine: bool) -> None:
    """As one JSON object {"rows": […]}, or as a table; why a number is missing is said on stderr."""
    if machine:
        print_json({"rows": [asdict(row) for row in rows]})
        return
    table = Table("data", "model", "metric", "best", "value", "95 % interval", "n")
    retrain = any(row.method == RETRAIN for row in rows)
    for row in rows:
        value = "missing" if row.value is None else f"{row.value:.4g}"
        interval = "" if row.low is None else f"{row.low:.4g} to {row.high:.4g}"
        better = arrow(row.metric, row.higher_is_better, retrain)
        table.add_row(row.task, row.method, row.metric, better, value, interval, str(row.n))
    Console().print(table)
    for row in rows:
        if row.missing:
            note(f"{row.task}, {row.method}: {row.metric} is missing: {row.missing}")
