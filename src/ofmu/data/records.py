"""One training example as text, its stable id, and how a row of columns becomes one.

A record is either a conversation (the loss is on its last message, the assistant's) or plain text (the loss
is on all of it). Question + answer and prompt + completion are conversations of two messages, so that one
content has one id however its columns are called.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

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
    """One example: messages (the last is the assistant's), or else text. meta holds every other column."""

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
    """The text "sha256:" and the first 16 hexadecimal digits of the hash of `content`."""
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

    The id is `id` if given, else the row's own `id` column, else the hash of its content. Raises UserError
    for a row without the needed columns, or with an empty or non-text value in them.
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
        raise UserError(f"{place}: 'id' is {type(own).__name__} {own!r}; an id must be text or a whole number")
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
        raise UserError(f"{place}: the last message is by '{turns[-1].role}', expected 'assistant' (it is learnt)")
    return tuple(turns)


def unique_ids(ids: Sequence[str]) -> list[str]:
    """The ids with "#2", "#3", … after the second, third, … occurrence of one (identical content)."""
    seen: Counter[str] = Counter()
    unique: list[str] = []
    for id in ids:
        seen[id] += 1
        unique.append(id if seen[id] == 1 else f"{id}#{seen[id]}")
    return unique
