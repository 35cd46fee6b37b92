"""Sources of targets: by hand or against a dense reference, with their costs, their needs and their names."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ofmu.cli.given import check_targets
from ofmu.core.terms import Terms
from ofmu.engine.measuring import sample_losses, token_losses
from ofmu.engine.prepare import Parts, Sources, prepare
from ofmu.engine.targets import ABSENT
from ofmu.engine.targets_image import Absent, Constant, Head, RankQuantile, Reset, Scratch
from ofmu.engine.targets_known import Known
from ofmu.engine.targets_named import DEFAULT, IMAGE, SOURCES, TEXT, TUNED, source_of
from ofmu.engine.targets_neighbours import Kernel, Neighbours
from ofmu.engine.targets_text import Alike, Alternatives, ShortReference, TokenConstant, TokenMap
from ofmu.engine.training import Recipe, trained
from ofmu.engine.usual_source import usual_source
from ofmu.errors import UserError
from ofmu.losses import class_nll, token_nll
from ofmu.methods import OFMU, build_method
from ofmu.tasks import TensorSamples
from small import Texts, images, llama, net, texts

RECIPE = Recipe(epochs=20, batch=8, lr=0.01)
FORGET, RETAIN, HELDOUT = images(9, 1), images(24, 2), images(12, 3)


def known(model=None, forget=FORGET, heldout=HELDOUT, **more):
    return Known(model or net(), forget, RETAIN, heldout, class_nll, RECIPE, 3, **more)


def values(source, given):
    return np.array([float(t) for t in source(given)[0].values])


def test_a_constant_is_the_mean_held_out_loss():
    given = known()
    targets, model = Constant()(given)
    expected = float(sample_losses(given.model, HELDOUT, class_nll).mean())
    assert [float(t) for t in targets.values] == pytest.approx([expected] * 9)
    assert targets.cost == pytest.approx(12 / 3)
    assert model is None


def test_ranks_look_up_quantiles_and_the_cost_is_two_passes():
    given = known()
    own, held = (sample_losses(given.model, part, class_nll).numpy() for part in (FORGET, HELDOUT))
    expected = np.quantile(held, (own.argsort().argsort() + 0.5) / 9)
    assert values(RankQuantile(), given) == pytest.approx(expected, rel=1e-5)
    assert RankQuantile()(given)[0].cost == pytest.approx((9 + 12) / 3)


@pytest.mark.parametrize("source", [Scratch(ranked=False), Scratch(), Reset()])
def test_a_short_reference_costs_its_training_and_leaves_the_original_alone(source):
    given = known(fresh=lambda seed: net(seed))
    before = [p.clone() for p in given.model.parameters()]
    targets, model = source(given)
    looked = 9 / 3 if source == Scratch(ranked=False) else (9 + 12) / 3
    assert targets.cost == pytest.approx(2 * 24 + looked)  # a tenth of 20 epochs
    assert all(torch.equal(a, b) for a, b in zip(before, given.model.parameters(), strict=True))
    assert model is not given.model


def test_a_reference_from_scratch_gives_its_own_losses():
    expected = net(10)
    trained(expected, RETAIN, class_nll, Recipe(epochs=2, batch=8, lr=0.01, seed=10))
    ours = values(Scratch(ranked=False), known(fresh=net))
    assert ours == pytest.approx(sample_losses(expected, FORGET, class_nll).numpy())


def test_without_a_recipe_for_new_models_all_layers_are_reset():
    _, model = Scratch(share=0.1)(known())
    assert not any(torch.equal(a, b) for a, b in zip(model.parameters(), net().parameters(), strict=True))


def test_a_head_trains_the_last_layers_alone_and_counts_its_share_of_a_step():
    single = [TensorSamples(part.pixels.float(), part.labels, part.ids) for part in (FORGET, RETAIN, HELDOUT)]
    original = net().float()
    given = Known(original, *single, class_nll, RECIPE, 3)
    targets, model = Head(layers=1)(given)
    changed = [not torch.equal(a, b) for a, b in zip(model.parameters(), original.parameters(), strict=True)]
    assert changed == [False, False, True, True]
    # multiply-adds × 2 of the layers 4 × 6 and 6 × 3: 48 and 36 forward, as much for weights, 36 for the hidden
    forward, both, top = 48 + 36, 2 * (48 + 36) + 36, 2 * 36
    expected = 24 * (forward - 36) / both + 20 * 24 * top / both + 9 / 3
    assert targets.cost == pytest.approx(expected)
    losses = sample_losses(model, given.forget, class_nll)
    assert [float(t) for t in targets.values] == pytest.approx(losses.tolist())
    short = Head(layers=1, share=0.3)(given)[0]
    assert short.cost == pytest.approx(expected - 14 * 24 * top / both)  # 6 of 20 epochs


def points(pixels, labels):
    return TensorSamples(
        torch.tensor(pixels, dtype=torch.float64), torch.tensor(labels), [str(i) for i in range(len(labels))]
    )


def one_layer():
    model = nn.Linear(1, 2).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0], [1.0]]))
        model.bias.zero_()
    return model


@pytest.mark.parametrize(("space", "cost"), [("features", 3 / 3 + 4 / 3), ("pixels", 3 / 3)])
def test_neighbours_by_hand(space, cost):
    # logits (0, x): p(1 | x) = σ(x). The two held-out samples nearest to .9 are at 1 and 0
    held = points([[0.0], [1.0], [5.0]], [0, 1, 1])
    given = known(one_layer(), points([[0.9]], [1]), held)
    targets, _ = Neighbours(k=2, space=space)(given)
    mean = (1 / (1 + math.exp(-1)) + 0.5) / 2
    assert [float(t) for t in targets.values] == pytest.approx([-math.log(mean)], rel=1e-6)
    assert targets.cost == pytest.approx(cost)


def test_kernel_regression_against_a_dense_reference():
    given = known()
    model, (x, v) = given.model, (part.pixels.numpy() for part in (FORGET, HELDOUT))
    logits = model(HELDOUT.pixels).detach().numpy()
    logits = logits - logits.mean(1, keepdims=True)
    apart = np.linalg.norm(v[:, None] - v[None], axis=2)
    width = 2 * torch.tensor(apart[apart > 0]).median().item() ** 2
    best = None
    for ridge in Kernel().ridges:  # leave one out the slow way: fit on all others
        error = 0.0
        for out in range(len(v)):
            rest = [i for i in range(len(v)) if i != out]
            k = np.exp(-(apart[np.ix_(rest, rest)] ** 2) / width) + ridge * np.eye(len(rest))
            alpha = np.linalg.solve(k, logits[rest] - logits.mean(0))
            said = np.exp(-(apart[out, rest] ** 2) / width) @ alpha
            error += float(((said - (logits[out] - logits.mean(0))) ** 2).sum())
        best = min(best or (error, ridge), (error, ridge))
    k = np.exp(-(apart**2) / width) + best[1] * np.eye(len(v))
    cross = np.exp(-(np.linalg.norm(x[:, None] - v[None], axis=2) ** 2) / width)
    said = cross @ np.linalg.solve(k, logits - logits.mean(0)) + logits.mean(0)
    nll = np.log(np.exp(said).sum(1)) - said[np.arange(9), FORGET.labels.numpy()]
    assert values(Kernel(space="pixels"), given) == pytest.approx(nll.clip(0, ABSENT), rel=1e-4)


def test_an_absent_label_gets_the_constant_and_a_whole_set_of_them_costs_nothing():
    def forgotten(labels):
        return known(forget=TensorSamples(FORGET.pixels, labels, FORGET.ids))

    level = values(Constant(), known())[0]
    inner = type("C", (), {"__call__": lambda self, given: Constant()(known())})()
    mixed = forgotten(torch.where(torch.arange(9) < 2, 7, FORGET.labels))
    assert values(Absent(inner), mixed) == pytest.approx([ABSENT] * 2 + [level] * 7)
    targets, model = Absent(Reset())(forgotten(torch.full((9,), 7)))
    assert [float(t) for t in targets.values] == pytest.approx([ABSENT] * 9)
    assert (targets.cost, model) == (0.0, None)


def test_alike_questions_by_hand():
    # the held-out question with both rare tokens is nearest; common ones weigh nothing
    held = Texts([([4, 5, 6], [1, 2]), ([4, 8], [3, 3, 3]), ([4, 9], [2])])
    forget = Texts([([4, 5, 6], [2]), ([8, 4], [1])])
    model = llama(1)
    given = Known(model, forget, held, held, token_nll, RECIPE)
    targets, _ = Alike(k=1)(given)
    losses = sample_losses(model, held, token_nll)
    assert [float(t) for t in targets.values] == pytest.approx([float(losses[0]), float(losses[1])])
    assert targets.cost == pytest.approx(3 / 3)


def test_a_short_reference_of_a_fine_tuned_model_begins_at_the_base():
    model, base, forget, retain, held = llama(1), llama(2), texts(4, 1), texts(6, 2), texts(20, 3)
    before = [p.clone() for p in base.parameters()]
    recipe = Recipe(epochs=10, batch=2, lr=1e-2)
    given = Known(model, forget, retain, held, token_nll, recipe, 3, base=base.requires_grad_(False))
    targets, reference = ShortReference(level="own")(given)
    again = llama(2)
    cost = trained(again, retain, token_nll, replace(recipe, epochs=2, seed=10))
    for found, expected in zip(targets.values, token_losses(again, forget, token_nll), strict=True):
        torch.testing.assert_close(found, expected)
    assert targets.cost == pytest.approx(cost + 4 / 3)
    assert not any(p.requires_grad for p in reference.parameters())
    assert all(torch.equal(p, old) for p, old in zip(base.parameters(), before, strict=True))
    mapped, _ = ShortReference()(given)
    assert mapped.cost == pytest.approx(cost + 4 / 3 + 2 * 20 / 3)
    scaled, _ = ShortReference(level="scaled")(given)
    level, short = (float(torch.cat(token_losses(m, held, token_nll)).mean()) for m in (model, again))
    for found, own in zip(scaled.values, targets.values, strict=True):
        torch.testing.assert_close(found, own * level / short)
    assert scaled.cost == pytest.approx(mapped.cost)
    alone, _ = ShortReference(level="scaled")(replace(given, heldout=None))
    assert (alone.cost, float(alone.per_sample.sum())) == pytest.approx(
        (targets.cost, float(targets.per_sample.sum()))
    )


def test_alternatives_are_the_mean_over_each_questions_false_answers():
    model, forget, false = llama(1), texts(2, 1), texts(6, 2)
    losses = sample_losses(model, false, token_nll).numpy().reshape(2, 3)
    given = Known(model, forget, forget, None, token_nll, RECIPE, alternatives=false)
    assert values(Alternatives(), given) == pytest.approx(losses.mean(1))
    with pytest.raises(UserError, match="found 5 for 2 questions"):
        Alternatives()(Known(model, forget, forget, None, token_nll, RECIPE, alternatives=texts(5, 2)))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Constant(), "'constant': expected held-out data"),
        (RankQuantile(), "'rank-quantile': expected held-out"),
        (Neighbours(), "'neighbours': expected held-out"),
        (Kernel(), "'kernel': expected held-out"),
        (TokenConstant(), "'constant': expected held-out"),
        (Alike(), "'alike': expected held-out"),
        (TokenMap(), r"'base': expected the model from before fine-tuning \(--base\)"),
        (ShortReference(), r"'reference': expected a model that was trained from scratch.* or the .*\(--base\)"),
        (TUNED, r"'base-tuned': expected the model from before fine-tuning \(--base\)"),
        (Alternatives(), "'alternatives': found none"),
    ],
)
def test_what_is_needed_is_asked_for(source, expected):
    with pytest.raises(UserError, match=expected):
        source(known(heldout=None))


@pytest.mark.parametrize("kind", ["image", "text"])
def test_names(kind):
    assert DEFAULT[kind] in SOURCES[kind]
    with pytest.raises(UserError, match=r"--targets: found 'konstant'; did you mean 'constant'\?"):
        source_of("konstant", kind)
    assert IMAGE["reset"] == Reset()
    assert TEXT["reference"].share == 0.2  # as the default takes it, without a model from before the training


def test_named_targets_reach_the_task_and_the_default_is_named():
    parts, method = Parts(FORGET, RETAIN, HELDOUT), OFMU.safeguarded(1e-3)
    model = net()
    default = prepare(model, "image", parts, method, Sources(recipe=RECIPE), 3)
    same = prepare(model, "image", parts, method, Sources(recipe=RECIPE, targets="reset"), 3)
    assert torch.equal(default.task.targets.per_sample, same.task.targets.per_sample)
    assert default.cost == same.cost
    other = prepare(model, "image", parts, method, Sources(recipe=RECIPE, targets="constant"), 3)
    level = sample_losses(model, HELDOUT, class_nll).mean()
    assert other.task.targets.per_sample.tolist() == pytest.approx([float(level)] * 9)
    assert other.start is None
    head = prepare(model, "image", parts, OFMU.image(1e-3), Sources(recipe=RECIPE, targets="constant"), 3)
    assert torch.equal(head.task.targets.per_sample, other.task.targets.per_sample)  # and no head start


@pytest.mark.parametrize(
    ("has", "budget", "expected"),  # six epochs on the ten retained texts take 60, four take 40
    [
        ("base heldout recorded", 600.0, "base-tuned"),
        ("base heldout recorded", 599.0, "base"),
        ("base heldout recorded", None, "base"),
        ("base heldout", 600.0, "base"),
        ("base recorded", 600.0, "base"),
        ("base heldout recorded adapter", 600.0, "base"),
        ("fresh heldout recorded", None, "reference"),
        ("fresh heldout recorded", 80.0, "reference"),
        ("fresh heldout recorded", 79.0, "constant"),
        ("fresh recorded", 79.0, "reference"),
        ("fresh heldout", 80.0, "constant"),
        ("heldout", 80.0, "constant"),
    ],
)
def test_the_usual_source_for_text_is_by_what_there_is_and_what_the_budget_pays_for(has, budget, expected):
    model, base, data = llama(1), llama(2), (texts(2, 1), texts(10, 2), texts(4, 3))
    if "adapter" in has:
        model.requires_grad_(False)
        next(model.parameters()).requires_grad_(True)  # less than a quarter of all
    made = Known(model, *data, token_nll, RECIPE)
    made = replace(
        made,
        heldout=made.heldout if "heldout" in has else None,
        base=base if "base" in has else None,
        fresh=llama if "fresh" in has else None,
    )
    assert usual_source("text", made, "recorded" in has, budget) == expected


def test_without_anything_that_says_what_an_unseen_text_costs_there_is_no_source():
    nothing = Known(llama(1), texts(2, 1), texts(10, 2), None, token_nll, RECIPE)
    with pytest.raises(UserError, match=r"Give --heldout .* or --base"):
        usual_source("text", nothing, True, 600.0)


def test_the_command_line_refuses_targets_that_would_not_be_used():
    with pytest.raises(UserError, match="--targets: found 'constant', but the method uses no targets"):
        check_targets("constant", "image", build_method("npo", "image"))
    with pytest.raises(UserError, match=r"--targets: found 'kernel'; for text: constant, base"):
        check_targets("kernel", "text", OFMU.text(1e-3))
    check_targets(None, "image", build_method("npo", "image"))


def test_targets_follow_a_loss_of_ones_own():
    def doubled(model, batch):
        terms = class_nll(model, batch)
        return Terms(2 * terms.values, terms.weights)

    plain_, twice = known(), Known(net(), FORGET, RETAIN, HELDOUT, doubled, RECIPE)
    assert values(RankQuantile(), twice) == pytest.approx(2 * values(RankQuantile(), plain_))
