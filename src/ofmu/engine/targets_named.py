"""The sources of targets by name: what `--targets` may say, and what `ofmu bench targets` measures."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from ..errors import UserError
from ..tasks import Kind
from .targets_image import Absent, Constant, Head, RankQuantile, Reset, Scratch
from .targets_known import Known, Made, Source
from .targets_neighbours import Kernel, Neighbours
from .targets_text import Alike, Alternatives, ShortReference, TokenConstant, TokenMap

IMAGE: Mapping[str, Source] = {
    "constant": Constant(),
    "rank-quantile": RankQuantile(),
    "reset": Reset(),
    "reference": Scratch(),
    "reference-own": Scratch(ranked=False),
    "head": Head(),
    "head-short": Head(share=0.3),
    "head-ranked": Head(ranked=True),
    "neighbours": Neighbours(),
    "neighbours-pixels": Neighbours(space="pixels"),
    "kernel": Kernel(),
    "kernel-pixels": Kernel(space="pixels"),
}
TEXT: Mapping[str, Source] = {
    "constant": TokenConstant(),
    "base": TokenMap(),
    "reference": ShortReference(),
    "reference-own": ShortReference(mapped=False),
    "alike": Alike(),
    "alternatives": Alternatives(),
}
SOURCES: Mapping[Kind, Mapping[str, Source]] = {"image": IMAGE, "text": TEXT}
DEFAULT: Mapping[Kind, str] = {"image": "reset", "text": "base"}  # text without a base model: "reference"


def source_of(name: str, kind: Kind) -> Source:
    """A source by its name; for images labels that no retained sample has get a constant (`Absent`).

    UserError with the nearest name for one that there is not.
    """
    sources = SOURCES[kind]
    if name not in sources:
        near = get_close_matches(name, sources, n=1)
        hint = f"did you mean {near[0]!r}? For" if near else "for"
        raise UserError(f"--targets: found {name!r}; {hint} {kind}: {', '.join(sources)}")
    return Absent(sources[name]) if kind == "image" else sources[name]


def named_targets(name: str, kind: Kind, known: Known) -> Made:
    """The targets by the source of that name."""
    return source_of(name, kind)(known)
