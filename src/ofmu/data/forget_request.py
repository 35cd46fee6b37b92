"""What `--forget` says: `random:0.1`, `class:3`, `classes:1+4`, `hardest:0.1`, … as a checked request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import ArrayLike

from ofmu.data import forgetting
from ofmu.errors import UserError

FORMS = {  # kind -> an example, and what it means
    "random": ("random:0.1", "a random tenth"),
    "class": ("class:3", "all samples of a class; without a number the seed's own"),
    "classes": ("classes:1+4", "all samples of several classes"),
    "subclass": ("subclass:17", "a fine class of a model of coarse ones (CIFAR-100, Fashion-MNIST)"),
    "hardest": ("hardest:0.1", "the most memorised, a share or a count"),
    "easiest": ("easiest:0.1", "the least memorised"),
    "decile": ("decile:9", "a tenth by rising memorisation, 0 to 9"),
    "near-duplicates": ("near-duplicates:0.05", "samples whose nearest neighbour is kept"),
    "mislabelled": ("mislabelled:0.1", "samples whose labels were made wrong before training"),
    "entangled": ("entangled:0.5", "a tenth, from a region of its own (0) to in the midst of the rest (1)"),
}
OPTIONAL = ("class", "subclass")  # without a value: the seed's own
SCORED, FEATURED = ("hardest", "easiest", "decile"), ("near-duplicates", "entangled")


@dataclass(frozen=True)
class ForgetRequest:
    """A parsed request. amount: share, count, decile or level; classes: the labels named."""

    kind: str
    amount: float | None = None
    classes: tuple[int, ...] = ()

    @property
    def needs(self) -> str | None:
        """What must be known of a trained model first: "scores" (memorisation), "features", or nothing."""
        return "scores" if self.kind in SCORED else "features" if self.kind in FEATURED else None

    @property
    def removes_classes(self) -> bool:
        """Whether whole classes go, which then leave held-out and test data too."""
        return self.kind in ("class", "classes", "subclass")

    def __str__(self) -> str:
        if self.classes:
            return f"{self.kind}:{'+'.join(map(str, self.classes))}"
        return self.kind if self.amount is None else f"{self.kind}:{self.amount:g}"


@dataclass(frozen=True)
class Chosen:
    """rows to forget; labels of all rows, where the request changed some; classes that went whole."""

    rows: list[int]
    labels: np.ndarray | None = None
    classes: tuple[int, ...] = ()


def parse_forget(text: str) -> ForgetRequest:
    """The request in a word; UserError with the forms there are for anything else."""
    kind, _, value = text.strip().partition(":")
    if kind not in FORMS:
        near = get_close_matches(kind, FORMS, n=1)
        raise UserError(f"--forget: found {text!r}{f'; did you mean {near[0]!r}?' if near else ';'} {_forms()}")
    if not value:
        if kind in OPTIONAL:
            return ForgetRequest(kind)
        raise UserError(f"--forget: found {text!r} without a value, expected for example {FORMS[kind][0]}")
    try:
        if kind in ("class", "classes", "subclass"):
            named = tuple(int(part) for part in value.split("+"))
            if min(named) >= 0 and len(set(named)) == len(named) and (kind == "classes" or len(named) == 1):
                return ForgetRequest(kind, classes=named)
        elif _fits(kind, float(value)):
            return ForgetRequest(kind, float(value))
    except ValueError:
        pass
    example, meaning = FORMS[kind]
    raise UserError(f"--forget: found {text!r}, expected for example {example} ({meaning})")


def _fits(kind: str, amount: float) -> bool:
    if kind == "decile":
        return amount in range(10)
    if kind == "entangled":
        return 0 <= amount <= 1
    counted = kind in ("hardest", "easiest", "near-duplicates") and amount >= 1 and amount.is_integer()
    return 0 < amount < 1 or counted


def _forms() -> str:
    return "expected one of " + ", ".join(example for example, _ in FORMS.values())


def choose(
    request: ForgetRequest,
    labels: ArrayLike,
    seed: forgetting.Seed,
    *,
    own: int = 0,
    classes: int,
    fine: ArrayLike | None = None,
    scores: ArrayLike | None = None,
    features: ArrayLike | None = None,
) -> Chosen:
    """The rows of a request among samples with these labels [n].

    own: decides the class where the request names none (own mod the number of classes). classes: how many labels
    there are. fine [n]: finer labels, scores [n]: memorisation, features [n, d]: for the requests that need them.
    Raises UserError where what is needed was not given.
    """
    kind, amount = request.kind, request.amount or 0.0
    simple: dict[str, Callable[[], list[int]]] = {
        "random": lambda: forgetting.random_rows(labels, amount, seed),
        "hardest": lambda: forgetting.ranked_rows(_given(scores, request), amount, hardest=True),
        "easiest": lambda: forgetting.ranked_rows(_given(scores, request), amount, hardest=False),
        "decile": lambda: forgetting.decile_rows(_given(scores, request), int(amount)),
        "near-duplicates": lambda: forgetting.near_duplicate_rows(_given(features, request), amount),
        "entangled": lambda: forgetting.entangled_rows(_given(features, request), amount, seed),
    }
    if kind in simple:
        return Chosen(simple[kind]())
    if kind == "mislabelled":
        return Chosen(*forgetting.mislabelled_rows(labels, amount, classes, seed))
    if kind == "subclass" and fine is None:
        raise UserError(f"--forget {request}: these data have no finer labels; cifar100 and fashion have")
    known = fine if kind == "subclass" and fine is not None else labels
    named = request.classes or (own % (int(np.asarray(known).max()) + 1),)
    return Chosen(forgetting.class_rows(known, named), classes=named)


def _given(values: ArrayLike | None, request: ForgetRequest) -> ArrayLike:
    if values is None:
        raise UserError(f"--forget {request}: needs {request.needs} of a trained model, found none")
    return values
