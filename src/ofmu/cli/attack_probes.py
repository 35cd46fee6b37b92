"""`--probes`: hard questions about the forgotten and about unseen facts, from a file or made of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ofmu.data.probes import DIRECT, people_probes
from ofmu.data.read import open_records
from ofmu.data.records import Record
from ofmu.errors import UserError
from ofmu.evidence.case import Case
from ofmu.evidence.rows import records_of

MADE = "made"
SIDES = ("forget", "heldout")
Questions = dict[str, tuple[Sequence[Record], Sequence[Record]]]


def with_probes(case: Case, probes: str | None) -> Case:
    """The case with the questions of `--probes`; UserError for a file without its columns, and for images."""
    if probes is None:
        return case
    if case.kind == "image":
        raise UserError("--probes: serves text models")
    return replace(case, probes=_made(case) if probes == MADE else _read(probes))


def _made(case: Case) -> Questions:
    """From rows about fictitious people (ofmu.data.people): reworded, described, in other languages, reversed."""
    try:
        sides = [records_of(part) for part in (case.forget, case.heldout)]
        everyone = [*sides[0], *sides[1], *records_of(case.parts.retain)]
    except ValueError as error:
        raise UserError(f"--probes made: {error}") from None
    try:
        forget, heldout = (people_probes(side, everyone, case.seed) for side in sides)
    except UserError as error:
        raise UserError(
            f"--probes made: {error}; give a file of questions (columns question, answer, probe, about)"
        ) from None
    return {kind: (forget[kind], heldout[kind]) for kind in forget if kind != DIRECT}


def _read(source: str) -> Questions:
    """A file's questions: `probe` names the kind, `about` is forget or heldout."""
    found: dict[str, Mapping[str, list[Record]]] = {}
    for record in open_records(source):
        probe, about = record.meta.get("probe"), record.meta.get("about")
        if not isinstance(probe, str) or not probe.strip() or about not in SIDES:
            raise UserError(
                f"--probes: {source}, row {record.id}: found probe {probe!r} and about {about!r}, expected a name "
                "and one of forget, heldout"
            )
        found.setdefault(probe, {side: [] for side in SIDES})[str(about)].append(record)
    return {probe: (sides["forget"], sides["heldout"]) for probe, sides in found.items()}
