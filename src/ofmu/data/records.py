"""One training example as text, its stable id, and lazy sequences of such records.

A record is either a conversation (the loss is on its last message, the assistant's) or plain text (the loss is
on all of it). Question + answer and prompt + completion are conversations of two messages, so that one content
has one id however its columns are called.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

from ofmu.errors import UserError

PAIRS = (("question", "answer"), ("prompt", "completion"))
ACCEPTED = "'question' + 'answer', 'prompt' + 'completion', 'text', or 'messages' [{role, content}, …]"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; role is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True)
class Record:
    """One example: messages (the last one is the assistant's), or else text. meta holds every other column."""

    id: str
    messages: tuple[Message, ...] = ()
    text: str | None = None
    meta: Mapping[str, object] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """What is asked: the message before the last ("" for plain text or where there is none)."""
        return self.messages[-2].content if len(self.messages) > 1 else ""

    @property
    def completion(self) -> str:
        """What is learnt: the last message, or the whole text."""
        return self.messages[-1].content if self.text is None else self.text

    @property
    def content(self) -> str:
        """Canonical JSON of the content alone (neither id nor meta): equal strings are equal examples."""
        turns = [{"role": m.role, "content": m.content} for m in self.messages]
        kept = {"text": self.text} if self.text is not None else {"messages": turns}
        return json.dumps(kept, sort_keys=True, separators=(",", ":"))


def content_id(content: str | bytes) -> str:
    """ "sha256:" and the first 16 hexadecimal digits of the hash of `content`."""
    raw = content.encode() if isinstance(content, str) else content
    return "sha256:" + hashlib.sha256(raw).hexdigest()[:16]


def question_answer(
    question: str, answer: str, *, id: str | None = None, meta: Mapping[str, object] | None = None
) -> Record:
    """A record of one question and its answer; without an id it gets the hash of its content."""
    messages = (Message("user", question), Message("assistant", answer))
    record = Record("", messages, None, meta or {})
    return replace(record, id=content_id(record.content) if id is None else id)


def make_record(fields: Mapping[str, object], place: str, id: str | None = None) -> Record:
    """The record that a row's columns hold; `place` (file and line) leads every error.

    The id is `id` if given, else the row's own `id` column, else the hash of its content. Raises UserError for
    a row without the needed columns, or with an empty or non-text value in them.
    """
    present = {key: value for key, value in fields.items() if value is not None}
    used = _content_columns(present, place)
    meta = {key: value for key, value in fields.items() if key not in used and key != "id"}
    if used == ("messages",):
        record = Record("", _messages(present["messages"], place), None, meta)
    elif used == ("text",):
        record = Record("", (), _text(present["text"], "text", place), meta)
    else:
        asked, told = (_text(present[key], key, place) for key in used)
        record = Record("", (Message("user", asked), Message("assistant", told)), None, meta)
    own = id if id is not None else present.get("id")
    if own is not None and not isinstance(own, str | int):
        raise UserError(
            f"{place}: 'id' is {type(own).__name__} {own!r}; an id must be text or a whole number"
        )
    return replace(record, id=content_id(record.content) if own is None else str(own))


def _content_columns(present: Mapping[str, object], place: str) -> tuple[str, ...]:
    if "messages" in present:
        return ("messages",)
    for pair in PAIRS:
        if all(key in present for key in pair):
            return pair
    if "text" in present:
        return ("text",)
    halves = [(pair, key) for pair in PAIRS for key in pair if key in present]
    lacks = ", ".join(f"has '{key}' but no '{(set(pair) - {key}).pop()}'" for pair, key in halves)
    found = ", ".join(repr(key) for key in present) or "nothing"
    raise UserError(f"{place}: {lacks or 'no text to learn'} (columns found: {found}). Accepted: {ACCEPTED}")


def _text(value: object, key: str, place: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{place}: '{key}' is {type(value).__name__} {str(value)[:40]!r}, expected text")
    if not value.strip():
        raise UserError(f"{place}: '{key}' is empty, expected some text; fill it in or leave the row out")
    return value


def _messages(value: object, place: str) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        raise UserError(f"{place}: 'messages' must be a list of {{role, content}}, found {str(value)[:60]!r}")
    turns: list[Message] = []
    for number, turn in enumerate(value, 1):
        role = _text(turn.get("role"), f"messages, turn {number}, role", place)
        turns.append(Message(role, _text(turn.get("content"), f"messages, turn {number}, content", place)))
    if turns[-1].role != "assistant":
        raise UserError(
            f"{place}: the last message is by '{turns[-1].role}', expected 'assistant' (it is learnt)"
        )
    return tuple(turns)


def unique_ids(ids: Sequence[str]) -> list[str]:
    """The ids with "#2", "#3", … after the second, third, … occurrence of one (identical content)."""
    seen: Counter[str] = Counter()
    unique: list[str] = []
    for id in ids:
        seen[id] += 1
        unique.append(id if seen[id] == 1 else f"{id}#{seen[id]}")
    return unique


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
    """The same questions, ids and order with other answers (paraphrased or wrong ones, for the truth ratio)."""
    if len(records) != len(answers):
        raise ValueError(f"answers: found {len(answers)} for {len(records)} records, expected one each")
    return _Answered(as_records(records), answers)
