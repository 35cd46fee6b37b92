"""Who is forgotten, kept, calibrated on and reported: the groups of people of one TOFU benchmark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..data.people import people
from ..data.records import Record
from ..data.tofu import AUTHORS, authors, load_tofu
from ..errors import UserError

PEOPLE = "people"  # the split of embedded people
SHARES = {"forget01": 2, "forget05": 10, "forget10": 20}  # the last so many authors are forgotten
HELDOUT, UNSEEN, DEVELOPMENT, KEPT = 100, 50, 190, 2  # where each group of authors begins, as far as they are free
EXPECTED = "forget01, forget05, forget10, or authors such as authors:198-199 or authors:5,180-182"
MEASURED = 400  # kept questions that are measured, at most: TOFU has wrong answers for as many


@dataclass(frozen=True)
class Groups:
    """Questions about people of one kind each; all four share none.

    heldout: people that targets are made from, never reported. unseen: people that are reported, and that nothing
    is made from. Neither is ever trained on. learnt: trained on by the original and by Retrain, and nothing more:
    where all of TOFU is, the reported forget set while settings are chosen.
    """

    forget: Sequence[Record]
    retain: Sequence[Record]
    heldout: Sequence[Record]
    unseen: Sequence[Record]
    learnt: Sequence[Record] = ()

    @property
    def trained(self) -> list[Record]:
        """The original's training data, in TOFU's order where they are TOFU's."""
        return sorted([*self.remaining, *self.forget], key=_place)

    @property
    def remaining(self) -> list[Record]:
        """Retrain's training data: all of that but the forget set."""
        return [*self.retain, *self.learnt]

    @property
    def kept(self) -> list[Record]:
        """At most 400 of the kept questions, evenly spread."""
        return _some(self.retain)

    @property
    def asked(self) -> list[Record]:
        """The kept questions that are measured: those that have wrong answers, at most 400, evenly spread."""
        return _some([record for record in self.retain if "perturbed_answer" in record.meta])


def _some(records: Sequence[Record]) -> list[Record]:
    n = min(MEASURED, len(records))
    return [records[i * len(records) // n] for i in range(n)]


@dataclass(frozen=True)
class Split:
    """The groups that are reported, and those that settings are chosen on: other people are forgotten there."""

    name: str
    report: Groups
    development: Groups


def tofu_split(split: str, keep: int | None = None) -> Split:
    """The people of a split.

    forgetNN: the last 2, 10 or 20 of TOFU's 200 authors are forgotten; all others are kept (`keep` None), or the
    first `keep` of them, for a machine that cannot train on 4,000 questions. authors:…: these are forgotten,
    and as many are kept, or `keep`. Held-out and unseen people are other authors where some are left that
    nobody trains on, else the embedded ones. Development forgets as many other authors. Raises UserError for
    anything else.
    """
    forget = SHARES[split] if split in SHARES else _listed(split)
    gone = list(range(AUTHORS - forget, AUTHORS)) if isinstance(forget, int) else forget
    _check(gone, keep, split)
    if split in SHARES and keep is None:
        return _whole(split, gone)
    free = _Free(gone)
    kept = free.take(0, keep or len(gone))
    heldout, unseen = free.take(HELDOUT, 4), free.take(UNSEEN, 2)
    dev_gone = free.take(DEVELOPMENT, len(gone))
    dev_kept = free.take(KEPT, len(kept))
    report, development = ((gone, kept), (dev_gone, dev_kept))
    others = list(authors(heldout)), list(authors(unseen))
    made = [Groups(list(authors(lost)), list(authors(stay)), *others) for lost, stay in (report, development)]
    if not made[0].asked:
        raise UserError(
            f"--split: found {split!r}, where the kept authors ({kept[0]} to {kept[-1]}) have no wrong answers to "
            "ask beside the right ones; TOFU has them for authors 0-19, of which some must be kept"
        )
    return Split(split, *made)


class _Free:
    """TOFU's authors, each given away once."""

    def __init__(self, taken: Iterable[int]) -> None:
        self.taken = set(taken)

    def take(self, start: int, n: int) -> list[int]:
        """The next `n` that are free, counting up from `start`, then from 0."""
        order = [author for author in [*range(start, AUTHORS), *range(start)] if author not in self.taken]
        if len(order) < n:
            raise UserError(
                f"--keep, --split: TOFU's {AUTHORS} authors are too few for a forget and a retain set, another of "
                "each for tuning, and six people that nobody trains on; keep fewer"
            )
        self.taken.update(order[:n])
        return order[:n]


def people_split(forget: int = 2, keep: int = 6, questions: int = 20) -> Split:
    """Embedded fictitious people: no data are needed. Development has people of another seed."""

    def groups(seed: int) -> Groups:
        world = people(seed, forget=forget, retain=keep, heldout=2, unseen=2, questions=questions)
        return Groups(world.forget, world.retain, world.heldout, world.unseen)

    return Split(PEOPLE, groups(0), groups(1))


def _whole(split: str, gone: Sequence[int]) -> Split:
    """All 200 authors are trained on; who was never seen must then be somebody else."""
    world = people(0, forget=1, retain=0, heldout=4, unseen=2)
    tofu = load_tofu(forget=split)
    report = Groups(list(tofu.forget), list(tofu.retain), world.heldout, world.unseen)
    other = range(gone[0] - len(gone), gone[0])
    stay = [author for author in range(AUTHORS) if author not in other and author not in gone]
    lost, kept, learnt = (list(authors(which)) for which in (other, stay, gone))
    return Split(split, report, Groups(lost, kept, world.heldout, world.unseen, learnt))


def _listed(split: str) -> list[int]:
    """The numbers after "authors:"."""
    match = re.fullmatch(r"authors:((?:\d{1,3}(?:-\d{1,3})?)(?:,\d{1,3}(?:-\d{1,3})?)*)", split)
    if match is None:
        raise UserError(f"--split: found {split!r}, expected {EXPECTED}")
    found: list[int] = []
    for part in match[1].split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    if not found or len(set(found)) != len(found):
        raise UserError(f"--split: found {split!r}, expected every author once, ranges from low to high")
    return found


def _check(gone: Sequence[int], keep: int | None, split: str) -> None:
    known = set(range(20)) | set(range(AUTHORS - 20, AUTHORS))
    strange = [author for author in gone if author not in known]
    if strange:
        raise UserError(
            f"--split: {split} names author {strange[0]}; TOFU has paraphrased and wrong answers, which the truth "
            f"ratio needs, for authors 0-19 and {AUTHORS - 20}-{AUTHORS - 1} alone"
        )
    if keep is not None and keep < 1:
        raise UserError(f"--keep: found {keep}, expected at least 1 author")


def _place(record: Record) -> int:
    """The row's number, with which TOFU's ids end."""
    number = record.id.rpartition("/")[2]
    return int(number) if number.isdecimal() else -1
