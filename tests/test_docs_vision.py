"""The page of images: both examples run as printed, in ten lines at most, and its tables name what there is."""

import io
import re
import tokenize
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ofmu.benchmarks.image_choices import parse_choice
from ofmu.benchmarks.vision.studies import SHORT
from ofmu.data.forget_request import FORMS
from ofmu.data.images import read_images
from ofmu.engine.classifiers import OWN, TRANSFORMERS, build_classifier
from ofmu.engine.measuring import image_logits
from ofmu.engine.training import Recipe, trained
from ofmu.losses import class_nll
from ofmu.tasks import TensorSamples

PAGE = (Path(__file__).parents[1] / "docs" / "vision.md").read_text(encoding="utf-8")
FOLDER, MODULE = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def code_lines(example):
    """Logical lines: a call that the formatter spreads over several counts once."""
    tokens = tokenize.generate_tokens(io.StringIO(example).readline)
    return [token for token in tokens if token.type == tokenize.NEWLINE]


@pytest.mark.parametrize("example", [FOLDER, MODULE])
def test_an_example_takes_ten_lines_at_most(example):
    assert len(code_lines(example)) <= 10


def accuracy(model, samples):
    return float((image_logits(model, samples).argmax(1) == samples.labels).float().mean())


def test_an_image_folder_goes_through(tmp_path, monkeypatch):
    rng = np.random.RandomState(0)
    tints = {"birds": (200, 60, 60), "cats": (60, 200, 60), "dogs": (60, 60, 200)}
    for part, count in (("train", 30), ("heldout", 8)):
        for name, tint in tints.items():
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(np.array(tint) + rng.randint(-90, 90, (20, 20, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    photos = read_images("photos/train", size=16)
    model = build_classifier("cnn", 3, 3, 16, 0)
    trained(model, photos.samples, class_nll, Recipe(epochs=6, batch=16))
    assert accuracy(model, photos.samples) == 1
    space = {"model": model}
    exec(compile(FOLDER, "vision.md", "exec"), space)
    cats = photos.samples.subset(space["cats"])
    kept = photos.samples.subset(space["kept"])
    assert set(cats.labels.tolist()) == {1}
    assert accuracy(model, cats) == 0
    assert accuracy(model, kept) > 0.95
    assert space["events"][-1].last in (
        "no forgotten label is predicted any more",
        "the target holds",
        "all steps are done",
    )


def test_an_own_module_with_an_own_loss_goes_through():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 6, generator=generator)

    def part(name, labels):
        labels = torch.tensor(labels)
        return TensorSamples(
            centres[labels] + 0.3 * torch.randn(len(labels), 6, generator=generator),
            labels,
            [f"{name}/{i}" for i in range(len(labels))],
        )

    forget, retain = part("f", [2] * 20), part("r", [0, 1] * 40)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.SiLU(), nn.Linear(16, 3))  # a module that is none of ours
    every = TensorSamples(
        torch.cat([forget.pixels, retain.pixels]), torch.cat([forget.labels, retain.labels]), ["x"] * 100
    )
    trained(model, every, class_nll, Recipe(epochs=20, batch=16, lr=1e-2))
    assert accuracy(model, forget) == 1
    weight = torch.tensor([1.0, 2.0, 3.0])
    space = {
        "model": model,
        "forget": forget,
        "retain": retain,
        "heldout": part("h", [0, 1] * 10),
        "weight": weight,
    }
    exec(compile(MODULE, "vision.md", "exec"), space)
    batch = forget.batch(range(5))
    assert torch.allclose(space["weighted"](model, batch).values, 3 * class_nll(model, batch).values)
    assert space["prepared"].task.loss is space["weighted"]
    assert space["events"][-1].last in ("no forgotten label is predicted any more", "the target holds")
    assert accuracy(model, forget) == 0
    assert accuracy(model, retain) > 0.95


def test_the_tables_name_every_request_and_model():
    kinds = {re.split("[:`]", found)[0] for found in re.findall(r"`([a-z-]+[:`])", PAGE)}
    assert set(FORMS) | set(SHORT) <= kinds | {"class"}
    for name in (*OWN, *TRANSFORMERS):
        assert f"`{name}`" in PAGE
    assert parse_choice("npo:forget_weight=1").method.forget_weight == 1
