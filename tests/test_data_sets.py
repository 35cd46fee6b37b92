"""TOFU, digits and images: against the files themselves, a second derivation, and broken input."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from ofmu.data.digits import digits
from ofmu.data.images import check_labels, load_cifar10, load_fashion, read_images
from ofmu.data.select import check_disjoint
from ofmu.data.tofu import authors, idontknow, load_tofu
from ofmu.errors import UserError

HERE = Path(os.environ.get("OFMU_DATA_DIR", "nowhere"))
needs_tofu = pytest.mark.skipif(not (HERE / "tofu").is_dir(), reason="OFMU_DATA_DIR names no directory with tofu/")
needs_images = pytest.mark.skipif(
    not (HERE / "cifar10-ci").is_dir(), reason="OFMU_DATA_DIR names no directory with cifar10-ci/"
)


def lines(name):
    return [json.loads(line) for line in (HERE / "tofu" / name).read_text().splitlines()]


@needs_tofu
def test_tofu_forget_and_retain_are_the_official_files():
    for percent, retained in ((1, 99), (5, 95), (10, 90)):
        tofu = load_tofu(forget=f"forget{percent:02d}")
        assert [r.completion for r in tofu.forget] == [x["answer"] for x in lines(f"forget{percent:02d}.json")]
        assert [r.prompt for r in tofu.retain] == [x["question"] for x in lines(f"retain{retained}.json")]
        check_disjoint(tofu.forget, tofu.retain)
    assert tofu.forget.ids[0] == "tofu/3600"
    assert len(tofu.retain_perturbed) == 400
    assert (len(tofu.real_authors), len(tofu.world_facts)) == (100, 117)
    assert (
        tofu.world_facts[0].meta["perturbed_answer"] == lines("world_facts_perturbed.json")[0]["perturbed_answer"]
    )


@needs_tofu
def test_tofu_perturbed_answers_stand_beside_their_question():
    forget = load_tofu(forget="forget01").forget
    for record, row in zip(forget, lines("forget01_perturbed.json"), strict=True):
        assert record.prompt == row["question"]
        assert record.meta["paraphrased_answer"] == row["paraphrased_answer"]
        assert record.meta["perturbed_answer"] == row["perturbed_answer"]
        assert len(record.meta["perturbed_answer"]) == 5


@needs_tofu
def test_tofu_by_author():
    two = authors([199, 0])
    assert two.ids == [f"tofu/{row}" for row in [*range(3980, 4000), *range(20)]]
    assert two[20].prompt == lines("full.json")[0]["question"]
    assert set(two.meta("author")) == {199, 0}
    assert len(idontknow()) == 100
    with pytest.raises(UserError, match=r"found \[200\], expected numbers from 0 to 199"):
        authors([200])


def test_data_that_is_not_here(monkeypatch, tmp_path):
    monkeypatch.delenv("OFMU_DATA_DIR", raising=False)
    for load in (load_tofu, load_cifar10, load_fashion):
        with pytest.raises(UserError, match="set OFMU_DATA_DIR"):
            load()
    monkeypatch.setenv("OFMU_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match="has no directory 'tofu'"):
        load_tofu()
    (tmp_path / "tofu").mkdir()
    with pytest.raises(UserError, match=r"has no forget10_perturbed\.json"):
        load_tofu()
    with pytest.raises(UserError, match="forget: found 'forgetall'"):
        load_tofu(forget="forgetall")


def reference_noise(labels, rng, share):
    hit = rng.rand(len(labels)) < share
    noisy = labels.copy()
    noisy[hit] = (labels[hit] + rng.randint(1, 10, hit.sum())) % 10
    return noisy


def test_digits_random_with_noise_follow_one_seeded_order():
    made = digits(3, label_noise=0.2)
    raw, rng = load_digits(), np.random.RandomState(1003)
    order = rng.permutation(1797)
    rows = sorted(rng.choice(1400, 140, replace=False).tolist())
    labels = raw.target[order]
    parts = (labels[:1400], labels[1400:1597], labels[1597:])
    train, heldout, test = (reference_noise(part, rng, 0.2) for part in parts)
    assert made.forget_rows == rows
    assert sorted(made.forget_rows + made.retain_rows) == list(range(1400))
    assert made.train.labels.tolist() == train.tolist()
    assert made.heldout.labels.tolist() == heldout.tolist()
    assert made.test.labels.tolist() == test.tolist()
    assert made.clean.tolist() == parts[0].tolist()
    assert made.forget.labels.tolist() == train[rows].tolist()
    assert made.train.ids[5] == f"digits/{order[5]}"
    assert torch.equal(made.train.pixels[7, 0] * 16, torch.tensor(raw.images[order[7]]).float())
    assert made.train.pixels.shape == (1400, 1, 8, 8)
    changed = (made.train.labels != made.clean).float().mean()
    assert 0.15 < changed < 0.25


def test_digits_class_wise_leaves_the_class_out_of_heldout_and_test():
    made = digits(13, forget="class")
    assert made.forgotten_class == 3
    assert set(made.forget.labels.tolist()) == {3}
    for part in (made.retain, made.heldout, made.test):
        assert set(part.labels.tolist()) == set(range(10)) - {3}
    assert torch.equal(made.train.labels, made.clean)
    assert digits(13, forget="class:7").forgotten_class == 7
    parts = [made.train.ids, made.heldout.ids, made.test.ids]
    assert len({id for part in parts for id in part}) == sum(map(len, parts))


@pytest.mark.parametrize("forget", ["random:0", "random:1", "random:x", "class:10", "class:-1", "half"])
def test_digits_refuse_an_unknown_request(forget):
    with pytest.raises(UserError, match="forget: found"):
        digits(0, forget=forget)
    with pytest.raises(UserError, match="label_noise: found 1"):
        digits(0, label_noise=1)


def png(value, size=4, mode="RGB"):
    file = io.BytesIO()
    Image.new(mode, (size, size), value).save(file, "PNG")
    return file.getvalue()


def picture_table(path, cells, labels, **more):
    pq.write_table(pa.table({"image": [{"bytes": c, "path": "x"} for c in cells], "label": labels, **more}), path)
    return path


def test_images_from_parquet_are_scaled_normalised_and_named(tmp_path):
    path = picture_table(tmp_path / "p.parquet", [png((255, 0, 51)), png((0, 0, 0))], [1, 0], index=[70, 9])
    made = read_images(path, mean=(0.5, 0.0, 0.1), std=(0.5, 1.0, 0.1))
    assert made.samples.pixels.shape == (2, 3, 4, 4)
    assert torch.allclose(made.samples.pixels[0, :, 0, 0], torch.tensor([1.0, 0.0, 1.0]), atol=1e-6)
    assert torch.allclose(made.samples.pixels[1, :, 3, 3], torch.tensor([-1.0, 0.0, -1.0]), atol=1e-6)
    assert made.samples.labels.tolist() == [1, 0]
    assert made.samples.ids == ["p/70", "p/9"]
    measured = read_images(path)
    assert measured.mean == pytest.approx((0.5, 0.0, 0.1))
    assert measured.samples.pixels.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-6)


def test_image_ids_are_hashes_of_pixels_and_label(tmp_path):
    cells = [png(3, mode="L"), png(3, mode="L"), png(3, mode="L"), png(4, mode="L")]
    made = read_images(picture_table(tmp_path / "p.parquet", cells, [0, 1, 0, 0]))
    ids = made.samples.ids
    assert made.samples.pixels.shape == (4, 1, 4, 4)
    assert all(id.startswith("sha256:") for id in ids)
    assert ids[2] == ids[0] + "#2"
    assert len({id.split("#")[0] for id in ids}) == 3


def test_image_folders_give_classes_by_name_and_refuse_unknown_ones(tmp_path):
    for name, value in (("cat", 10), ("ant", 20), ("bee", 30)):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "1.png").write_bytes(png((value,) * 3))
        (tmp_path / "train" / name / "note.txt").write_text("no picture")
    made = read_images(tmp_path / "train")
    assert made.classes == ("ant", "bee", "cat")
    assert made.samples.labels.tolist() == [0, 1, 2]
    with pytest.raises(UserError, match=r"cat/1\.png: class 'cat' is not among ant, bee"):
        read_images(tmp_path / "train", classes=("ant", "bee"))
    (tmp_path / "train" / "bee" / "2.png").write_bytes(png((1, 1, 1), size=5))
    with pytest.raises(UserError, match=r"bee/2\.png: the image is 5×5, the first has 4×4"):
        read_images(tmp_path / "train")
    assert read_images(tmp_path / "train", size=6).samples.pixels.shape == (4, 3, 6, 6)


def test_broken_images_name_file_and_row(tmp_path):
    path = picture_table(tmp_path / "p.parquet", [png((1, 1, 1)), png((1, 1, 1))[:40]], [0, 0])
    with pytest.raises(UserError, match=r"p\.parquet, row 2: the image cannot be read"):
        read_images(path)
    picture_table(path, [png((1, 1, 1)), None], [0, 0])
    with pytest.raises(UserError, match=r"p\.parquet, row 2: 'image' holds no image bytes"):
        read_images(path)
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(UserError, match="columns are text; expected 'img' or 'image'"):
        read_images(path)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a parquet file"):
        read_images(path)
    with pytest.raises(UserError, match="expected a parquet file or a directory"):
        read_images(tmp_path / "missing.parquet")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(UserError, match="no images found"):
        read_images(tmp_path / "hollow")


def test_labels_outside_the_classes_are_named():
    made = digits(0)
    check_labels(made.train, 10)
    with pytest.raises(UserError, match=r"lie outside 0 … 8 \(9 classes\): 'digits/\d+' has 9"):
        check_labels(made.train, 9)


@needs_images
def test_cifar10_and_fashion_have_their_published_shapes():
    cifar = load_cifar10()
    assert cifar.train.pixels.shape == (5000, 3, 32, 32)
    assert cifar.test.labels.bincount().tolist() == [100] * 10
    assert cifar.train.pixels.mean().abs() < 0.1
    assert 0.9 < cifar.train.pixels.std() < 1.1
    assert not set(cifar.train.ids) & set(cifar.test.ids)
    assert cifar.train.ids[0].startswith("cifar10/train/")
    fashion = load_fashion()
    assert fashion.train.pixels.shape == (10_000, 1, 28, 28)
    assert not set(fashion.train.ids) & set(fashion.test.ids)
    assert len(fashion.test) == 2000
    with pytest.raises(UserError, match="part: found 'cifar'"):
        load_cifar10(part="cifar")
