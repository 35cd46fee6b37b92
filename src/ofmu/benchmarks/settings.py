"""A method's settings by their paths: `descent.lr` is the field lr of the field descent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from ..errors import UserError
from .tuning import Value


def value_of(method: object, path: str) -> Any:
    """The value of a field, or of a field inside fields (`descent.lr`)."""
    for part in path.split("."):
        method = getattr(method, part)
    return method


def _fits(path: str, now: Any, value: Value) -> None:
    """UserError for a part that has fields of its own, and a fraction where a whole number stands."""
    if is_dataclass(now):
        inner = ", ".join(f"{path}.{field.name}" for field in fields(now))
        raise UserError(f"{path}: found {value}, but it has fields of its own; give one of {inner}")
    if isinstance(now, int) and not isinstance(now, bool) and isinstance(value, float):
        raise UserError(f"{path}: found {value}, expected a whole number")


def with_values(method: Any, values: Mapping[str, Value]) -> Any:
    """The dataclass with fields, or fields inside fields, replaced; UserError for one that is not there."""
    for path, value in values.items():
        first, _, rest = path.partition(".")
        if (
            not is_dataclass(method)
            or isinstance(method, type)
            or first not in {field.name for field in fields(method)}
        ):
            known = ", ".join(field.name for field in fields(method)) if is_dataclass(method) else "none"
            raise UserError(f"{type(method).__name__}: no field {first!r}; fields: {known}")
        if not rest:
            _fits(path, getattr(method, first), value)
        try:
            inner = with_values(getattr(method, first), {rest: value}) if rest else value
            method = replace(method, **{first: inner})
        except ValueError as error:
            raise UserError(f"{path} = {value}: {error}") from None
    return method
