"""`ofmu score probes`: hard questions about forgotten facts, asked of one model or compared with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ofmu.benchmarks.probes import Probes, ProbeView, probe_rows, view_probes
from ofmu.cli.exits import DONE
from ofmu.cli.loading import check_finite, model_path
from ofmu.cli.show import MODEL_NAME, show_rows
from ofmu.data.people import people
from ofmu.data.probes import people_probes, tofu_probes
from ofmu.data.records import Record
from ofmu.data.tofu import load_tofu
from ofmu.engine.models import load_model
from ofmu.engine.requests import encoder_of
from ofmu.errors import UserError
from ofmu.report.model import ORIGINAL, RETRAIN, ScoreRow


@dataclass(frozen=True)
class People:
    """Which fictitious people a model learned: the arguments of `ofmu.data.people`."""

    seed: int
    forget: int
    retain: int
    questions: int


def score_probes(
    model: str,
    original: str | None,
    retrain: str | None,
    chosen: People | None,
    tofu: str | None,
    data: str | None,
    limit: int | None,
    rouge: bool,
    machine: bool,
) -> int:
    """Ask every model that is given; rows of the references stand first."""
    probes = _probes(chosen, tofu, data, limit)
    before, gold = (None if path is None else _ask(path, probes, rouge) for path in (original, retrain))
    after = _ask(model, probes, rouge)
    rows: list[ScoreRow] = []
    for name, views in ((ORIGINAL, before), (RETRAIN, gold), (MODEL_NAME, after)):
        if views is not None:
            rows += probe_rows(name, 0, views, gold, None if views is before else before)
    show_rows(rows, machine)
    return DONE


def _probes(chosen: People | None, tofu: str | None, data: str | None, limit: int | None) -> Probes:
    if (chosen is None) == (tofu is None):
        raise UserError("--people, --tofu: expected exactly one, the data that the model learned")
    if limit is not None and limit < 1:
        raise UserError(f"--limit: found {limit}, expected at least 1")
    if tofu is not None:
        rows = load_tofu(data, tofu)
        return Probes(tofu_probes(rows.forget[:limit]), tofu_probes(rows.retain_perturbed[:limit]))
    assert chosen is not None
    world = people(chosen.seed, forget=chosen.forget, retain=chosen.retain, questions=chosen.questions)
    everyone = world.forget + world.retain
    sets = [people_probes(group, everyone, chosen.seed) for group in (world.forget, world.retain)]
    forget, retain = ({kind: _first(asked, limit) for kind, asked in found.items()} for found in sets)
    return Probes(forget, retain)


def _first(asked: Sequence[Record], limit: int | None) -> Sequence[Record]:
    """At most `limit` of the questions, evenly spread over the people."""
    count = len(asked) if limit is None else min(limit, len(asked))
    return [asked[i * len(asked) // count] for i in range(count)]


def _ask(path: str, probes: Probes, rouge: bool) -> Mapping[str, ProbeView]:
    loaded = load_model(model_path(path))
    if loaded.kind != "text":
        raise UserError(f"{path} is a model of images, expected a language model")
    check_finite(loaded.module, path)
    return view_probes(loaded.module, encoder_of(loaded, None), probes, rouge)
