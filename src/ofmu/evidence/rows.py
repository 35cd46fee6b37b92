"""Data sets put together, and named by what they hold: what is trained on must be whole, not a view of views."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..data.encode import TextSamples
from ..data.records import Record, content_id
from ..engine.hashing import ids_fingerprint
from ..engine.requests import image_keys
from ..engine.targets import Rows
from ..tasks import Samples, TensorSamples


def whole(samples: Samples) -> TensorSamples | TextSamples:
    """The rows themselves, without the selections they were seen through; ValueError for other kinds of rows."""
    if isinstance(samples, TensorSamples | TextSamples):
        return samples
    if not isinstance(samples, Rows):
        raise ValueError(f"rows: found {type(samples).__name__}, expected images in memory or texts")
    inner = whole(samples.samples)
    if isinstance(inner, TensorSamples):
        return inner.subset(samples.rows)
    return TextSamples([inner.records.record(row) for row in samples.rows], inner.encoder)


def joined(parts: Sequence[Samples]) -> TensorSamples | TextSamples:
    """All rows of several data sets of one kind, in order; ValueError where kinds differ."""
    plain = [whole(part) for part in parts]
    images = [part for part in plain if isinstance(part, TensorSamples)]
    texts = [part for part in plain if isinstance(part, TextSamples)]
    if images and texts:
        raise ValueError("parts: found images and texts, expected one kind")
    if images:
        ids = [name for part in images for name in part.ids]
        return TensorSamples(torch.cat([p.pixels for p in images]), torch.cat([p.labels for p in images]), ids)
    records = [part.records.record(row) for part in texts for row in range(len(part))]
    return TextSamples(records, texts[0].encoder)


def rows_fingerprint(samples: Samples) -> str:
    """A hash of what the rows hold, in their order, not of what they are called."""
    plain = whole(samples)
    if isinstance(plain, TensorSamples):
        return ids_fingerprint(image_keys(plain))
    return ids_fingerprint(content_id(plain.records.record(row).content) for row in range(len(plain)))


def records_of(samples: Samples) -> list[Record]:
    """The records behind text rows; ValueError for other rows, and for texts that are no questions."""
    if isinstance(samples, Rows):
        inner = records_of(samples.samples)
        return [inner[row] for row in samples.rows]
    if not isinstance(samples, TextSamples):
        raise ValueError(f"rows of {type(samples).__name__} have no text that could be asked otherwise")
    found = [samples.records.record(row) for row in range(len(samples))]
    if any(record.text is not None for record in found):
        raise ValueError("plain texts are no questions that could be asked otherwise")
    return found
