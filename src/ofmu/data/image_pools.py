"""Image data by name, hub id, path or object: what the vision benchmark and a user's own code start from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.datasets import load_digits

from ofmu.data.cifar100 import load_cifar100
from ofmu.data.fashion import load_fashion_coarse
from ofmu.data.image_files import picture_array
from ofmu.data.images import (
    ImageSet,
    ImageSplits,
    check_labels,
    load_cifar10,
    load_fashion,
    normalised,
    read_images,
)
from ofmu.data.records import content_id, unique_ids
from ofmu.errors import UserError
from ofmu.tasks import TensorSamples

DIGITS_TEST = 297  # of scikit-learn's 1,797 digits


class Dataset(Protocol):
    """What torchvision's data sets look like, and torch's map-style ones."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any:
        """(image, label)."""
        ...


def load_digits_pool() -> ImageSplits:
    """scikit-learn's handwritten digits, [n, 1, 8, 8] in [0, 1]: 1,500 to train on, 297 to test; embedded."""
    raw = load_digits()
    order = np.random.RandomState(0).permutation(len(raw.target))
    pixels = torch.tensor(raw.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(raw.target, dtype=torch.int64)
    every = TensorSamples(pixels, labels, [f"digits/{row}" for row in range(len(labels))])
    train, test = order[:-DIGITS_TEST].tolist(), order[-DIGITS_TEST:].tolist()
    return ImageSplits(every.subset(train), every.subset(test), tuple("0123456789"), (0.0,), (1.0,))


POOLS: dict[str, Callable[[], ImageSplits]] = {
    "digits": load_digits_pool,
    "fashion": load_fashion,
    "fashion-coarse": load_fashion_coarse,
    "cifar10": load_cifar10,
    "cifar10-30k": partial(load_cifar10, part="cifar10"),
    "cifar100": load_cifar100,
    "cifar100-coarse": partial(load_cifar100, labels="coarse"),
}
ABOUT = {  # what the images of a pool are, in words (coarse labels: the same images)
    "digits": "scikit-learn's handwritten digits, 1,500 to train on and 297 to test",
    "fashion": "a subset of Fashion-MNIST, 10,000 to train on and 2,000 to test, all from its training set",
    "cifar10": "a subset of CIFAR-10, 5,000 to train on and 1,000 to test",
    "cifar10-30k": "CIFAR-10, as much of it as the data folder has",
    "cifar100": "a subset of CIFAR-100, 5,000 to train on and 1,000 to test",
}


def load_pool(name: str, size: int | None = None) -> ImageSplits:
    """A data set with a training and a test part: a name of POOLS, a folder with train/ and test/, or a hub id.

    Folder: train and test are directories of class folders, or parquet files (train*.parquet, test*.parquet). Hub
    id ("hub:OWNER/NAME"): read by the datasets library. size: own images are made size × size. Raises UserError
    where there is no such data.
    """
    if name in POOLS:
        return POOLS[name]()
    if name.startswith("hub:"):
        place = name.removeprefix("hub:")
        train = load_hub(place, "train", size=size)
        return _with_test(train, load_hub(place, "test", like=train, size=size))
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"data: found {name!r}, expected one of {', '.join(POOLS)}, a folder with train and test images, or "
            "hub:OWNER/NAME"
        )
    sources: dict[str, list[Path]] = {}
    for part in ("train", "test"):
        found = [folder / part] if (folder / part).is_dir() else sorted(folder.glob(f"{part}*.parquet"))
        if not found:
            raise UserError(f"{folder}: found neither a folder {part}/ nor {part}*.parquet")
        sources[part] = found
    train = read_images(sources["train"], size=size)
    mode = "L" if train.samples.pixels.shape[1] == 1 else "RGB"
    test = read_images(
        sources["test"], size=size, mode=mode, classes=train.classes, mean=train.mean, std=train.std
    )
    return _with_test(train, test)


def from_dataset(
    dataset: Dataset,
    *,
    name: str = "data",
    classes: tuple[str, ...] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> ImageSet:
    """Any data set of (image, label) pairs, such as torchvision's, as samples in memory.

    Images: PIL images, uint8 arrays [h, w] or [h, w, c], or tensors [c, h, w] (uint8, or float in [0, 1]); all of
    one size. classes: names in label order (default: the data set's own `classes`, else the labels). mean, std: as
    for `read_images`. An id is "name/<row>". Give no transform that draws at random: an image must be itself
    whenever it is looked at. Raises UserError naming the row of a pair that is no such image and label.
    """
    n = len(dataset)
    if n == 0:
        raise UserError(f"{name}: the data set is empty, expected (image, label) pairs")
    pictures, labels = [], []
    for row in range(n):
        try:
            image, label = dataset[row]
            pictures.append(picture_array(image))
            labels.append(int(label))
        except (TypeError, ValueError) as error:
            raise UserError(f"{name}, row {row}: expected an (image, label) pair ({error})") from None
        if pictures[row].shape != pictures[0].shape:
            shapes = f"{pictures[row].shape}, the first is {pictures[0].shape}"
            raise UserError(f"{name}, row {row}: the image is {shapes}; resize them")
    named = classes or getattr(dataset, "classes", None) or range(max(labels) + 1)
    ids = [f"{name}/{row}" for row in range(n)]
    found = normalised(np.stack(pictures), labels, ids, tuple(str(one) for one in named), mean, std)
    check_labels(found.samples, len(found.classes))
    return found


def load_hub(place: str, split: str, like: ImageSet | None = None, size: int | None = None) -> ImageSet:
    """One split of a data set of the hub with an image column and a label column.

    Columns: `img` or `image`; `label`, `labels` or `fine_label`. like: a set whose classes and normalisation to
    use. size: images are made size × size. Ids are the hash of pixels and label. Raises UserError without the
    datasets library, the network or such columns, and for images of several sizes.
    """
    try:
        from datasets import load_dataset
    except ImportError:
        raise UserError('data sets of the hub need: pip install "ofmu[llm]" (the datasets library)') from None
    try:
        table = load_dataset(place, split=split)
    except (OSError, ValueError) as error:
        raise UserError(f"hub:{place}: split '{split}' cannot be loaded ({error})") from None
    columns = list(table.column_names)
    picture = next((name for name in ("img", "image") if name in columns), None)
    label = next((name for name in ("label", "labels", "fine_label") if name in columns), None)
    if picture is None or label is None:
        raise UserError(f"hub:{place}: columns are {', '.join(columns)}; expected 'img' or 'image', and 'label'")
    names = getattr(table.features[label], "names", None)
    pictures = [_sized(picture_array(row[picture]), size) for row in table]
    for row, one in enumerate(pictures):
        if one.shape != pictures[0].shape:
            raise UserError(
                f"hub:{place}, row {row}: the image is {one.shape}, the first is {pictures[0].shape}; resize them "
                "(--size 32)"
            )
    labels = [int(row[label]) for row in table]
    ids = unique_ids([content_id(p.tobytes() + str(y).encode()) for p, y in zip(pictures, labels, strict=True)])
    known = like.classes if like else tuple(names or map(str, range(max(labels) + 1)))
    return normalised(
        np.stack(pictures), labels, ids, known, like.mean if like else None, like.std if like else None
    )


def _sized(pixels: np.ndarray, size: int | None) -> np.ndarray:
    if size is None:
        return pixels
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def _with_test(train: ImageSet, test: ImageSet) -> ImageSplits:
    if train.samples.pixels.shape[1:] != test.samples.pixels.shape[1:]:
        raise UserError(
            f"data: training images are {list(train.samples.pixels.shape[1:])}, test images "
            f"{list(test.samples.pixels.shape[1:])}; expected one size"
        )
    return ImageSplits(train.samples, test.samples, train.classes, train.mean, train.std)
