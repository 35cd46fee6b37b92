"""Columns of an aggregated TOFU log, checked: the same questions in all, and finite numbers in range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofmu.errors import UserError

CORRECT, PARAPHRASED, WRONG, ROUGE = "avg_gt_loss", "avg_paraphrased_loss", "average_perturb_loss", "rougeL_recall"
LARGEST = 1e300  # JSON may hold integers that no float can, and python reads NaN and Infinity
ROUNDING = 1e-6  # a float32 loss of a certain answer may be −1e-7


def read_column(path: Path, columns: Any, file: str, name: str) -> Mapping[str, Any]:
    """The column `name` of a question set, {index: value}; UserError where it is absent or has another form."""
    if not isinstance(columns, dict) or name not in columns:
        found = ", ".join(list(columns)[:12]) if isinstance(columns, dict) else kind(columns)
        raise UserError(
            f"{path}: {file} has no {name!r}, found {found}; expected {CORRECT}, {PARAPHRASED}, {WRONG} and "
            f"{ROUGE}, each {{index: value}}"
        )
    column = columns[name]
    if not isinstance(column, dict) or not column:
        raise UserError(f"{path}: {file}: {name}: found {kind(column)}, expected {{index: value}}")
    return column


def same_indices(where: str, found: Mapping[str, Any], other: str, expected: Mapping[str, Any]) -> None:
    """UserError unless two columns are of the same questions."""
    if found.keys() == expected.keys():
        return
    if len(found) != len(expected):
        raise UserError(f"{where}: found {len(found)} questions, expected the {len(expected)} of {other}")
    first = next(index for index in found if index not in expected)
    raise UserError(f"{where}: found index {first!r}, which {other} does not have; expected the same indices")


def wrong_answers(where: str, column: Mapping[str, Any]) -> int:
    """How many wrong answers each question has; UserError unless all have as many."""
    first: tuple[str, int] | None = None
    for index, values in column.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}[{index}]: found {kind(values)}, expected a list with a loss a wrong answer")
        if first is None:
            first = index, len(values)
        if len(values) != first[1]:
            raise UserError(
                f"{where}[{index}]: found {len(values)} wrong answers, expected {first[1]} as at index {first[0]}"
            )
    assert first is not None  # a column has a question
    return first[1]


def answered(where: str, column: Mapping[str, Any], questions: Mapping[str, Any]) -> NDArray[np.float64]:
    """[n] shares in [0, 1], one a question; nan for those that are not in the column, which may be fewer.

    UserError for a question that is not one of `questions`, and for anything but a share.
    """
    if not column.keys() <= questions.keys():
        same_indices(where, column, CORRECT, questions)
    rows = [number(f"{where}[{i}]", column[i], 0.0, 1.0) if i in column else math.nan for i in questions]
    return np.array(rows, dtype=np.float64)


def number(where: str, value: Any, low: float, high: float) -> float:
    """A finite number in [low, high], as a float; UserError otherwise."""
    if not is_number(value) or not abs(value) < LARGEST or not low - ROUNDING <= value <= high + ROUNDING:
        inside = f" in [{low:g}, {high:g}]" if low > -math.inf else ""
        raise UserError(f"{where}: found {kind(value)}, expected a finite number{inside}")
    return float(value)


def is_number(value: Any) -> bool:
    """Whether JSON gave a number (true and false are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def kind(value: Any) -> str:
    """What was found, in few words."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return repr(value)[:60]
