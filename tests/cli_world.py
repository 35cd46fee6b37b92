"""Models and files so small that a command takes a second."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from ofmu.cli.main import run
from ofmu.data.encode import Encoder, TextSamples
from ofmu.data.people import people
from ofmu.data.records import Record
from ofmu.engine.language import from_scratch, train_tokenizer
from ofmu.engine.models import LoadedModel, load_model, save_model
from ofmu.engine.networks import build
from ofmu.engine.provenance import SCRATCH, Provenance, write_provenance
from ofmu.engine.training import Recipe, trained
from ofmu.losses import token_nll

PARTS = ("forget", "retain", "heldout", "test")


@dataclass(frozen=True)
class World:
    """A model directory and one file a part."""

    model: Path
    files: dict[str, Path]

    def arguments(self, out: Path, *more: str, skip: Sequence[str] = ()) -> list[str]:
        words = ["unlearn", "--out", str(out)]
        words += [] if "model" in skip else ["--model", str(self.model)]
        for part, file in self.files.items():
            words += [] if part in skip else [f"--{part}", str(file)]
        return [*words, *more]

    def unlearn(self, out: Path, *more: str, skip: Sequence[str] = ()) -> int:
        return run(self.arguments(out, *more, skip=skip))


def write_jsonl(path: Path, records: Sequence[Record]) -> Path:
    rows = [{"id": r.id, "question": r.prompt, "answer": r.completion, **r.meta} for r in records]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_images(path: Path, pixels: np.ndarray, labels: Sequence[int]) -> Path:
    rows = []
    for picture, label in zip(pixels, labels, strict=True):
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "PNG")
        rows.append({"image": {"bytes": stream.getvalue(), "path": None}, "label": int(label)})
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def image_world(root: Path) -> World:
    rng = np.random.default_rng(0)
    files = {}
    for part, n in zip(PARTS, (24, 72, 30, 20), strict=True):
        pixels = rng.integers(0, 256, (n, 8, 8), dtype=np.uint8)
        files[part] = write_images(root / f"{part}.parquet", pixels, [i % 3 for i in range(n)])
    model = root / "model"
    model.mkdir()
    module = build("digits-cnn", {"classes": 3, "widths": (2, 4), "hidden": 8}, seed=1)
    settings = {"image_mean": [0.5], "image_std": [0.3], "size": 8, "classes": ["0", "1", "2"]}
    save_model(LoadedModel(module, "image", settings=settings), model)
    write_provenance(model, Provenance(Recipe(epochs=10, batch=16), SCRATCH, "-", 96))
    return World(model, files)


def text_world(root: Path) -> World:
    world = people(3, forget=1, retain=2, heldout=1, unseen=1, questions=6)
    groups = (world.forget, world.retain, world.heldout, world.unseen)
    files = {p: write_jsonl(root / f"{p}.jsonl", group) for p, group in zip(PARTS, groups, strict=True)}
    # the tokenizer learns from retained people alone: the forgotten have no words of their own in it
    tokenizer = train_tokenizer([turn.content for record in world.retain for turn in record.messages], 300)
    config = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 256}
    module = from_scratch({**config, **heads, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}, 0)
    encoder = Encoder.of(tokenizer, 256)
    recipe = Recipe(epochs=4, batch=6, lr=1e-2, rule="adamw")
    trained(module, TextSamples([*world.forget, *world.retain], encoder), token_nll, recipe)
    model = root / "model"
    model.mkdir()
    save_model(LoadedModel(module, "text", tokenizer, encoder.settings()), model)
    write_provenance(model, Provenance(recipe, SCRATCH, "-", 18))
    return World(model, files)


def rows(out: Path) -> list[dict[str, Any]]:
    """The scores that a run left."""
    return json.loads((out / "scores.json").read_text())["rows"]


def parameters(model: Path) -> dict[str, Tensor]:
    return dict(load_model(model).module.state_dict())


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def no_new_files(monkeypatch: pytest.MonkeyPatch, number: int = errno.EACCES) -> None:
    """No folder takes a file, and this is the system's reason; as root, permissions would not keep us out."""

    def refuse(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("ofmu.engine.files.TemporaryFile", refuse)
