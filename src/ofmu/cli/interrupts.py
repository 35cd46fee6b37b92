"""Ctrl-C and SIGTERM: the step that runs is finished and saved; a second one stops at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from ofmu.cli.say import note


@dataclass
class Pending:
    """patient: a checkpoint can be saved soon, so a signal waits for it. asked: it does, since `at`."""

    patient: bool = False
    asked: bool = False
    at: float = 0.0


@contextmanager
def patient_signals(echo: float = 0.0) -> Iterator[Pending]:
    """Inside, SIGINT and SIGTERM set `asked` while `patient`, and raise KeyboardInterrupt otherwise.

    echo: seconds within which another signal is the same one (a terminal and a launcher both pass Ctrl-C on).
    """
    pending = Pending()

    def handle(number: int, frame: FrameType | None) -> None:
        if pending.asked and time.monotonic() - pending.at < echo:
            return
        if not pending.patient or pending.asked:
            raise KeyboardInterrupt
        pending.asked, pending.at = True, time.monotonic()
        note("stopping after this step, to save it; once more to stop at once (from the last checkpoint)")

    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield pending
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield pending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
