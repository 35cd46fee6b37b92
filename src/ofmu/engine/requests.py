"""From a user's files to the data of one request: read, checked for what would make every score lie, encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ofmu.data.encode import Encoder, TextSamples
from ofmu.data.images import ImageSet, check_labels, read_images
from ofmu.data.read import open_records
from ofmu.data.records import content_id
from ofmu.data.select import SHOWN, check_disjoint, check_not_empty, read_ids, split
from ofmu.data.sequences import Records
from ofmu.engine.models import LoadedModel
from ofmu.engine.prepare import Parts
from ofmu.engine.provenance import channels_of, classes_of
from ofmu.errors import UserError
from ofmu.tasks import Samples, TensorSamples

MEMBERS = "the model was trained on them, so they say nothing about unseen data. Take them out"


@dataclass(frozen=True)
class Files:
    """What the user named: forget and retain, or data with forget_ids or forget_where; the rest is optional."""

    forget: str | None = None
    retain: str | None = None
    heldout: str | None = None
    test: str | None = None
    data: str | None = None
    forget_ids: str | None = None
    forget_where: str | None = None
    unrelated: str | None = None

    def __post_init__(self) -> None:
        chosen = [self.forget_ids, self.forget_where]
        if self.data is not None:
            if self.forget or self.retain or chosen.count(None) != 1:
                raise UserError(
                    "--data: expected exactly one of --forget-ids and --forget-where with it, "
                    "and neither --forget nor --retain"
                )
        elif any(chosen):
            raise UserError("--forget-ids and --forget-where choose rows of --data: give --data too")
        elif self.forget is None or self.retain is None:
            raise UserError("expected --forget and --retain, or --data with --forget-ids or --forget-where")


@dataclass(frozen=True)
class Request:
    """The data of one request. test: what tables report, never used for targets. unrelated: what attackers
    train on. records: the forget rows (text). notes: what the user should hear.
    """

    parts: Parts
    test: Samples | None = None
    encoder: Encoder | None = None
    records: Records | None = None
    notes: tuple[str, ...] = ()
    unrelated: Samples | None = None


def load_request(loaded: LoadedModel, files: Files, max_length: int | None = None) -> Request:
    """Read and check everything; UserError for a missing file, an empty or a shared part, and bad labels."""
    return _text(loaded, files, max_length) if loaded.kind == "text" else _images(loaded, files)


def encoder_of(loaded: LoadedModel, max_length: int | None) -> Encoder:
    """The encoder the model was trained with (saved beside it), or the one its tokenizer suggests."""
    settings: dict[str, Any] = dict(loaded.settings)
    if not settings:
        return Encoder.of(loaded.tokenizer, max_length or 512)
    if max_length is not None:
        settings["max_length"] = max_length
    return Encoder.from_settings(loaded.tokenizer, settings)


# text


def _text(loaded: LoadedModel, files: Files, max_length: int | None) -> Request:
    if files.data is not None:
        forget, retain = split(open_records(files.data), ids=files.forget_ids, where=files.forget_where)
    else:
        forget, retain = open_records(str(files.forget)), open_records(str(files.retain))
    check_not_empty(forget, "forget set")
    check_disjoint(forget, retain)
    others = {"heldout": files.heldout, "test": files.test, "unrelated": files.unrelated}
    rest = {name: open_records(file) for name, file in others.items() if file is not None}
    hashes = {name: _text_keys(part) for name, part in (("forget", forget), ("retain", retain))}
    for name, records in rest.items():
        keys = _text_keys(records)
        _check_unseen(f"--{name}", records.ids, keys, hashes)
        hashes[name] = keys  # what the table reports is never used for targets
    encoder = encoder_of(loaded, max_length)
    samples = {name: TextSamples(records, encoder) for name, records in rest.items()}
    forgotten = TextSamples(forget, encoder)
    for row in range(len(forgotten)):  # a row that cannot be encoded is found now, not after an hour
        forgotten.encoded(row)
    parts = Parts(forgotten, TextSamples(retain, encoder), samples.get("heldout"))
    return Request(parts, samples.get("test"), encoder, forget, unrelated=samples.get("unrelated"))


def _text_keys(records: Records) -> list[str]:
    return [content_id(record.content) for record in records]


def _check_unseen(name: str, ids: Sequence[str], keys: Sequence[str], members: dict[str, list[str]]) -> None:
    """UserError if held-out or test rows are in another set: members, or each other's."""
    for part, known in members.items():
        both = set(known)
        shared = [id for id, key in zip(ids, keys, strict=True) if key in both]
        if shared:
            named = ", ".join(f"'{id}'" for id in shared[:SHOWN]) + (", …" if len(shared) > SHOWN else "")
            why = MEMBERS if part in ("forget", "retain") else "targets would be made from what is reported"
            raise UserError(f"{name}: {len(shared)} rows are in the {part} set too: {named}; {why}")


# images


def _images(loaded: LoadedModel, files: Files) -> Request:
    read = image_reader(loaded)
    notes: list[str] = []
    if files.data is not None:
        forget, retain = _split_images(read(files.data), files)
    else:
        if not loaded.settings:  # the same numbers for every part: those of the retain set
            whole = read(str(files.retain))
            read = image_reader(loaded, whole)
            notes.append("the model says nothing of its images' normalisation: measured on the retain set")
        forget, retain = read(str(files.forget)).samples, read(str(files.retain)).samples
    keys = {"forget": image_keys(forget), "retain": image_keys(retain)}
    _check_apart(forget.ids, keys)
    others = {"heldout": files.heldout, "test": files.test, "unrelated": files.unrelated}
    rest = {name: read(file).samples for name, file in others.items() if file is not None}
    for name, samples in rest.items():
        own = image_keys(samples)
        _check_unseen(f"--{name}", samples.ids, own, keys)
        keys[name] = own
    for samples in (forget, retain, *rest.values()):
        check_labels(samples, classes_of(loaded))
    gone = set(forget.labels.tolist()) - set(retain.labels.tolist())
    for name, samples in rest.items() if gone else ():
        kept = [row for row, label in enumerate(samples.labels.tolist()) if label not in gone]
        if len(kept) < len(samples):
            notes.append(f"--{name}: {len(samples) - len(kept)} rows of classes to forget are left out")
            rest[name] = samples.subset(kept)
        if not kept:
            raise UserError(f"--{name}: every row has a class that is to be forgotten; expected others too")
    parts = Parts(forget, retain, rest.get("heldout"))
    return Request(parts, rest.get("test"), notes=tuple(notes), unrelated=rest.get("unrelated"))


def image_reader(loaded: LoadedModel, like: ImageSet | None = None) -> Callable[[str], ImageSet]:
    """Reads images as the model wants them: its size, channels, classes and normalisation."""
    settings = loaded.settings
    size = settings.get("size")
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    mode = "L" if channels_of(loaded) == 1 else "RGB"
    names = settings.get("classes") or (like.classes if like else None)
    mean = settings.get("image_mean") or (like.mean if like else None)
    std = settings.get("image_std") or (like.std if like else None)

    def read(source: str) -> ImageSet:
        path = Path(source).expanduser()
        if not path.exists():
            raise UserError(f"no file {path}: expected a parquet file or a directory with one folder a class")
        classes = tuple(names) if names else None
        return read_images(path, size=size, mode=mode, classes=classes, mean=mean, std=std)

    return read


def _split_images(whole: ImageSet, files: Files) -> tuple[TensorSamples, TensorSamples]:
    samples = whole.samples
    if files.forget_ids is not None:
        chosen = set(read_ids(files.forget_ids))
        unknown = sorted(chosen - set(samples.ids))
        if unknown:
            raise UserError(f"--forget-ids: {len(unknown)} ids are not in the data: {', '.join(unknown[:SHOWN])}")
        rows = [row for row, id in enumerate(samples.ids) if id in chosen]
    else:
        column, _, value = str(files.forget_where).partition("=")
        names = {name: label for label, name in enumerate(whole.classes)}
        if column.strip() != "label" or value.strip() not in names:
            raise UserError(
                f"--forget-where: found {files.forget_where!r}, expected label=CLASS, one of {', '.join(names)}"
            )
        rows = (samples.labels == names[value.strip()]).nonzero().flatten().tolist()
    inside = set(rows)
    if not 0 < len(inside) < len(samples):
        raise UserError(f"{len(inside)} of {len(samples)} images are to be forgotten; expected some, not all")
    return samples.subset(rows), samples.subset([row for row in range(len(samples)) if row not in inside])


def image_keys(samples: TensorSamples) -> list[str]:
    """A hash of pixels and label for every image: equal keys are one example, whatever the files call it."""
    keys = []
    for pixels, label in zip(samples.pixels, samples.labels.tolist(), strict=True):
        raw = pixels.contiguous().view(torch.uint8).numpy().tobytes()
        keys.append(hashlib.sha256(raw + str(label).encode()).hexdigest())
    return keys


def _check_apart(ids: Sequence[str], keys: dict[str, list[str]]) -> None:
    kept = set(keys["retain"])
    shared = [id for id, key in zip(ids, keys["forget"], strict=True) if key in kept]
    if shared:
        named = ", ".join(f"'{id}'" for id in shared[:SHOWN]) + (", …" if len(shared) > SHOWN else "")
        raise UserError(f"forget and retain share {len(shared)} images: {named}. Take them out of the retain set")
