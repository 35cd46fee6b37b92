"""Names made from content: equal content has an equal name, on every machine and in every order of a dict."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

JSON = Any  # dict with str keys, list, tuple, str, int, finite float, bool or None, nested


def content_key(parts: Mapping[str, JSON]) -> str:
    """SHA-256 (64 hex digits) of the parts as canonical JSON: sorted keys, no spaces, shortest exact floats.

    The order of dict keys does not count, that of lists does; 1 and 1.0 differ, a tuple is a list.

    Raises: TypeError for what JSON cannot say without loss, ValueError for a NaN or an infinity.
    """
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def canonical_json(parts: Mapping[str, JSON]) -> str:
    """The one text of these parts (see `content_key`)."""
    _check(parts, "key parts")
    return json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def model_fingerprint(module: Module) -> str:
    """SHA-256 of a model's parameters and buffers: names, dtypes, shapes and bytes, in order of name.

    Where the model lives and whether its parameters are trained does not count. Buffers that the model does
    not save count neither.

    Raises: TypeError for a state that is not all dense tensors with data.
    """
    total = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
            raise TypeError(f"model: state {name!r} is no dense tensor with data: {type(value).__qualname__}")
        plain = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
        _add(total, f"{name} {plain.dtype} {list(plain.shape)}".encode())
        if plain.numel():
            total.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def ids_fingerprint(ids: Iterable[str]) -> str:
    """SHA-256 of sample ids in their order: the order counts, since a stream's batches depend on it."""
    total = hashlib.sha256()
    for name in ids:
        _add(total, name.encode())
    return total.hexdigest()


def _add(total: hashlib._Hash, text: bytes) -> None:
    """Add a text and its length, so that ("ab", "c") and ("a", "bc") differ."""
    total.update(len(text).to_bytes(8, "little"))
    total.update(text)


def _check(value: JSON, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):  # json would turn 1 into "1" without a word
                raise TypeError(f"{where}: key {key!r} is {type(key).__qualname__}, expected str")
            _check(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f"{where}[{index}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, expected a finite number; write it as a string")
    elif not (value is None or isinstance(value, (str, int))):
        raise TypeError(
            f"{where} is {type(value).__qualname__}, expected dict, list, str, int, float, bool or None"
        )
