"""Shadows: trained once, kept in the store, made in parallel; and what U-LiRA, LiRA and RMIA find with them."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from ofmu.data.encode import Encoder, TextSamples
from ofmu.data.people import people
from ofmu.engine.language import from_scratch, train_tokenizer
from ofmu.engine.networks import build
from ofmu.engine.prepare import Parts
from ofmu.engine.targets import Rows
from ofmu.engine.training import Recipe, trained
from ofmu.evidence import ensembles
from ofmu.evidence import shadows as module
from ofmu.evidence.case import Case
from ofmu.evidence.ensembles import (
    against_retrained,
    against_unlearned,
    design,
    klom_finding,
    margins_apart,
    method_words,
)
from ofmu.evidence.plan import choose, run
from ofmu.evidence.relabelled import relabelled
from ofmu.evidence.rows import joined, rows_fingerprint, whole
from ofmu.evidence.shadows import Setup, Unlearning, scores_of, shadow_scores
from ofmu.losses import class_nll, token_nll
from ofmu.methods import build_method
from ofmu.tasks import TensorSamples
from small import LLAMA, images, texts

SHAPE = {"classes": 3, "size": 4, "widths": (4, 8), "hidden": 32}
RECIPE = Recipe(epochs=25, batch=32, lr=2e-2)


def pictures(n, seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(n, 1, 4, 4, generator=generator)
    labels = torch.randint(0, 3, (n,), generator=generator)
    return TensorSamples(pixels, labels, [f"{seed}/{i}" for i in range(n)])


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A model that did not unlearn, and shadows whose "unlearning" does nothing either: its steps are tiny."""
    torch.set_num_threads(1)
    forget, retain, heldout = pictures(30, 1), pictures(40, 2), pictures(40, 3)
    original, retrain = build("digits-cnn", SHAPE, 0), build("digits-cnn", SHAPE, 1)
    trained(original, joined([retain, forget]), class_nll, RECIPE)
    trained(retrain, retain, class_nll, replace(RECIPE, seed=1))
    how = Unlearning(build_method("finetune", "image", lr=1e-7), 32.0, 32)
    setup = Setup(tmp_path_factory.mktemp("store"), original, how=how, number=8)
    parts = Parts(forget, retain, heldout)
    return Case("image", original, parts, (retrain,), original, recipe=RECIPE, shadows=setup)


def test_the_design_is_balanced():
    gone = design(31, 12, 0)
    assert (gone.sum(0) == 6).all()
    assert np.array_equal(gone[0], ~gone[1])
    with pytest.raises(ValueError, match="even number"):
        design(30, 9, 0)


def test_what_shadows_say_of_a_method_that_does_nothing_is_chance():
    """A t interval over the shadows' AUCs, which share shadows, leaves out .5 in about a tenth of such cases."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        phi = rng.normal(size=30) + rng.normal(size=(8, 30)) + rng.normal(size=(8, 1))
        found.append(float(method_words(phi, design(30, 8, seed), seed).split("p ")[-1].rstrip(")")))
    assert sum(p <= 0.05 for p in found) <= 3  # P(more) < .02
    assert 0.3 < np.mean(found) < 0.7


def test_u_lira_finds_a_method_that_does_nothing_and_a_second_run_trains_nothing(case, monkeypatch):
    seen = []
    watched = replace(case, shadows=replace(case.shadows, watch=lambda done, total: seen.append((done, total))))
    found, online = against_unlearned(watched)
    assert seen[-1] == (8, 8)
    assert found.model is not None
    assert found.retrains[0].auc < found.model.auc > 0.7
    assert found.verdict == "looks unlearned"
    assert found.original is None  # it unlearned nothing: no control
    assert "were unlearned rows like unseen ones" in found.extra[0]
    assert "the method over 8 shadows: AUC" in found.extra[0]
    assert "(95 %, p 0.01)" in found.extra[0]  # no other design lies as far from .5
    monkeypatch.setattr(module, "trained", lambda *_: pytest.fail("trained again"))
    assert against_unlearned(case) == [found, online]
    assert online.verdict == "remembered"
    assert online.retrains[0].auc < online.model.auc > 0.7
    missing = against_unlearned(replace(case, shadows=replace(case.shadows, how=None)))
    assert [each.attack for each in missing] == ["u-lira", "lira-online"]
    assert all("nothing says how" in str(each.missing) for each in missing)


def test_lira_and_rmia_find_a_model_that_remembers(case):
    lira, rmia = against_retrained(replace(case, shadows=replace(case.shadows, number=6)))
    for found in (lira, rmia):
        assert found.model is not None
        assert found.retrains[0].auc + 0.1 < found.model.auc > 0.65
    assert (lira.model.n_heldout, rmia.model.n_heldout) == (40, 20)


def test_shadows_of_a_language_model_find_texts_that_it_remembers(tmp_path):
    torch.set_num_threads(1)
    world = people(3, forget=2, retain=2, heldout=2, unseen=0, questions=4)
    rows = [*world.retain, *world.heldout]
    tokenizer = train_tokenizer([turn.content for record in rows for turn in record.messages], 300)
    encoder, recipe = Encoder.of(tokenizer, 128), Recipe(epochs=10, batch=8, lr=3e-2, rule="adamw")
    forget, retain, heldout = (TextSamples(p, encoder) for p in (world.forget, world.retain, world.heldout))
    shape = {**LLAMA, "num_hidden_layers": 1, "vocab_size": len(tokenizer), "max_position_embeddings": 128}
    original, retrain = from_scratch(shape, 0), from_scratch(shape, 1)
    trained(original, joined([retain, forget]), token_nll, recipe)
    trained(retrain, retain, token_nll, replace(recipe, seed=1))
    how = Unlearning(build_method("finetune", "text", lr=1e-7), 8.0, 8)  # does nothing
    setup, parts = Setup(tmp_path, original, how=how, number=8), Parts(forget, retain, heldout)
    case = Case("text", original, parts, (retrain,), original, recipe=recipe, shadows=setup)
    found = {each.attack: each for each in [*against_retrained(case), *against_unlearned(case)]}
    assert set(found) == {"lira", "rmia", "u-lira", "lira-online"}
    for name, each in found.items():
        assert each.model is not None, (name, each.missing)
        assert each.model.auc > each.retrains[0].auc + 0.1, name


@pytest.mark.parametrize(
    ("shift", "verdict"), [(4.0, "remembered"), (0.0, "not detected"), (-4.0, "over-forgotten")]
)
def test_klom_sees_both_sides_and_uses_the_retrained_models_that_are_there(case, monkeypatch, shift, verdict):
    rng, asked = np.random.default_rng(0), []
    ours, gold = rng.normal(size=(8, 70)), rng.normal(size=(8, 70))
    ours[:, :30] += shift  # the margins of the forgotten rows

    def scores(shadows, *_):
        asked.append([shadow.key() for shadow in shadows])
        return (gold, -abs(gold)) if shadows[0].how is None else (ours, ours)

    monkeypatch.setattr(ensembles, "shadow_scores", scores)
    monkeypatch.setattr(ensembles, "scores_before", lambda *_: ours + 9 * (np.arange(70) < 30))
    (found,) = margins_apart(case)
    assert found.verdict == verdict, found.words
    assert (found.original.auc > 0.95, found.retrains[0].auc) == (True, pytest.approx(0.5, abs=0.15))
    assert "8 models a side: mean KLoM of forgotten and unseen rows" in found.extra[0]
    against_retrained(case)
    assert asked[0] == asked[2]  # what LiRA trains is not trained again
    assert asked[1][0]["rows"]["forget"] == rows_fingerprint(case.forget)
    assert "nothing says how" in str(margins_apart(replace(case, recipe=None))[0].missing)


def test_klom_raises_no_alarm_over_shifts_that_whole_models_share(monkeypatch):
    """Each model moves its rows as a whole, and the harder forgotten ones more: retrained models on both sides."""
    monkeypatch.setattr(ensembles, "relabelled", partial(relabelled, draws=59))
    rng, alarms = np.random.default_rng(7), 0
    weights = np.r_[np.full(30, 2.0), np.ones(40)]
    for _ in range(40):
        ours, gold = (rng.normal(size=(8, 70)) + rng.normal(0, 2, (8, 1)) * weights for _ in range(2))
        found = klom_finding(ours, gold, ours, 30)
        alarms += found.p is not None and found.p < 0.05
    assert alarms <= 4  # twice the level; of the rows' own test 43 % were


def test_few_models_are_relabelled_in_every_way():
    ours, gold = np.array([[5.0], [6.0]]), np.array([[1.0], [2.0]])
    found = relabelled(lambda a, b: float(a.mean() - b.mean()), ours, gold)
    assert (found.value, found.p, found.retrains) == (4.0, pytest.approx(2 / 6), 2)
    assert found.error == pytest.approx(np.std([4, -4, 1, -1, 0, 0]))


@pytest.mark.slow
def test_klom_finds_a_method_that_does_nothing(case):
    """End to end, with models that memorise more."""
    (found,) = margins_apart(replace(case, retrains=(), recipe=replace(RECIPE, epochs=50)))
    assert found.verdict == "remembered", found.words
    assert found.model == found.original  # each shadow before it unlearned, and after


@pytest.mark.slow
def test_shadows_of_two_processes_are_those_of_one(case, tmp_path):
    pool = joined([case.forget, case.heldout])
    made = [
        module.Shadow("image", case.model, True, replace(RECIPE, seed=s, epochs=1), case.parts.retain, pool)
        for s in (1, 2)
    ]
    one, _ = shadow_scores(made, tmp_path / "one")
    two, _ = shadow_scores(made, tmp_path / "two", jobs=2)
    assert np.array_equal(one, two)


def test_the_name_of_a_shadow_has_all_that_its_scores_depend_on(case):
    shadow = module.Shadow("image", case.model, True, RECIPE, case.parts.retain, case.forget)
    others = [
        replace(shadow, recipe=replace(RECIPE, lr=3e-2)),
        replace(shadow, retain=case.heldout),
        replace(shadow, pool=case.heldout),
        replace(shadow, scratch=False),
        replace(shadow, forget=case.forget, how=case.shadows.how),
    ]
    assert all(other.key() != shadow.key() for other in others)
    assert replace(shadow, retain=Rows(case.parts.retain, range(40))).key() == shadow.key()


def test_a_budget_decides_how_many_shadows(case):
    free = replace(case, shadows=replace(case.shadows, number=None))
    whole_plan = choose(free)
    assert "ask for it, or give a budget" in whole_plan.left_out["u-lira"]
    cost = choose(free, ["u-lira"]).cost / 16
    assert choose(free, ["u-lira"]).shadows == {"u-lira": 16}
    assert choose(free, ["u-lira"], 11.5 * cost).shadows == {"u-lira": 10}
    assert "found enough for 6" in choose(free, ["u-lira"], 7.5 * cost).left_out["u-lira"]
    assert "training.json" in choose(replace(case, recipe=None), ["lira"]).left_out["lira"]
    assert "u-lira" in choose(free, None, None, ["u-lira"]).chosen  # a gate asks for it
    (group,) = run(free, choose(free, ["u-lira"], 8.5 * cost))
    assert "over 8 shadows" in group[1][0].extra[0]


def test_log_probability_and_phi_agree(case):
    phi, log_p = scores_of(case.model, "image", case.forget)
    assert phi == pytest.approx(log_p - np.log(-np.expm1(log_p)), abs=1e-4)


def test_rows_are_taken_out_of_their_selections():
    rows = images(9, 1)
    chosen = Rows(Rows(rows, [1, 3, 5, 7]), [2, 0])
    assert torch.equal(whole(chosen).pixels, rows.pixels[[5, 1]])
    assert list(joined([rows, chosen]).ids)[-2:] == ["1/5", "1/1"]
    assert (
        rows_fingerprint(chosen) == rows_fingerprint(rows.subset([5, 1])) != rows_fingerprint(rows.subset([1, 5]))
    )
    with pytest.raises(ValueError, match="found Texts"):
        whole(texts(3, 1))
    assert not isinstance(whole(chosen), TextSamples)
