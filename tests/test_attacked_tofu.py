"""The TOFU benchmark's models under attack: what relearning trains, and through which part of the model."""

from __future__ import annotations

import copy

import pytest

pytest.importorskip("transformers")

from ofmu.benchmarks.attacked.tofu import _case, _upper, tofu_rows
from ofmu.benchmarks.tofu_references import reference
from ofmu.benchmarks.tofu_space import Chosen
from ofmu.engine.store import Store
from ofmu.engine.trainable import block_list
from ofmu.evidence import relearning
from ofmu.evidence.scores import loss_scores
from ofmu.report.model import FLOOR, ORIGINAL, RETRAIN
from tofu_world import setting, split


@pytest.fixture(scope="module")
def given():
    return setting()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def cases(given, store):
    original, gold = (reference(given, name, 0, store) for name in (ORIGINAL, RETRAIN))
    case = _case(given, given.on(split().development), original, [gold], 0)
    return case, _upper(case, given, original, [gold], store)


def test_the_upper_part_relearns_as_the_whole_does_with_its_lower_part_frozen(given, store, monkeypatch):
    case, upper = cases(given, store)
    assert type(block_list(upper.model)[0][1]).__name__ == "Passed"  # two of four blocks are in the inputs
    for whole, part in zip(loss_scores(case, case.model), loss_scores(upper, upper.model), strict=True):
        assert part == pytest.approx(whole, abs=1e-4)
    monkeypatch.setattr(relearning, "copy_of", frozen_below)
    curves = [relearning.relearned(each, each.model, each.parts.retain, 4, 0) for each in (upper, case)]
    assert curves[0].steps == (0, 1, 2, 4)
    assert curves[0].losses == pytest.approx(curves[1].losses, rel=1e-3)
    assert abs(curves[0].losses[-1] - curves[0].losses[0]) > 1e-2


def frozen_below(module):
    """A copy of which the two last blocks alone are trained, whatever is asked of it."""
    copied = copy.deepcopy(module).eval().requires_grad_(False)
    block_list(copied)[0][2:].requires_grad_(True)
    copied.requires_grad_ = lambda _: copied
    return copied


def test_all_models_are_attacked_and_relearning_through_the_upper_part(given, store, monkeypatch):
    seen = []
    plain = relearning.relearned
    monkeypatch.setattr(relearning, "relearned", lambda case, *rest: seen.append(case) or plain(case, *rest))
    found = tofu_rows(
        given,
        given.on(split().development),
        {"graddiff": Chosen(given.method("graddiff"), 0, 0, None, None, {}, 0.0)},
        0,
        1,
        ("mia", "relearn"),
        store,
        lambda _: None,
    )
    assert list(found) == [ORIGINAL, FLOOR, "GradDiff"]
    assert {row.attack for row in found["GradDiff"]} >= {"loss", "relearn-forget", "relearn-retain"}
    again = [row for rows in found.values() for row in rows if row.attack.startswith("relearn")]
    assert len(again) == 9
    assert {row.missing for row in again} == {None}
    assert all(case.base is None for case in seen)
