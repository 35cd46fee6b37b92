"""Text to tokens: the template, and which tokens carry loss.

Labels are aligned with the inputs (not shifted). The loss is on the completion and its end token, or on all
of a plain text but its first token, which nothing predicts.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from ofmu.data.records import Message, Record
from ofmu.data.sequences import as_records
from ofmu.errors import UserError
from ofmu.tasks import IGNORE, Batch

Template = Literal["chat", "plain"]
PLAIN = {"system": "{}", "user": "Question: {}", "assistant": "Answer: {}"}  # turns are joined by newlines
PLAIN_TEXT = "{system}\nQuestion: {user}\nAnswer: {assistant}{eos}"
LOSS_RULE = "last answer and its end token; plain text: all but the first token"


@dataclass(frozen=True)
class Encoder:
    r"""How records become token ids; all of it is in `settings`, so that a run can be repeated.

    tokenizer: a transformers tokenizer. template: "chat" applies `chat_template`, "plain" the text
    "Question: …\nAnswer: …" and the tokenizer's end token, for models that were never given a chat template.
    max_length: tokens; longer examples are cut on the right. chat_template: Jinja text; None means the
    tokenizer's own. Plain-text records take no template whichever is chosen.
    """

    tokenizer: Any
    template: Template = "plain"
    max_length: int = 512
    chat_template: str | None = None

    def __post_init__(self) -> None:
        if self.template not in ("chat", "plain"):
            raise UserError(f"template: found '{self.template}', expected 'chat' or 'plain'")
        if self.max_length < 2:
            raise UserError(f"max_length: found {self.max_length}, expected at least 2 tokens")
        if self.template == "chat" and self.chat_template is None:
            own = getattr(self.tokenizer, "chat_template", None)
            if not isinstance(own, str):
                raise UserError("template 'chat': the tokenizer has no (single) chat template; use 'plain'")
            object.__setattr__(self, "chat_template", own)
        if self.template == "plain" and self.tokenizer.eos_token_id is None:
            raise UserError("template 'plain': the tokenizer has no eos_token, so answers could not end; set one")

    @classmethod
    def of(cls, tokenizer: Any, max_length: int = 512) -> Encoder:
        """The chat template where the tokenizer has one, else the plain one."""
        chat = isinstance(getattr(tokenizer, "chat_template", None), str)
        return cls(tokenizer, "chat" if chat else "plain", max_length)

    @classmethod
    def from_settings(cls, tokenizer: Any, settings: Mapping[str, Any]) -> Encoder:
        """The encoder that `settings` describes, with its saved template text rather than the tokenizer's."""
        if settings["loss"] != LOSS_RULE or (settings["template"] == "plain" and settings["text"] != PLAIN_TEXT):
            raise UserError(f"encoder settings were made by another version of this library: {dict(settings)}")
        text = settings["text"] if settings["template"] == "chat" else None
        return cls(tokenizer, settings["template"], settings["max_length"], text)

    def settings(self) -> dict[str, Any]:
        """What `from_settings` needs, as plain JSON."""
        text = self.chat_template if self.template == "chat" else PLAIN_TEXT
        return {"template": self.template, "text": text, "loss": LOSS_RULE, "max_length": self.max_length}

    def __call__(self, record: Record, place: str | None = None) -> tuple[list[int], list[int]]:
        """(input_ids, labels), two lists of one length <= max_length.

        Raises UserError, naming `place` or the record's id, if the prompt is no prefix of the whole, and if
        nothing that carries loss fits into max_length.
        """
        where = place or f"row '{record.id}'"
        ids, free = self._encoded(record, where)
        labels = ([IGNORE] * free + ids[free:])[: self.max_length]
        if all(label == IGNORE for label in labels):
            raise UserError(
                f"{where}: the prompt alone has {free} tokens, so max_length = {self.max_length} cuts the "
                "whole answer off; raise max_length or leave the row out"
            )
        return ids[: self.max_length], labels

    def prompt(self, record: Record) -> list[int]:
        """The tokens after which the model is to give the answer, for generation (not truncated)."""
        if record.text is not None:
            return self._start()
        before = record.messages[:-1]
        return self._chat(before, True) if self.template == "chat" else self._plain_prompt(before)

    def _encoded(self, record: Record, where: str) -> tuple[list[int], int]:
        """All ids, and how many of the first carry no loss."""
        if record.text is not None:
            return self._ended(self._start() + self._tokens(record.text)), 1
        prompt = self.prompt(record)
        if self.template == "chat":
            whole = self._cut_after_end(self._chat(record.messages, False), len(prompt))
        else:
            turns = _plain(record.messages)
            whole = self._ended(self._start() + self._tokens(turns))
        if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
            raise UserError(
                f"{where}: with template '{self.template}' the tokens of the prompt are no prefix of those "
                "of prompt + answer, so the answer cannot be told apart; use another template"
            )
        return whole, len(prompt)

    def _chat(self, messages: Sequence[Message], generate: bool) -> list[int]:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        encoded = self.tokenizer.apply_chat_template(
            turns,
            chat_template=self.chat_template,
            add_generation_prompt=generate,
            tokenize=True,
            return_dict=True,
        )
        return list(encoded["input_ids"])

    def _cut_after_end(self, ids: list[int], start: int) -> list[int]:
        """Drop what a template writes after the end token (a newline, often): it is never generated."""
        end = self.tokenizer.eos_token_id
        last = max((at for at in range(start, len(ids)) if ids[at] == end), default=len(ids) - 1)
        return ids[: last + 1]

    def _plain_prompt(self, messages: Sequence[Message]) -> list[int]:
        asked = _plain(messages)
        return self._start() + self._tokens(f"{asked}\nAnswer:" if asked else "Answer:")

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _start(self) -> list[int]:
        """The start token if this tokenizer puts one before a text."""
        bos = self.tokenizer.bos_token_id
        return [bos] if bos is not None and list(self.tokenizer("")["input_ids"][:1]) == [bos] else []

    def _ended(self, ids: list[int]) -> list[int]:
        end = self.tokenizer.eos_token_id
        return ids if end is None else [*ids, end]


def _plain(messages: Sequence[Message]) -> str:
    unknown = {message.role for message in messages} - PLAIN.keys()
    if unknown:
        raise UserError(f"template 'plain' knows the roles {', '.join(PLAIN)}; found {', '.join(sorted(unknown))}")
    return "\n".join(PLAIN[message.role].format(message.content) for message in messages)


class TextSamples:
    """Records as token batches (`ofmu.tasks.Samples`), encoded when asked for.

    Memory is bounded by the ids, 4 bytes a row for lengths, and the last `CACHE` encoded rows.
    """

    CACHE = 4096

    def __init__(self, records: Sequence[Record], encoder: Encoder) -> None:
        self.records, self.encoder = as_records(records), encoder
        self._lengths = array("i", bytes(4 * len(self.records)))
        self.encoded = lru_cache(maxsize=self.CACHE)(self._encode)
        tokenizer = encoder.tokenizer
        # Any id would do: what is padding is said by the attention mask and the labels, never by the id.
        self._pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)

    @property
    def ids(self) -> Sequence[str]:
        """The records' ids."""
        return self.records.ids

    def __len__(self) -> int:
        return len(self.records)

    def _encode(self, row: int) -> tuple[list[int], list[int]]:
        return self.encoder(self.records.record(row), self.records.place(row))

    def batch(self, rows: Sequence[int]) -> Batch:
        """input_ids, attention_mask and labels, int64 [b, t], padded on the right to the longest row."""
        encoded = [self.encoded(int(row)) for row in rows]
        lengths = torch.tensor([len(ids) for ids, _ in encoded])
        width = int(lengths.max())
        inputs = self._padded([ids for ids, _ in encoded], width, self._pad)
        labels = self._padded([labels for _, labels in encoded], width, IGNORE)
        mask = (torch.arange(width)[None, :] < lengths[:, None]).long()
        index = torch.as_tensor(rows, dtype=torch.int64)
        return Batch(index, {"input_ids": inputs, "attention_mask": mask}, labels)

    def span(self, row: int, first: int, stop: int) -> dict[str, Tensor]:
        """The token ids at places `first` … `stop` − 1 of a row, int64 [1, stop − first]."""
        return {"input_ids": torch.tensor([self.encoded(int(row))[0][first:stop]], dtype=torch.int64)}

    @staticmethod
    def _padded(lists: list[list[int]], width: int, value: int) -> Tensor:
        return torch.tensor([row + [value] * (width - len(row)) for row in lists], dtype=torch.int64)

    def length(self, row: int) -> int:
        """Characters of the row (close to proportional to its tokens): read once, then remembered."""
        if not self._lengths[row]:
            record = self.records.record(row)
            self._lengths[row] = len(record.text or "") + sum(len(turn.content) for turn in record.messages)
        return self._lengths[row]
