"""Rows on disk, read one at a time: what lies between a file format and `ofmu.data.records`.

JSON lines are found by a byte-offset index. A gzip file has no random access: it is unpacked once, into a
temporary file that goes with the object.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from ofmu.errors import UserError

Fields = Mapping[str, object]


class Source(Protocol):
    """Rows of named columns; `fields` reads one row, `scan` all in order, `place` says where a row stands."""

    def __len__(self) -> int: ...
    def fields(self, row: int) -> Fields:
        """The columns of one row."""
        ...

    def scan(self) -> Iterator[Fields]:
        """Every row in order, in one pass."""
        ...

    def place(self, row: int) -> str:
        """Where a row stands, for messages."""
        ...


def spill(owner: object, suffix: str) -> Path:
    """An empty temporary file that is removed with its owner."""
    handle, name = tempfile.mkstemp(prefix="ofmu-", suffix=suffix)
    os.close(handle)
    weakref.finalize(owner, Path(name).unlink, missing_ok=True)
    return Path(name)


class JsonLines:
    """JSON lines, gzipped or not: 16 bytes a row are held (where it starts, which line it is)."""

    def __init__(self, path: Path) -> None:
        self.path, self._plain = path, path
        if path.suffix == ".gz":
            self._plain = spill(self, ".jsonl")
            _gunzip(path, self._plain)
        self._starts, self._lines = array("Q"), array("Q")
        start = 0
        with self._plain.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    self._starts.append(start)
                    self._lines.append(number)
                start += len(line)
        self._stamp = _stamp(self._plain)

    def __len__(self) -> int:
        return len(self._starts)

    def fields(self, row: int) -> Fields:
        """The row's columns; UserError if the file was changed since it was indexed."""
        if _stamp(self._plain) != self._stamp:
            raise UserError(f"{self.path} was changed while it was in use; start again with a file that stays")
        with self._plain.open("rb") as file:
            file.seek(self._starts[row])
            return self._parse(file.readline(), row)

    def scan(self) -> Iterator[Fields]:
        """Every row in order, in one pass."""
        with self._plain.open("rb") as file:
            lines = (line for line in file if line.strip())
            for row, line in enumerate(lines):
                yield self._parse(line, row)

    def _parse(self, line: bytes, row: int) -> Fields:
        try:
            value = json.loads(line.decode("utf-8-sig" if row == 0 else "utf-8"))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.place(row)}: not JSON ({error}); expected one JSON object a line") from None
        return _object(value, self.place(row))

    def place(self, row: int) -> str:
        """file:line."""
        return f"{self.path}:{self._lines[row]}"


class JsonArray:
    """A JSON file that is one array of objects. The format allows no other way than to read it whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                self._rows = json.loads(file.read().decode("utf-8-sig"))
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}:{error.lineno}: not JSON ({error.msg}); expected an array of objects"
            ) from None
        except (ValueError, RecursionError, EOFError) as error:
            raise UserError(f"{path}: not JSON ({error}); expected an array of objects in UTF-8") from None

    def __len__(self) -> int:
        return len(self._rows)

    def fields(self, row: int) -> Fields:
        """The row's columns."""
        return _object(self._rows[row], self.place(row))

    def scan(self) -> Iterator[Fields]:
        """Every row in order."""
        return (self.fields(row) for row in range(len(self)))

    def place(self, row: int) -> str:
        """File and row (from 1)."""
        return f"{self.path}, row {row + 1}"


class HubRows:
    """A split of a data set of the Hugging Face hub (memory-mapped by `datasets`)."""

    def __init__(self, dataset: Any, name: str) -> None:
        self._dataset, self._name = dataset, name

    def __len__(self) -> int:
        return len(self._dataset)

    def fields(self, row: int) -> Fields:
        """The row's columns."""
        return self._dataset[row]

    def scan(self) -> Iterator[Fields]:
        """Every row in order."""
        return iter(self._dataset)

    def place(self, row: int) -> str:
        """Data set and row (from 1)."""
        return f"{self._name}, row {row + 1}"


class Chain:
    """Several files as one: the shards of a split."""

    def __init__(self, parts: Sequence[Source]) -> None:
        self._parts = parts
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def _find(self, row: int) -> tuple[Source, int]:
        part = bisect_right(self._ends, row)
        return self._parts[part], row - (self._ends[part - 1] if part else 0)

    def fields(self, row: int) -> Fields:
        """The row's columns."""
        source, inner = self._find(row)
        return source.fields(inner)

    def scan(self) -> Iterator[Fields]:
        """Every row of every part in order."""
        return (fields for part in self._parts for fields in part.scan())

    def place(self, row: int) -> str:
        """As the part says."""
        source, inner = self._find(row)
        return source.place(inner)


def _gunzip(path: Path, plain: Path) -> None:
    try:
        with gzip.open(path) as packed, plain.open("wb") as out:
            shutil.copyfileobj(packed, out)
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: not a whole gzip file ({error})") from None


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _object(value: object, place: str) -> Fields:
    if not isinstance(value, dict):
        raise UserError(f"{place}: found {type(value).__name__} {str(value)[:40]!r}, expected an object {{…}}")
    return value
