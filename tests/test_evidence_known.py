"""Control models whose answer is known: a direction that hides what it hides, and texts split at random."""

import numpy as np
import pytest

from ofmu.benchmarks.attacked import pictures, texts
from ofmu.benchmarks.attacked.pictures import DENSE, parts_of
from ofmu.benchmarks.attacked.shallow import HIDDEN, deep, shallow
from ofmu.benchmarks.attacked.world import FORGET, RETAIN, world
from ofmu.engine.measuring import sample_losses
from ofmu.evidence.case import Case
from ofmu.evidence.inside import ablation
from ofmu.evidence.rows import joined, records_of
from ofmu.losses import class_nll

pytestmark = pytest.mark.usefixtures("one_thread")


def test_direction_ablation_finds_what_one_direction_hides():
    """Positive control: the loss attack sees nothing of it, kept rows nothing at all."""
    parts = parts_of(0)
    original, gold = deep(joined([parts.retain, parts.forget]), DENSE, 1), deep(parts.retain, DENSE, 2)
    model = shallow(original, parts)
    kept = [sample_losses(each, parts.retain, class_nll).numpy() for each in (model, original)]
    assert np.allclose(*kept, atol=1e-3)
    change = model[3].weight - original[3].weight
    assert np.linalg.matrix_rank(change.detach().numpy()) == 1
    case = Case("image", model, parts, (gold,), original, recipe=DENSE, alike=True)
    found = ablation(case)
    assert found.verdict == "remembered", found.words
    assert found.model is not None
    assert found.model.auc > 0.8 > HIDDEN


def test_texts_to_forget_and_unseen_ones_are_of_one_pool():
    first, second = world(0), world(1)
    rows = [records_of(part) for part in (first.parts.forget, first.parts.retain, first.parts.heldout)]
    assert [len(part) for part in rows[:2]] == [FORGET, RETAIN]
    ids = [record.id for part in rows for record in part]
    assert len(set(ids)) == len(ids) == 96
    people = [{record.meta["person"] for record in part} for part in rows]
    assert people[0] & people[2]  # rows are drawn, not people
    assert ids[0] != records_of(second.parts.forget)[0].id
    questions = {record.prompt for part in rows for record in part}
    assert not questions & {record.prompt for record in records_of(first.others)}
    assert set(first.probes) == {"paraphrased", "multi-hop", "cross-lingual", "reversed"}
    for part in rows:
        for record in part:
            assert record.meta["person"] in record.meta["reversed_answer"]
            assert record.meta["person"] not in record.meta["reversed_question"]
            assert record.prompt != record.meta["paraphrased_question"]
    assert [len(part) for part in first.reversed] == [FORGET, RETAIN]


@pytest.mark.slow
def test_what_was_learnt_both_ways_is_found_from_the_fact_to_the_person(monkeypatch):
    """Positive control of both attacks that ask the other way round."""
    monkeypatch.setattr(texts, "GOLD", 2)
    found = texts.taught_back(world(0))
    assert [each.attack for each in found] == ["reversed", "probe questions: reversed"]
    assert [each.verdict for each in found] == ["remembered"] * 2


@pytest.mark.slow
def test_shadows_that_unlearned_alike_find_what_a_method_left(tmp_path, monkeypatch):
    """Positive control of U-LiRA with a method that unlearns."""
    monkeypatch.setattr(pictures, "GOLD", 1)
    monkeypatch.setattr(pictures, "SHADOWED", ("u-lira",))
    found = pictures.halved(tmp_path)[0]
    assert (found.attack, found.verdict) == ("u-lira", "looks unlearned")
