"""Where pictures lie: rows of parquet files, or files in one folder a class."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ofmu.errors import UserError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")


@dataclass(frozen=True)
class Item:
    """One picture, undecoded, its class as written, its id if it has one, and where it stands."""

    picture: bytes | Path
    label: int | str
    id: str | None
    place: str


def items_of(source: str | Path | Sequence[Path], name: str | None, label: str = "label") -> Iterator[Item]:
    """Every picture of parquet files (their classes in column `label`) and class folders, undecoded, in order."""
    files = [Path(source)] if isinstance(source, str | Path) else list(source)
    for file in files:
        if file.is_dir():
            yield from _folder_items(file)
        elif file.is_file() and file.suffix == ".parquet":
            yield from _parquet_items(file, name or file.stem, label)
        else:
            raise UserError(f"{file}: expected a parquet file or a directory with one folder of images a class")


def _folder_items(root: Path) -> Iterator[Item]:
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in ENDINGS:
                yield Item(file, folder.name, None, str(file))


def _parquet_items(file: Path, name: str, label: str) -> Iterator[Item]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file, memory_map=True)
    except pa.ArrowInvalid as error:
        raise UserError(f"{file}: not a parquet file ({error})") from None
    columns = table.schema_arrow.names
    picture = next((column for column in ("img", "image") if column in columns), None)
    if picture is None or label not in columns:
        raise UserError(f"{file}: columns are {', '.join(columns)}; expected 'img' or 'image', and '{label}'")
    wanted = [picture, label, *(["index"] if "index" in columns else [])]
    number = 0
    for batch in table.iter_batches(batch_size=1024, columns=wanted):
        for row in batch.to_pylist():
            number += 1
            yield _parquet_item(row, (picture, label), name, f"{file}, row {number}")


def _parquet_item(row: dict[str, Any], columns: tuple[str, str], name: str, place: str) -> Item:
    picture, label = columns
    cell = row[picture]
    raw = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(raw, bytes):
        raise UserError(f"{place}: '{picture}' holds no image bytes")
    if row[label] is None:
        raise UserError(f"{place}: '{label}' is missing")
    index = row.get("index")
    return Item(raw, row[label], None if index is None else f"{name}/{index}", place)


def picture_of(item: Item, size: int | None, mode: str | None) -> np.ndarray:
    """uint8 [h, w] (grey) or [h, w, 3]."""
    try:
        from PIL import Image
    except ImportError:
        raise UserError('reading images needs: pip install "ofmu[vision]"') from None
    source = io.BytesIO(item.picture) if isinstance(item.picture, bytes) else item.picture
    try:
        with Image.open(source) as image:
            eight_bits(image)
            shown = image.convert(mode or ("L" if image.mode in ("L", "1") else "RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{item.place}: the image cannot be read ({error}); repair it or leave it out") from None
    return np.asarray(shown if size is None else shown.resize((size, size), Image.Resampling.BILINEAR))


def eight_bits(image: Any) -> None:
    """ValueError for a PIL image of more than eight bits a colour, which its conversion would cut off at 255."""
    if image.mode == "F" or image.mode.startswith("I"):
        raise ValueError(f"mode {image.mode!r} has more than 8 bits: scale it to 0 … 255 first")


def picture_array(image: Any) -> np.ndarray:
    """uint8 [h, w] or [h, w, c] of a PIL image, an array of that form, or a tensor [c, h, w] (uint8 or 0 to 1).

    Raises ValueError for anything else.
    """
    if hasattr(image, "convert"):  # PIL
        eight_bits(image)
        return np.asarray(image.convert("L" if image.mode in ("L", "1") else "RGB"))
    array = np.asarray(image)
    if hasattr(image, "permute") and array.ndim == 3:  # a tensor: channels first
        array = array[0] if array.ndim == 3 and array.shape[0] == 1 else np.moveaxis(array, 0, -1)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)):
        raise ValueError(f"an image of shape {array.shape}, not [h, w] or [h, w, 1, 3 or 4 colours]")
    if np.issubdtype(array.dtype, np.floating):
        if array.min() < 0 or array.max() > 1:
            raise ValueError(
                f"pixels from {array.min():g} to {array.max():g}: give raw pixels, not normalised ones"
            )
        array = np.round(255 * array)
    elif array.min() < 0 or array.max() > 255:
        raise ValueError(f"pixels from {array.min()} to {array.max()}: scale them to 0 … 255 first")
    return array.astype(np.uint8)
