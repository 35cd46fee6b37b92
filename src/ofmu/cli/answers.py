"""What models say to a few forgotten questions: only where --show-forgotten allows it."""

from __future__ import annotations

from collections.abc import Sequence

from torch.nn import Module

from ofmu.data.records import Record
from ofmu.engine.requests import Request
from ofmu.report.model import AnswerRow

SHOWN = 6


def asked(request: Request) -> list[Record]:
    """The forgotten questions that are shown: a few, evenly spread; none for plain text."""
    records = [] if request.records is None else [record for record in request.records if record.text is None]
    return records[:: max(1, len(records) // SHOWN)][:SHOWN]


def say(module: Module | None, request: Request) -> list[str]:
    """A model's greedy answers to them."""
    from ofmu.benchmarks.answering import answer

    if module is None or request.encoder is None:
        return []
    return answer(module, request.encoder, asked(request), batch=SHOWN)


def join_answers(
    request: Request, before: Sequence[str], after: Sequence[str], retrain: Sequence[str]
) -> list[AnswerRow]:
    """One row per question."""
    return [
        AnswerRow(
            record.id,
            before[i],
            after[i],
            record.completion,
            question=record.prompt,
            retrain=retrain[i] if retrain else None,
        )
        for i, record in enumerate(asked(request) if after else [])
    ]
