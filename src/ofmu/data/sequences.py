"""Lazy sequences of records: only their ids are held, a record is made when it is asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import overload

from ofmu.data.records import Message, Record
from ofmu.errors import UserError


class Records(Sequence[Record]):
    """A sequence of records that are made when they are asked for; only the ids are held."""

    ids: list[str]

    @abstractmethod
    def record(self, row: int) -> Record:
        """The record at 0 <= row < len."""

    @abstractmethod
    def place(self, row: int) -> str:
        """Where a row comes from, for messages: file and line."""

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, row: int) -> Record: ...
    @overload
    def __getitem__(self, row: slice) -> Records: ...
    def __getitem__(self, row: int | slice) -> Record | Records:
        if isinstance(row, slice):
            return Subset(self, range(len(self))[row])
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} records")
        return self.record(row % len(self))

    def __iter__(self) -> Iterator[Record]:
        return (self.record(row) for row in range(len(self)))

    def meta(self, column: str) -> list[object]:
        """One column of every row (None where a row lacks it); "id" gives the ids. Unknown: UserError."""
        if column == "id":
            return list(self.ids)
        names: dict[str, None] = {}
        values: list[object] = []
        for record in self:
            names.update(dict.fromkeys(record.meta))
            values.append(record.meta.get(column))
        if column not in names:
            raise UserError(f"no column '{column}'; columns found: {', '.join(['id', *names])}")
        return values


class InMemory(Records):
    """Records that already exist; `name` is what messages call them."""

    def __init__(self, records: Sequence[Record], name: str = "records") -> None:
        self._records, self._name = records, name
        self.ids = [record.id for record in records]

    def record(self, row: int) -> Record:
        """The record at `row`."""
        return self._records[row]

    def place(self, row: int) -> str:
        """Name and row (from 1)."""
        return f"{self._name}, row {row + 1}"


class Subset(Records):
    """Some rows of other records, still read on demand."""

    def __init__(self, whole: Records, rows: Sequence[int]) -> None:
        self._whole, self._rows = whole, rows
        self.ids = [whole.ids[row] for row in rows]

    def record(self, row: int) -> Record:
        """The record at `row` of the subset."""
        return self._whole.record(self._rows[row])

    def place(self, row: int) -> str:
        """Where it comes from in the whole."""
        return self._whole.place(self._rows[row])


class _Answered(Records):
    def __init__(self, whole: Records, answers: Sequence[str]) -> None:
        self._whole, self._answers = whole, answers
        self.ids = whole.ids

    def record(self, row: int) -> Record:
        record = self._whole.record(row)
        if record.text is not None:
            raise UserError(f"{self._whole.place(row)}: plain text has no answer to replace")
        return replace(record, messages=(*record.messages[:-1], Message("assistant", self._answers[row])))

    def place(self, row: int) -> str:
        return self._whole.place(row)


def as_records(records: Sequence[Record], name: str = "records") -> Records:
    """`records` itself if lazy already, else a wrapper around the list."""
    return records if isinstance(records, Records) else InMemory(records, name)


def with_answers(records: Sequence[Record], answers: Sequence[str]) -> Records:
    """The same questions, ids and order with other answers (paraphrased or wrong, for the truth ratio)."""
    if len(records) != len(answers):
        raise ValueError(f"answers: found {len(answers)} for {len(records)} records, expected one each")
    return _Answered(as_records(records), answers)
