"""TOFU: 4,000 questions and answers about 200 fictitious authors (Maini et al., 2024, arXiv:2401.06121).

Read from a directory of its JSON-lines files, `$OFMU_DATA_DIR/tofu` by default, or from the hub
("locuslab/TOFU"). Author k is rows 20k … 20k + 19 of the full set; forgetNN is the last 40·NN rows. An id is
"tofu/<row of the full set>", so that one question has one id in whichever part it is met.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ofmu.data.places import data_dir
from ofmu.data.read import HUB_ID
from ofmu.data.records import Record, question_answer
from ofmu.data.sequences import InMemory, Records, Subset
from ofmu.data.sources import HubRows, JsonLines, Source
from ofmu.errors import UserError

HUB = "locuslab/TOFU"
PER_AUTHOR, AUTHORS = 20, 200
PERTURBED = ("forget10_perturbed", "retain_perturbed")
EXTRA = ("paraphrased_question", "paraphrased_answer", "perturbed_answer")


@dataclass(frozen=True)
class Tofu:
    """One TOFU request. Where the release has them, a record's meta holds paraphrased_answer (str) and
    perturbed_answer (list of wrong answers); `retain_perturbed` is the part of retain that has both.
    """

    forget: Records
    retain: Records
    retain_perturbed: Records
    real_authors: Records
    world_facts: Records


def load_tofu(root: str | Path | None = None, forget: str = "forget01") -> Tofu:
    """The forget and retain sets of "forget01" … "forget90", and the two sets of real-world questions.

    root: a directory of TOFU's files or a hub id; None means `$OFMU_DATA_DIR/tofu`.
    """
    match = re.fullmatch(r"forget(\d\d)", forget)
    percent = int(match[1]) if match else 0
    if not 1 <= percent <= 99:
        raise UserError(
            f"forget: found '{forget}', expected forget01, forget05 or forget10 (forgetNN, NN percent)"
        )
    whole = _full(_root(root))
    first = len(whole) - len(whole) * percent // 100
    retained = [row for row in range(first) if "perturbed_answer" in whole[row].meta]
    return Tofu(
        forget=whole[first:],
        retain=whole[:first],
        retain_perturbed=Subset(whole, retained),
        real_authors=_other(_root(root), "real_authors"),
        world_facts=_other(_root(root), "world_facts"),
    )


def authors(which: Sequence[int], root: str | Path | None = None) -> Records:
    """The 20 questions of each of these authors (0 … 199), in the order given."""
    wrong = [author for author in which if not 0 <= author < AUTHORS]
    if wrong:
        raise UserError(f"authors: found {wrong}, expected numbers from 0 to {AUTHORS - 1}")
    rows = [PER_AUTHOR * author + k for author in which for k in range(PER_AUTHOR)]
    return Subset(_full(_root(root)), rows)


def idontknow(root: str | Path | None = None) -> list[str]:
    """The 100 refusals ("I'm not certain about that.", …) that stand one a line in idontknow.jsonl."""
    base = _root(root)
    path = Path(base) / "idontknow.jsonl"
    if not path.is_file():
        raise UserError(f"no file {path}: the hub does not serve it; set OFMU_DATA_DIR to a directory that has it")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _root(root: str | Path | None) -> str:
    if root is None:
        return str(data_dir("tofu"))
    if not Path(root).is_dir() and not HUB_ID.fullmatch(str(root)):
        raise UserError(f"root: no directory {root}; set OFMU_DATA_DIR, or give the hub id '{HUB}'")
    return str(root)


@lru_cache(maxsize=2)
def _full(root: str) -> Records:
    extra: dict[tuple[object, object], dict[str, object]] = {}
    for part in PERTURBED:
        for row in _rows(root, part).scan():
            extra[row["question"], row["answer"]] = {key: row[key] for key in EXTRA}
    records = [
        _record(
            row,
            f"tofu/{number}",
            author=number // PER_AUTHOR,
            **extra.get((row["question"], row["answer"]), {}),
        )
        for number, row in enumerate(_rows(root, "full").scan())
    ]
    return InMemory(records, "TOFU full")


@lru_cache(maxsize=4)
def _other(root: str, name: str) -> Records:
    rows = list(_rows(root, f"{name}_perturbed").scan())
    records = [
        _record(row, f"tofu-{name}/{number}", perturbed_answer=row["perturbed_answer"])
        for number, row in enumerate(rows)
    ]
    return InMemory(records, f"TOFU {name}")


def _record(row: Mapping[str, object], id: str, **meta: object) -> Record:
    return question_answer(str(row["question"]), str(row["answer"]), id=id, meta=meta)


def _rows(root: str, name: str) -> Source:
    path = Path(root)
    if path.is_dir():
        found = next(
            (path / f"{name}{end}" for end in (".json", ".jsonl") if (path / f"{name}{end}").is_file()), None
        )
        if found is None:
            raise UserError(f"{path} has no {name}.json; OFMU_DATA_DIR/tofu must hold TOFU's own files")
        return JsonLines(found)
    try:
        import datasets

        dataset: Any = datasets.load_dataset(root, name, split="train")
    except ImportError:
        raise UserError(f"'{root}' is a hub id, which needs: pip install \"ofmu[llm]\"") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{root} ({name}) could not be had from the hub: {error}; set OFMU_DATA_DIR") from None
    return HubRows(dataset, f"{root}:{name}")
