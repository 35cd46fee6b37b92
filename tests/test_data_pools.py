"""Image data by name, folder and object."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ofmu.data.cifar100 import COARSE, load_cifar100
from ofmu.data.image_files import picture_array
from ofmu.data.image_pools import from_dataset, load_pool
from ofmu.errors import UserError

HERE = Path(os.environ.get("OFMU_DATA_DIR", "nowhere"))
needs_cifar100 = pytest.mark.skipif(
    not (HERE / "cifar100-subset").is_dir(), reason="OFMU_DATA_DIR names no directory with cifar100-subset/"
)


def test_digits_are_embedded_in_two_disjoint_parts():
    pool = load_pool("digits")
    assert pool.train.pixels.shape == (1500, 1, 8, 8)
    assert pool.test.pixels.shape == (297, 1, 8, 8)
    assert len({*pool.train.ids, *pool.test.ids}) == 1797
    assert 0 <= pool.train.pixels.min() < pool.train.pixels.max() <= 1


def test_every_coarse_class_of_cifar100_has_five_fine_ones():
    assert np.bincount(COARSE).tolist() == [5] * 20
    # known members: apple and orange are fruit (4), maple and oak trees (17), baby and woman people (14)
    assert [COARSE[fine] for fine in (0, 53, 47, 52, 2, 98)] == [4, 4, 17, 17, 14, 14]


@needs_cifar100
@pytest.mark.slow
def test_cifar100_with_fine_or_coarse_labels():
    fine, coarse = load_cifar100(), load_cifar100(labels="coarse")
    assert (len(fine.train), len(fine.test), len(fine.classes), len(coarse.classes)) == (5000, 1000, 100, 20)
    assert torch.equal(torch.tensor(COARSE)[fine.train.labels], coarse.train.labels)
    assert coarse.fine is not None
    assert torch.equal(coarse.fine[0], fine.train.labels)
    assert fine.train.ids == coarse.train.ids


def picture(value, size=4):
    return Image.fromarray(np.full((size, size, 3), value, dtype=np.uint8))


def test_a_folder_with_train_and_test(tmp_path):
    for part, values in (("train", (0, 100, 200)), ("test", (50,))):
        for name in ("a", "b"):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for value in values:
                picture(value).save(folder / f"{value}.png")
    pool = load_pool(str(tmp_path))
    assert (len(pool.train), len(pool.test), pool.classes) == (6, 2, ("a", "b"))
    # 50 with the training set's mean 100 and standard deviation
    raw = torch.tensor([0.0, 100, 200]).repeat_interleave(32) / 255
    assert pool.test.pixels.flatten()[0] == pytest.approx(float((50 / 255 - raw.mean()) / raw.std()), abs=1e-5)
    with pytest.raises(UserError, match=r"neither a folder train/ nor train\*.parquet"):
        load_pool(str(tmp_path / "train"))


class Table(list):
    """A stand-in for the datasets library's: rows, column names, features."""

    def __init__(self, rows, names=None):
        super().__init__(rows)
        self.column_names = list(rows[0])
        self.features = {column: SimpleNamespace(names=names) for column in self.column_names}


def hub_of(monkeypatch, tables):
    def load_dataset(place, split):
        if split not in tables:
            raise ValueError(f"Unknown split {split}")
        assert place == "some/pets"
        return tables[split]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))


def test_a_data_set_of_the_hub(monkeypatch):
    train = [{"image": picture(value), "label": value // 100} for value in (0, 100, 200)]
    test = [{"image": picture(50, size=8), "label": 0}]
    hub_of(monkeypatch, {"train": Table(train, ["cat", "dog", "owl"]), "test": Table(test)})
    pool = load_pool("hub:some/pets", 4)
    assert pool.classes == ("cat", "dog", "owl")
    assert pool.train.labels.tolist() == [0, 1, 2]
    assert pool.test.pixels.shape == (1, 3, 4, 4)
    mean, std = 100 / 255, torch.tensor([0.0, 100, 200]).repeat_interleave(16).std() / 255
    assert pool.test.pixels.flatten()[0] == pytest.approx(float((50 / 255 - mean) / std), abs=1e-5)
    ids = load_pool("hub:some/pets", 4).train.ids
    assert ids == pool.train.ids
    train[1]["image"] = picture(101)
    hub_of(monkeypatch, {"train": Table(train), "test": Table(test)})
    changed = load_pool("hub:some/pets", 4)
    assert [a == b for a, b in zip(changed.train.ids, ids, strict=True)] == [True, False, True]
    assert changed.classes == ("0", "1", "2")  # nobody named them


def test_what_the_hub_lacks_is_said(monkeypatch):
    hub_of(
        monkeypatch, {"train": Table([{"image": picture(1), "label": 0}, {"image": picture(1, 5), "label": 0}])}
    )
    with pytest.raises(UserError, match=r"row 1: the image is \(5, 5, 3\), the first is \(4, 4, 3\)"):
        load_pool("hub:some/pets")
    with pytest.raises(UserError, match="split 'test' cannot be loaded"):
        load_pool("hub:some/pets", 4)
    hub_of(monkeypatch, {"train": Table([{"photo": picture(1), "label": 0}])})
    with pytest.raises(UserError, match="columns are photo, label; expected 'img' or 'image'"):
        load_pool("hub:some/pets")


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(UserError, match="found 'mnist', expected one of digits, fashion"):
        load_pool("mnist")


@pytest.mark.parametrize(
    "image",
    [
        picture(51),
        np.full((4, 4, 3), 51, dtype=np.uint8),
        np.full((4, 4, 3), 0.2),
        torch.full((3, 4, 4), 0.2),
        torch.full((3, 4, 4), 51, dtype=torch.uint8),
    ],
)
def test_pictures_of_every_form_are_the_same_pixels(image):
    found = picture_array(image)
    assert found.dtype == np.uint8
    assert found.shape == (4, 4, 3)
    assert (found == 51).all()


def test_a_grey_tensor_keeps_its_orientation():
    rows = torch.arange(6, dtype=torch.uint8).reshape(2, 3)
    assert picture_array(rows).tolist() == rows.tolist() == picture_array(rows[None]).tolist()


class Pairs:
    classes = ("cat", "dog")

    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, row):
        return self.pairs[row]


def test_any_data_set_of_pairs_becomes_samples():
    found = from_dataset(Pairs([(picture(0), 1), (picture(255), 0)]), name="pets", mean=(0.5,) * 3, std=(0.5,) * 3)
    assert found.samples.ids == ["pets/0", "pets/1"]
    assert found.samples.labels.tolist() == [1, 0]
    assert found.classes == ("cat", "dog")
    assert found.samples.pixels[0].unique().tolist() == [-1.0]
    assert found.samples.pixels[1].unique().tolist() == [1.0]


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "the data set is empty"),
        ([picture(0)], r"data, row 0: expected an \(image, label\) pair"),
        ([(picture(0), 0), (picture(0, size=5), 1)], r"row 1: the image is \(5, 5, 3\), the first is"),
        ([(torch.full((3, 4, 4), 2.0), 0)], "give raw pixels, not normalised ones"),
        ([(np.full((4, 4), 300), 0)], "pixels from 300 to 300: scale them"),
        ([(np.full((3, 4, 5), 9, dtype=np.uint8), 0)], r"an image of shape \(3, 4, 5\), not"),
        ([(Image.fromarray(np.full((4, 4), 4096, dtype=np.uint16)), 0)], "has more than 8 bits"),
        ([(picture(0), 2)], r"1 labels lie outside 0 … 1 \(2 classes\): 'data/0' has 2"),
        ([(picture(0), -1)], "labels lie outside"),
    ],
)
def test_a_wrong_pair_is_named(pairs, words):
    with pytest.raises(UserError, match=words):
        from_dataset(Pairs(pairs))
