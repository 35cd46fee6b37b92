"""Which rows are to be forgotten: by id, by a column's value, or as a file of its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from ofmu.data.records import Record, content_id
from ofmu.data.sequences import Records, Subset, as_records
from ofmu.errors import UserError

SHOWN = 5  # how many offending rows a message names


def read_ids(path: str | Path) -> list[str]:
    """The ids in a file: one a line, or a JSON list. Raises UserError if missing, empty or not text."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"no file {file} to read ids from; expected one id a line, or a JSON list")
    text = file.read_text(encoding="utf-8-sig").strip()
    if not text.startswith("["):
        ids = [line.strip() for line in text.splitlines() if line.strip()]
    else:
        try:
            ids = [str(id) for id in json.loads(text)]
        except json.JSONDecodeError as error:
            raise UserError(f"{file}:{error.lineno}: not JSON ({error.msg}); expected a list of ids") from None
    if not ids:
        raise UserError(f"{file} holds no ids; expected one id a line, or a JSON list")
    return ids


def split(
    records: Sequence[Record], *, ids: str | Path | Sequence[str] | None = None, where: str | None = None
) -> tuple[Records, Records]:
    """(forget, retain): the rows with these ids, or with column = value, and all the others; both lazy.

    ids: ids, or a file of them. where: "column=value", values compared as text ("id" is a column too).
    Exactly one of the two. Raises UserError for ids or columns that are not there, and where either part
    would be empty.
    """
    if (ids is None) == (where is None):
        raise UserError("give either ids= or where= to choose what is forgotten, not both and not neither")
    whole = as_records(records)
    if where is not None:
        chosen = _where(whole, where)
    else:
        assert ids is not None
        chosen = _known(whole, read_ids(ids) if isinstance(ids, str | Path) else ids)
    forget = [row for row, id in enumerate(whole.ids) if id in chosen]
    retain = [row for row, id in enumerate(whole.ids) if id not in chosen]
    if not retain:
        raise UserError(f"every one of the {len(whole)} rows is to be forgotten: nothing is left to retain")
    return Subset(whole, forget), Subset(whole, retain)


def _known(whole: Records, ids: Sequence[str]) -> set[str]:
    chosen = set(ids)
    unknown = sorted(chosen - set(whole.ids))
    if unknown:
        near = get_close_matches(unknown[0], whole.ids[:20_000], n=1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; ids here look like '{whole.ids[0]}'"
        raise UserError(
            f"ids: {len(unknown)} of {len(chosen)} are not in the data: {', '.join(unknown[:SHOWN])}{hint}"
        )
    if not chosen:
        raise UserError("ids: the list is empty, so there is nothing to forget")
    return chosen


def _where(whole: Records, where: str) -> set[str]:
    column, equals, value = where.partition("=")
    if not equals or not column:
        raise UserError(f"where: found '{where}', expected column=value")
    values = [str(found) for found in whole.meta(column.strip())]
    chosen = {id for id, found in zip(whole.ids, values, strict=True) if found == value.strip()}
    if not chosen:
        near = get_close_matches(value.strip(), sorted(set(values)), n=1)
        common = ", ".join(f"'{name}'" for name, _ in Counter(values).most_common(SHOWN))
        hint = f"did you mean '{near[0]}'?" if near else f"values there: {common}"
        raise UserError(f"where: no row has {column.strip()} = '{value.strip()}'; {hint}")
    return chosen


def check_not_empty(records: Sequence[Record], name: str) -> None:
    """UserError if there are no records; `name` says which set is meant ("forget set")."""
    if not len(records):
        raise UserError(f"the {name} is empty; expected at least one row")


def check_disjoint(forget: Sequence[Record], retain: Sequence[Record]) -> None:
    """UserError if a retain row has the id, or exactly the content, of a forget row; names up to 5 of them.

    A row that is trained on as "retain" is learnt again while it is unlearnt, and every score would lie.
    Holds the forget set's ids and hashes alone; reads both sets once.
    """
    left, right = as_records(forget, "forget set"), as_records(retain, "retain set")
    ids = {id: row for row, id in enumerate(left.ids)}
    contents = {content_id(record.content): row for row, record in enumerate(left)}
    found: list[str] = []
    count = 0
    for row, record in enumerate(right):
        same_id = ids.get(record.id)
        same = contents.get(content_id(record.content)) if same_id is None else same_id
        if same is None:
            continue
        count += 1
        if count <= SHOWN:
            why = "same id" if same_id is not None else f"same content as '{left.ids[same]}'"
            found.append(f"'{record.id}' at {right.place(row)} ({why}, {left.place(same)})")
    if count:
        raise UserError(
            f"forget and retain share {count} row{'s' if count > 1 else ''}: {'; '.join(found)}"
            f"{'; …' if count > SHOWN else ''}. Take them out of the retain set"
        )
