"""The sources of targets by name: what `--targets` may say, and what `ofmu bench targets` measures.

A new source is one line in `IMAGE` or `TEXT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from ..errors import UserError
from ..tasks import Kind
from .targets_image import Absent, Constant, Head, RankQuantile, Reset, Scratch
from .targets_known import Known, Made, Source
from .targets_neighbours import Kernel, Neighbours
from .targets_text import Alike, Alternatives, ShortReference, TokenConstant, TokenMap

IMAGE: dict[str, Source] = {
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
TUNED = ShortReference(0.3, "scaled", base=True)  # what the text default was settled with
TEXT: dict[str, Source] = {
    "constant": TokenConstant(),
    "base": TokenMap(),
    "base-tuned": TUNED,
    "reference": ShortReference(),
    "reference-own": ShortReference(level="own"),
    "alike": Alike(),
    "alternatives": Alternatives(),
}
SOURCES: Mapping[Kind, Mapping[str, Source]] = {"image": IMAGE, "text": TEXT}
DEFAULT: Mapping[Kind, str] = {"image": "reset", "text": "base"}  # text: for others see `engine.prepare`


def source_of(given: str | Source, kind: Kind) -> Source:
    """A source by its name, or one's own; for images labels that no retained sample has get a constant (`Absent`).

    UserError with the nearest name for one that there is not.
    """
    if not isinstance(given, str):
        return Absent(given) if kind == "image" else given
    sources, name = SOURCES[kind], given
    if name not in sources:
        near = get_close_matches(name, sources, n=1)
        hint = f"did you mean {near[0]!r}? For" if near else "for"
        raise UserError(f"--targets: found {name!r}; {hint} {kind}: {', '.join(sources)}")
    return Absent(sources[name]) if kind == "image" else sources[name]


def named_targets(source: str | Source, kind: Kind, known: Known) -> Made:
    """The targets by the source of that name, or by one's own."""
    return source_of(source, kind)(known)
