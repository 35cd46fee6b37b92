"""What a user sees while work goes on: notes and progress bars on stderr, results on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

NOTES = Console(stderr=True, highlight=False)
ERRORS = Console(stderr=True, highlight=False, soft_wrap=True)


def hush() -> None:
    """No word from this process any more: another one speaks for all."""
    NOTES.quiet = ERRORS.quiet = True


def note(text: str) -> None:
    """One line about what is going on, on stderr."""
    NOTES.print(text, markup=False, style="dim")


def print_json(value: Mapping[str, Any]) -> None:
    """The machine's output: one JSON object on stdout."""
    print(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False))


class Bar:
    """A progress bar with numbers beside it and the time left."""

    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress, self._task = progress, task

    def show(self, done: float, total: float, numbers: Mapping[str, float | None]) -> None:
        """Move on; numbers that are None are left out."""
        text = "  ".join(f"{name} {value:.3g}" for name, value in numbers.items() if value is not None)
        self._progress.update(self._task, completed=min(done, total), total=total, numbers=text)


@contextmanager
def bar(what: str) -> Iterator[Bar]:
    """A bar on stderr that goes away when the work is done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
        TextColumn("· left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=NOTES, transient=True) as progress:
        yield Bar(progress, progress.add_task(what, total=None, numbers=""))
