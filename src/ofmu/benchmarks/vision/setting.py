"""How large the vision benchmark is: data, model, recipe, parts and budget, by name and scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ...engine.training import Recipe
from ...errors import UserError

Scale = Literal["cpu", "salun"]
# Where no methods are named: one or two of each family, chosen by hand.
EIGHT = ("ofmu", "head", "reinit", "npo", "neggrad-plus", "scrub", "salun", "finetune")


@dataclass(frozen=True)
class Setting:
    """One size of one benchmark.

    name: in files and headings; data: in `data.image_pools.POOLS`, a folder, or hub:ID; model: for
    `engine.classifiers`. train, heldout, development: images of the training pool in each part. share: what a
    method may spend, of a retraining. noise: share of labels, in every part, that are wrong. ensemble: models for
    memorisation scores, each trained on half of the training set. requests, methods: where none are named.
    """

    name: str
    data: str
    model: str
    recipe: Recipe
    train: int
    heldout: int
    development: int
    share: float = 0.3
    noise: float = 0.0
    ensemble: int = 10
    requests: tuple[str, ...] = ("random:0.1", "class")
    methods: tuple[str, ...] = EIGHT


SGD = Recipe(182, 256, 0.1, "sgd", 5e-4, "steps", drops=(91 / 182, 136 / 182), augment=True)  # the SalUn protocol
LINEAR = Recipe(18, 50, 6e-3, schedule="linear", hold=0.2)
SETTINGS: dict[tuple[str, Scale], Setting] = {
    ("digits", "cpu"): Setting("digits", "digits", "cnn", Recipe(60, lr=4e-3), 1100, 200, 200, noise=0.2),
    ("fashion", "cpu"): Setting(
        "fashion", "fashion", "cnn-wide", Recipe(15, 64, 2e-3, schedule="linear", hold=0.4), 6000, 1000, 1000
    ),
    ("cifar10", "cpu"): Setting("cifar10", "cifar10", "resnet20-slim", LINEAR, 4000, 500, 500),
    ("cifar100", "cpu"): Setting("cifar100", "cifar100", "resnet20-slim", LINEAR, 4000, 500, 500),
    # the protocol's own budget: 10 epochs of unlearning beside 182 of training
    ("cifar10", "salun"): Setting(
        "cifar10-salun", "cifar10-30k", "resnet18", SGD, 27_000, 1_500, 1_500, share=10 / 182
    ),
}
SETTINGS["cifar10-ci", "cpu"] = SETTINGS["cifar10", "cpu"]  # by the name of its images
NAMES = tuple(dict.fromkeys(name for name, _ in SETTINGS))


def setting_of(
    name: str,
    scale: Scale,
    *,
    model: str | None = None,
    requests: Sequence[str] = (),
    methods: Sequence[str] = (),
) -> Setting:
    """The setting of a benchmark at a scale, with another model, requests or methods where they are given."""
    if (name, scale) not in SETTINGS:
        there = [one for other, one in SETTINGS if other == name]
        raise UserError(f"--scale: found {scale!r}, expected for {name} one of {', '.join(there)}")
    setting = SETTINGS[name, scale]
    return replace(
        setting,
        model=model or setting.model,
        requests=tuple(requests) or setting.requests,
        methods=tuple(methods) or setting.methods,
    )


def smallest(setting: Setting) -> Setting:
    """The smallest form of a setting: to see that everything works, not to learn anything."""
    recipe = (
        replace(setting.recipe, epochs=8, batch=32)
        if setting.data == "digits"
        else replace(setting.recipe, epochs=1, batch=32)
    )
    model = {"resnet18": "resnet8", "resnet20-slim": "resnet8"}.get(setting.model, setting.model)
    development = min(setting.development, 60)
    train, heldout = min(setting.train, 200), min(setting.heldout, 60)
    return replace(
        setting,
        model=model,
        recipe=recipe,
        train=train,
        heldout=heldout,
        development=development,
        ensemble=4,
    )
