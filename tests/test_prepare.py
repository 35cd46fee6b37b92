"""From a model and its data to a task: who sees what, and what is refused."""

from __future__ import annotations

import pytest
import torch

from ofmu.engine.confidence import _few, matched_confidence
from ofmu.engine.measuring import sample_losses, token_losses
from ofmu.engine.prepare import Parts, Sources, prepare
from ofmu.engine.targets import reference_targets
from ofmu.engine.training import Recipe, trained
from ofmu.errors import UserError
from ofmu.losses import class_nll, token_nll
from ofmu.methods import OFMU, build_method
from small import Table, Texts, flat, images, llama, net, texts

PARTS = Parts(texts(4, 1), texts(12, 2))


def test_a_short_text_reference_learns_the_retain_set_alone():
    sources = Sources(fresh=lambda seed: llama(1), recipe=Recipe(epochs=10, batch=4, lr=1e-2))
    made = prepare(llama(2), "text", PARTS, OFMU.text(1e-3), sources, seed=3)
    assert made.cost == pytest.approx(2 * 12 + 4 / 3)  # a fifth of 10 epochs over D_r, one pass over D_f
    again = llama(1)
    trained(again, texts(12, 2), token_nll, Recipe(epochs=2, batch=4, lr=1e-2, seed=10))
    expected = token_losses(again, texts(4, 1), token_nll)
    assert made.task.targets is not None
    assert all(torch.equal(a, b) for a, b in zip(made.task.targets.values, expected, strict=True))


@pytest.mark.parametrize(
    ("budget", "recorded", "frozen", "heldout", "tuned"),
    [
        (360, True, False, True, True),
        (359, True, False, True, False),
        (None, True, False, True, False),
        (360, False, False, True, False),
        (360, True, True, True, False),
        (360, True, False, False, False),
    ],
)
def test_a_copy_of_the_base_model_is_tuned_where_a_tenth_of_the_budget_pays_for_it(
    budget, recorded, frozen, heldout, tuned
):
    recipe = Recipe(epochs=10, batch=4, lr=1e-2) if recorded else None  # three tenths: 3 epochs of 12 samples
    model = llama(2)
    model.model.layers.requires_grad_(not frozen)  # most of its parameters
    model.model.embed_tokens.requires_grad_(not frozen)
    sources = Sources(base=llama(1), recipe=recipe)
    parts = Parts(PARTS.forget, PARTS.retain, texts(20, 3) if heldout else None)
    made = prepare(model, "text", parts, OFMU.text(1e-3), sources, seed=3, budget=budget)
    assert made.cost == pytest.approx((4 + 40 * heldout) / 3 + 36 * tuned)
    assert made.task.targets is not None
    assert ("short reference trained on the retain set (3 epochs)" in made.task.targets.source) == tuned


def test_text_targets_without_anything_unseen_are_refused():
    with pytest.raises(UserError, match="--heldout"):
        prepare(llama(2), "text", PARTS, OFMU.text(1e-3), Sources(), seed=0)


def test_only_what_a_method_needs_is_prepared():
    made = prepare(llama(2), "text", PARTS, build_method("graddiff", "text"), Sources(), seed=0)
    assert (made.task.targets, made.task.reference, made.task.unseen, made.cost) == (None, None, None, 0.0)
    made = prepare(llama(2), "text", PARTS, build_method("npo", "text"), Sources(), seed=0)
    assert made.cost == pytest.approx(4 / 3)  # the original's forget losses
    assert (
        prepare(llama(2), "text", PARTS, build_method("kl", "text"), Sources(), seed=0).task.reference is not None
    )


# ---- where a run on images begins

IMAGES = Parts(images(5, 1), images(20, 2), images(8, 3))
LONG = Recipe(epochs=400, batch=10, lr=0.03)


@pytest.fixture(scope="module")
def memorised():
    model = net()
    trained(model, images(20, 2), class_nll, Recipe(epochs=60, batch=10, lr=0.03))
    return model


def test_a_run_on_images_begins_at_a_reference_that_has_learned_the_retain_set_again(memorised):
    before = flat(list(memorised.parameters()))
    made = prepare(memorised, "image", IMAGES, OFMU.safeguarded(1e-3), Sources(recipe=LONG), seed=3)
    recipe = Recipe(epochs=400, batch=10, lr=0.03, seed=3)
    targets, reference = reference_targets(memorised, *vars(IMAGES).values(), class_nll, recipe)
    unseen, kept = (float(sample_losses(reference, x, class_nll).mean()) for x in (images(8, 3), images(20, 2)))
    learned = made.task.unseen_level - made.task.retain_level
    assert unseen - kept > 0.5 * learned > 0
    assert made.cost == pytest.approx(targets.cost + (20 + 8) / 3)
    assert torch.equal(flat(list(memorised.parameters())), before)
    made.begin(begun := net())
    assert torch.equal(flat(list(begun.parameters())), flat(list(reference.parameters())))


def test_a_reference_that_is_far_behind_is_no_start(memorised):
    recipe = Recipe(epochs=1, batch=10, lr=1e-5)  # one epoch at no rate: the reset layers stay random
    made = prepare(memorised, "image", IMAGES, OFMU.safeguarded(1e-3), Sources(recipe=recipe), seed=3)
    assert made.start is None
    made.begin(same := net(5))
    assert torch.equal(flat(list(same.parameters())), flat(list(net(5).parameters())))


@pytest.mark.parametrize("case", ["frozen layer", "nothing held out", "absent label", "method without a start"])
def test_where_there_is_no_start(memorised, case):
    model, parts, method = net(), IMAGES, OFMU.safeguarded(1e-3)
    model.load_state_dict(memorised.state_dict())
    if case == "frozen layer":
        model[0].weight.requires_grad_(False)
    elif case == "nothing held out":
        parts = Parts(IMAGES.forget, IMAGES.retain)
    elif case == "absent label":
        parts = Parts(images(5, 1, classes=1), IMAGES.retain.subset(IMAGES.retain.labels.nonzero()[:, 0].tolist()))
    else:
        method = OFMU()
    assert prepare(model, "image", parts, method, Sources(recipe=LONG), seed=3).start is None


# ---- what keeps the rest of the language


def test_held_out_text_is_neutral_and_says_how_confident_the_model_is():
    sources = Sources(base=llama(1))
    parts = Parts(texts(4, 1), texts(12, 2), texts(60, 3))
    plain = prepare(llama(2), "text", parts, OFMU.text(1e-3), sources, seed=3)
    made = prepare(llama(2), "text", parts, OFMU.matched(1e-3), sources, seed=3)
    assert plain.task.neutral is None
    assert (plain.task.reference, plain.task.confidence) == (None, 1.0)
    assert made.task.neutral is not None
    assert made.task.neutral.samples is parts.heldout
    assert made.task.confidence != 1.0
    assert made.cost == pytest.approx(plain.cost + 2 * 60 / 3)  # two models see all: fewer than 1024 tokens
    assert set(made.task.cursors()) == {"forget", "retain", "neutral"}


def test_without_held_out_text_there_is_nothing_neutral():
    made = prepare(llama(2), "text", PARTS, OFMU.matched(1e-3), Sources(base=llama(1)), seed=0)
    assert (made.task.neutral, made.task.confidence) == (None, 1.0)


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_the_confidence_of_a_model_that_is_surer_by_a_factor_is_that_factor(factor):
    unseen = Table([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.3, 0.2]])
    model = Table([[p**factor for p in row] for row in unseen.logits.exp().tolist()])  # logits need no sum of 1
    heldout = Texts([((0,), (1, 2)), ((3,), (0, 0, 2)), ((2,), (1,))])
    found, cost = matched_confidence(model, unseen, heldout)
    assert found == pytest.approx(factor, abs=1e-4)
    assert cost == pytest.approx(2)  # two passes over three rows


def test_few_tokens_are_enough_for_the_confidence():
    class Long:
        def __len__(self):
            return 100

        def length(self, row):
            return 100

    assert _few(Long()) == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
