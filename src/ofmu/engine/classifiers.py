"""Image classifiers by a short name: our own networks, transformers', timm's, or any with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from ofmu.engine.networks import build
from ofmu.engine.pretrained import need, plain, quiet
from ofmu.errors import UserError

OWN: dict[str, tuple[str, Mapping[str, object]]] = {  # name -> a network of ours, and its shape
    "cnn": ("digits-cnn", {}),
    "cnn-wide": ("digits-cnn", {"widths": (16, 32)}),
    "resnet8": ("cifar-resnet", {"blocks": 1, "width": 16, "groups": 4, "stem": 2}),
    "resnet20-slim": ("cifar-resnet", {"blocks": 3, "width": 8, "groups": 4, "stem": 2}),
    "resnet20": ("cifar-resnet", {"blocks": 3, "width": 16}),
    "vgg16-bn-slim": ("cifar-vgg", {"width": 8}),
    "vgg16-bn": ("cifar-vgg", {"width": 64}),
}
BASIC, BOTTLENECK = [64, 128, 256, 512], [256, 512, 1024, 2048]
TRANSFORMERS: dict[
    str, tuple[str, dict[str, Any]]
] = {  # name -> model type, config where it differs from the type's
    "resnet18": ("resnet", {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": BASIC}),
    "resnet50": ("resnet", {"layer_type": "bottleneck", "depths": [3, 4, 6, 3], "hidden_sizes": BOTTLENECK}),
    "vit": ("vit", {}),
    "vit-tiny": ("vit", {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}),
    "swin-tiny": ("swin", {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]}),
}
LEAST_SWIN = 28
SMALL = 64  # up to this size a residual network begins as CIFAR's do: 3 × 3, stride 1, no pooling
TIMM, HUB = "timm:", "hub:"


def build_classifier(name: str, classes: int, channels: int, size: int, seed: int) -> nn.Module:
    """A model of images [channels, size, size] with `classes` outputs; fresh weights come from `seed` alone.

    name: a key of OWN or TRANSFORMERS; "timm:NAME" (fresh, made for this size where it is for one; needs timm);
    "hub:ID" (an image classifier of transformers' from the hub or a directory, with its weights and a new head
    where its classes are others).
    ResNets of images up to 64 pixels have CIFAR's stem: a 3 × 3 convolution of stride 1 and no pooling (He et al.
    2016, §4.2), and ViT and Swin smaller patches (an eighth of the side; 1 or 2 pixels).
    Raises UserError for an unknown name, and where a library is missing.
    """
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        if name in OWN:
            network, shape = OWN[name]
            return build(network, {"classes": classes, "channels": channels, "size": size, **shape}, seed)
        if name in TRANSFORMERS:
            return _from_config(name, classes, channels, size)
        if name.startswith(TIMM):
            return _timm(name.removeprefix(TIMM), classes, channels, size)
        if name.startswith(HUB):
            return _hub(name.removeprefix(HUB), classes)
    near = get_close_matches(name, [*OWN, *TRANSFORMERS], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(
        f"--model: found {name!r}; {hint}Models: {', '.join([*OWN, *TRANSFORMERS])}, timm:NAME, hub:ID"
    )


def _from_config(name: str, classes: int, channels: int, size: int) -> nn.Module:
    need("transformers", "vision")
    from transformers import AutoConfig, AutoModelForImageClassification

    kind, given = TRANSFORMERS[name]
    shape: dict[str, Any] = {"num_labels": classes, "num_channels": channels}
    if kind == "vit":
        shape |= {"image_size": size, "patch_size": max(size // 8, 2) if size <= SMALL else 16}
    if kind == "swin":
        if size < LEAST_SWIN:
            raise UserError(f"--model {name}: images are {size} pixels wide, expected at least {LEAST_SWIN}")
        # three halvings must leave a whole window
        shape |= {"image_size": size} | (
            {"patch_size": size // LEAST_SWIN, "window_size": 4} if size <= SMALL else {}
        )
    config = AutoConfig.for_model(kind, **given, **shape)
    model: Any = plain(AutoModelForImageClassification.from_config(config, dtype=torch.float32))
    if kind == "resnet" and size <= SMALL:
        stem = model.resnet.embedder
        stem.embedder.convolution = nn.Conv2d(channels, config.embedding_size, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(stem.embedder.convolution.weight, mode="fan_out", nonlinearity="relu")
        stem.pooler = nn.Identity()
    made: nn.Module = model
    return made


def _timm(name: str, classes: int, channels: int, size: int) -> nn.Module:
    """Transformers are made for images of one size, by default mostly 224 pixels; others take no size."""
    try:
        import timm  # type: ignore[import-not-found]
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that does not fit this torch
        raise UserError(f"--model timm:{name}: timm cannot be imported ({error}): pip install timm") from None
    shape: dict[str, Any] = {"pretrained": False, "num_classes": classes, "in_chans": channels}
    try:
        try:
            model: nn.Module = timm.create_model(name, **shape, img_size=size)
        except TypeError as error:
            if "img_size" not in str(error):
                raise
            model = timm.create_model(name, **shape)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise UserError(f"--model timm:{name}, images of {size} pixels: {error}") from None
    return model


def _hub(place: str, classes: int) -> nn.Module:
    need("transformers", "vision")
    from transformers import AutoModelForImageClassification

    try:
        model = AutoModelForImageClassification.from_pretrained(
            place,
            num_labels=classes,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"--model hub:{place}: no image classifier of transformers' there ({error})") from None
    return plain(model)
