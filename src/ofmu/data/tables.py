"""CSV and parquet, read one row at a time.

Neither has cheap random access, so a file is rewritten once, in small batches, as a memory-mapped Arrow file
in the temporary directory; that file goes with the object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ofmu.data.sources import Fields, spill
from ofmu.errors import UserError


class ArrowRows:
    """CSV or parquet, rewritten as a memory-mapped Arrow file."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self.path = path
        plain = spill(self, ".arrow")
        try:
            schema, batches = _parquet(path) if path.suffix == ".parquet" else _csv(path)
            with pa.OSFile(str(plain), "wb") as out, pa.ipc.new_file(out, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
        except pa.ArrowInvalid as error:
            raise UserError(f"{path}: cannot be read ({error})") from None
        self._table = pa.ipc.open_file(pa.memory_map(str(plain))).read_all()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def fields(self, row: int) -> Fields:
        """The row's columns."""
        return self._table.slice(row, 1).to_pylist()[0]

    def scan(self) -> Iterator[Fields]:
        """Every row in order, a batch at a time."""
        for batch in self._table.to_batches(max_chunksize=1024):
            yield from batch.to_pylist()

    def place(self, row: int) -> str:
        """File and row (from 1, the header not counted: a quoted field may span lines)."""
        return f"{self.path}, row {row + 1}"


def _parquet(path: Path) -> tuple[Any, Iterable[Any]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, memory_map=True)
    return file.schema_arrow, file.iter_batches(batch_size=1024)


def _csv(path: Path) -> tuple[Any, Iterable[Any]]:
    """Every column as text: a type guessed from the first rows would turn an answer "42" into a number."""
    import pyarrow as pa
    from pyarrow import csv

    parse = csv.ParseOptions(delimiter="\t" if ".tsv" in path.suffixes else ",", newlines_in_values=True)
    names = csv.open_csv(path, parse_options=parse).schema.names
    if len(set(names)) < len(names):
        raise UserError(f"{path}: the header names a column twice ({', '.join(names)}); rename one")
    reader = csv.open_csv(
        path,
        parse_options=parse,
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
    return reader.schema, reader
