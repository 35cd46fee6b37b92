"""The benchmark on a user's own images: parts and recipe by how many there are, names made from their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...data.image_pools import load_pool
from ...data.images import ImageSplits
from ...data.records import content_id, unique_ids
from ...engine.hashing import ids_fingerprint
from ...errors import UserError
from ...tasks import TensorSamples
from .setting import LINEAR, Setting

OWN = "images"  # the benchmark's name
TRAIN, HELDOUT = 0.7, 0.15  # of the training images; the rest is for tuning
MODEL = "resnet20-slim"
LEAST = 20  # images: with fewer, parts of 15 % say nothing
STEPS, MOST = 1440, 60  # of training: as many steps as on the CIFAR-10 subset, in at most so many epochs


def own_pool(source: str | None, size: int | None) -> ImageSplits:
    """The images of a folder or a hub id, each with the hash of its normalised pixels and its label as its id.

    The store's keys are made of ids, so that what was trained on other pixels, or on pixels normalised by other
    numbers, is never taken for this. Raises UserError without a source, and for too few images.
    """
    if source is None:
        raise UserError(f"--data: {OWN} needs a folder with train and test images, or hub:OWNER/NAME; found none")
    if size is not None and size < 1:
        raise UserError(f"--size: found {size}, expected at least 1 pixel")
    pool = load_pool(source, size)
    if len(pool.train) < LEAST:
        raise UserError(f"--data {source}: found {len(pool.train)} training images, expected at least {LEAST}")
    return replace(pool, train=by_content(pool.train), test=by_content(pool.test))


def by_content(samples: TensorSamples) -> TensorSamples:
    """The same samples under ids made from pixels and labels."""
    pairs = zip(samples.pixels, samples.labels.tolist(), strict=True)
    return replace(samples, ids=unique_ids([content_id(x.numpy().tobytes() + f" {y}".encode()) for x, y in pairs]))


def own_setting(
    source: str, pool: ImageSplits, *, model: str | None, requests: Sequence[str], methods: Sequence[str]
) -> Setting:
    """70 % of the training images to train on, 15 % held out, 15 % for tuning; epochs by their number.

    The setting's data is "source@hash of all ids": tuning trials of other images are never taken for these.
    """
    n = len(pool.train)
    train, heldout = round(TRAIN * n), round(HELDOUT * n)
    epochs = min(max(LINEAR.epochs, round(STEPS * LINEAR.batch / train)), MOST)
    digest = ids_fingerprint([*pool.train.ids, *pool.test.ids])[:12]
    setting = Setting(
        OWN,
        f"{source}@{digest}",
        model or MODEL,
        replace(LINEAR, epochs=epochs),
        train,
        heldout,
        n - train - heldout,
    )
    return replace(
        setting, requests=tuple(requests) or setting.requests, methods=tuple(methods) or setting.methods
    )


def source_of(setting: Setting) -> str:
    """Where own images come from, as it was typed."""
    return setting.data.rpartition("@")[0]
