"""Baselines for image classifiers: each rule against its paper's formula, written out, and a run of each."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ofmu.core.oracle import TorchOracle
from ofmu.data.digits import digits
from ofmu.engine.checkpoint import load_state, save_state
from ofmu.engine.loop import plain_state, restored_state, unlearn
from ofmu.engine.measuring import sample_losses
from ofmu.engine.networks import build
from ofmu.engine.prepare import Parts, Sources, prepare
from ofmu.engine.training import Recipe, trained
from ofmu.errors import UserError
from ofmu.losses import NLL, Ascend, KLToReference, class_nll
from ofmu.methods import SSD, Descent, Influence, RandomLabels, SalUn, Scalarised, Scrub, build_method
from ofmu.methods.dampening import dampening, importance
from ofmu.methods.influence import inverse_fisher_product
from ofmu.methods.published import PUBLISHED
from ofmu.methods.saliency import saliency_mask
from ofmu.methods.scrub import Imitate
from small import flat, images, net, task, texts

FORGET, RETAIN = images(5, 1), images(7, 2)
IMAGE_ONLY = ("neggrad-plus", "randomlabel", "salun", "scrub", "ssd", "iu")


def sample_gradients(model, samples):
    """[n, d]: one gradient a sample, by autograd alone."""
    losses = F.cross_entropy(model(samples.pixels), samples.labels, reduction="none")
    params = list(model.parameters())
    return torch.stack([flat(torch.autograd.grad(loss, params, retain_graph=True)) for loss in losses])


@pytest.mark.parametrize("name", IMAGE_ONLY)
def test_for_texts_the_name_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} serves image classifiers, found a language model"):
        build_method(name, "text")


# --- random labels


def test_random_labels_are_wrong_uniform_and_repeatable():
    given = task(images(4000, 3, classes=4), RETAIN)
    samples = given.forget.samples
    batch = samples.batch(range(4000))
    loss = RandomLabels(seed=5).bind(given)
    drawn = loss.labels(batch, 4)
    assert not (drawn == batch.labels).any()
    shifts = ((drawn - batch.labels) % 4).bincount(minlength=4) / 4000
    assert shifts.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.03)
    assert torch.equal(loss.labels(samples.batch([7, 3]), 4), drawn[[7, 3]])  # by row, not by place
    given.forget.epoch = 1
    fresh = loss.labels(batch, 4)
    assert not torch.equal(fresh, drawn)
    assert torch.equal(RandomLabels(seed=5, fresh=False).bind(given).labels(batch, 4), drawn)
    assert not torch.equal(RandomLabels(seed=6, fresh=False).bind(given).labels(batch, 4), drawn)


def test_random_label_is_cross_entropy_with_those_labels():
    given, model = task(FORGET, RETAIN), net()
    loss = RandomLabels().bind(given)
    batch = FORGET.batch(range(5))
    expected = F.cross_entropy(model(FORGET.pixels), loss.labels(batch, 3), reduction="none")
    assert torch.equal(loss(model, batch).values, expected)
    with pytest.raises(ValueError, match="a text has no classes"):
        RandomLabels().bind(task(texts(2, 1), texts(2, 2)))
    with pytest.raises(ValueError, match="1 class, expected at least 2"):
        loss.labels(batch, 1)


# --- SalUn


def test_the_mask_is_the_largest_half_of_all_gradients_together():
    grad = [torch.tensor([[0.1, -5.0], [2.0, 0.0]]), torch.tensor([-3.0, 0.2])]
    half = saliency_mask(grad, 0.5)  # |g| sorted: 5, 3, 2, .2, .1, 0
    assert [mask.tolist() for mask in half] == [[[False, True], [True, False]], [True, False]]
    assert sum(int(mask.sum()) for mask in saliency_mask(grad, 1 / 6)) == 1
    assert all(bool(mask.all()) for mask in saliency_mask(grad, 1.0))
    ties = saliency_mask([torch.tensor([1.0, -1.0, 0.5, 1.0])], 0.25)
    assert ties[0].tolist() == [True, True, False, True]  # |g| ≥ γ, as the paper defines it


@pytest.mark.parametrize("descent", [Descent("sgd", 0.5, momentum=0.9), Descent("adamw", 0.01)])
def test_salun_moves_the_salient_weights_as_the_masked_method_and_no_other(descent):
    model = net()
    masked = (sample_gradients(model, FORGET).mean(0).abs()).double()
    salient = masked >= masked.sort(descending=True).values[round(0.5 * len(masked)) - 1]
    method = SalUn(Scalarised(RandomLabels(), NLL(), descent, 0.3), share=0.5)
    given, oracle = task(FORGET, RETAIN, forget_batch=2), TorchOracle(model)
    before = flat(oracle.params).clone()
    state = method.init(given, oracle)
    assert oracle.cost == 5  # one gradient of the forget set, in batches of 2, 2 and 1
    assert given.forget.position == 0
    assert torch.equal(flat(state.mask).bool(), salient)
    for _ in range(3):
        state, log = method.step(given, oracle, state)
    moved = flat(oracle.params) != before
    assert torch.equal(moved, salient)
    assert oracle.cost == 5 + (2 + 2 + 1) + 3 * 7
    assert set(log.numbers) == {"forget_objective", "retain_objective"}


def test_the_first_salun_step_is_the_masked_gradient():
    given, model = task(FORGET, RETAIN), net()
    method = SalUn(Scalarised(RandomLabels(), NLL(), Descent("sgd", 0.5), 0.3))
    oracle = TorchOracle(model)
    state = method.init(given, oracle)
    before, mask = flat(oracle.params).clone(), flat(state.mask).bool()
    wrong = RandomLabels().bind(given).labels(FORGET.batch(range(5)), 3)
    loss = 0.3 * F.cross_entropy(model(FORGET.pixels), wrong) + F.cross_entropy(
        model(RETAIN.pixels), RETAIN.labels
    )
    grad = flat(torch.autograd.grad(loss, list(model.parameters())))
    method.step(given, oracle, state)
    assert torch.allclose(flat(oracle.params), before - 0.5 * grad * mask, rtol=0, atol=1e-12)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"share is 0.0, expected more than 0"):
        SalUn(Scalarised(None, NLL(), Descent("sgd", 0.1)), share=0.0)


# --- SSD


def test_the_dampening_rule_by_hand():
    ours = [torch.tensor([9.0, 2.0, 8.0, 0.0, 4.0])]
    whole = [torch.tensor([1.0, 1.0, 4.0, 0.0, 0.0])]
    # selected where ours > 2 whole (strictly): 9 > 2, 4 > 0; not 2, 8, 0
    assert dampening(ours, whole, 2.0, 1.0)[0].tolist() == pytest.approx([1 / 9, 1.0, 1.0, 1.0, 0.0])
    assert dampening(ours, whole, 2.0, 3.0)[0].tolist() == pytest.approx([1 / 3, 1.0, 1.0, 1.0, 0.0])
    assert dampening(ours, whole, 2.0, 99.0)[0].tolist() == pytest.approx([1.0, 1.0, 1.0, 1.0, 0.0])  # never grows


def test_the_importance_is_the_mean_of_squares_not_the_square_of_a_mean():
    model = net()
    oracle = TorchOracle(model)
    grads = sample_gradients(model, RETAIN)
    found = flat(importance(oracle, class_nll, RETAIN, range(7)))
    assert torch.allclose(found, grads.square().mean(0), rtol=1e-10, atol=0)
    assert oracle.cost == 7
    batches = flat(importance(oracle, class_nll, RETAIN, range(6), group=3))
    expected = torch.stack([grads[:3].mean(0).square(), grads[3:6].mean(0).square()]).mean(0)
    assert torch.allclose(batches, expected, rtol=1e-10, atol=0)
    assert not torch.allclose(batches, found, rtol=0.1)


def test_an_ssd_step_written_out():
    model = net()
    ours, theirs = (sample_gradients(model, part).square().mean(0) for part in (FORGET, RETAIN))
    whole = (5 * ours + 7 * theirs) / 12
    oracle, given, method = TorchOracle(model), task(FORGET, RETAIN), SSD(alpha=1.5, strength=0.4)
    before = flat(oracle.params).clone()
    expected = torch.where(ours > 1.5 * whole, (0.4 * whole / ours).clamp(max=1), 1.0) * before
    _, log = method.step(given, oracle, method.init(given, oracle))
    assert torch.allclose(flat(oracle.params), expected, rtol=1e-10, atol=0)
    assert not torch.allclose(expected, before)
    assert log.done
    assert log.numbers["dampened_share"] == pytest.approx(float((ours > 1.5 * whole).double().mean()))
    assert oracle.cost == 12
    assert [event.last for event in unlearn(given, method, oracle, 9)] == ["the rule is applied, once"]


@pytest.mark.parametrize("alpha", [12 / 5, 10.0])
def test_an_alpha_that_can_select_nothing_is_refused(alpha):
    oracle, given = TorchOracle(net()), task(FORGET, RETAIN)
    with pytest.raises(UserError, match=rf"SSD: alpha is {alpha:g}, expected less than 2.4, .* smaller alpha"):
        SSD(alpha=alpha).init(given, oracle)
    before = flat(oracle.params).clone()
    _, log = SSD(alpha=alpha).step(given, oracle, None)  # nothing is selected indeed
    assert torch.equal(flat(oracle.params), before)
    assert log.why == f"the rule is applied, once, and dampened nothing: alpha {alpha:g} or strength is too large"
    SSD(alpha=2.39).init(given, oracle)


def test_fewer_retain_samples_are_spread_and_cost_less():
    oracle, given = TorchOracle(net()), task(FORGET, RETAIN)
    SSD(alpha=1.1, most=3).step(given, oracle, None)
    assert oracle.cost == 8


# --- influence


def test_the_inverse_fisher_product_is_the_dense_one_and_woodfishers():
    generator = torch.Generator().manual_seed(0)
    grads = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    v = torch.randn(9, generator=generator, dtype=torch.float64)
    parts = [grads[:, :4], grads[:, 4:]]
    found = flat(inverse_fisher_product(parts, [v[:4].reshape(2, 2), v[4:]], 0.2))
    fisher = 0.2 * torch.eye(9, dtype=torch.float64) + grads.T @ grads / 6
    assert torch.allclose(found, torch.linalg.solve(fisher, v), rtol=1e-10, atol=1e-12)
    inverse = torch.eye(9, dtype=torch.float64) / 0.2  # WoodFisher's recursion, one gradient after another
    for g in grads:
        along = inverse @ g
        inverse = inverse - torch.outer(along, along) / (6 + g @ along)
    assert torch.allclose(found, inverse @ v, rtol=1e-10, atol=1e-12)


def test_the_fault_of_common_code_is_not_ours():
    """There the step minus v lies along the first sample's gradient."""
    model = net()
    oracle, given = TorchOracle(model), task(FORGET, RETAIN)
    grads = sample_gradients(model, RETAIN)
    v = 5 / 12 * (sample_gradients(model, FORGET).mean(0) - grads.mean(0))
    before = flat(oracle.params).clone()
    Influence(damping=1.0).step(given, oracle, None)
    rest = flat(oracle.params) - before - v
    first = grads[0] / grads[0].norm()
    assert (rest - (rest @ first) * first).norm() > 0.3 * rest.norm()


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_an_influence_step_written_out(scale):
    model = net()
    ours, theirs = (sample_gradients(model, part) for part in (FORGET, RETAIN))
    v = 5 / 12 * (ours.mean(0) - theirs.mean(0))
    fisher = 0.3 * torch.eye(len(v), dtype=torch.float64) + theirs.T @ theirs / 7
    oracle, given = TorchOracle(model), task(FORGET, RETAIN, forget_batch=2, retain_batch=3)
    before = flat(oracle.params).clone()
    method = Influence(scale, damping=0.3)
    _, log = method.step(given, oracle, method.init(given, oracle))
    step = scale * torch.linalg.solve(fisher, v)
    assert torch.allclose(flat(oracle.params), before + step, rtol=1e-9, atol=1e-12)
    assert log.done
    assert log.numbers["step_norm"] == pytest.approx(float(step.norm()))
    assert oracle.cost == 12 + 7


def test_on_a_quadratic_the_push_points_to_the_retrained_minimum():
    """With H in place of F, θ_o + H⁻¹v is the minimiser of D_r's loss, to first order in n_f/n."""
    torch.manual_seed(0)
    x, y = torch.randn(400, 3, dtype=torch.float64), torch.randn(400, dtype=torch.float64)
    fit = lambda a, b: torch.linalg.solve(a.T @ a, a.T @ b)  # noqa: E731
    whole, kept = fit(x, y), fit(x[4:], y[4:])
    grads = (x @ whole - y)[:, None] * x
    v = 4 / 400 * (grads[:4].mean(0) - grads[4:].mean(0))
    found = whole + torch.linalg.solve(x.T @ x / 400, v)
    assert (found - kept).norm() < 0.05 * (whole - kept).norm()


# --- NegGrad+


def test_neggrad_plus_is_the_weighted_difference():
    method = build_method("neggrad-plus", "image")
    assert (method.forget, method.retain) == (Ascend(NLL()), NLL())
    assert method.forget_weight + method.retain_weight == 1


def test_a_neggrad_plus_step_written_out():
    """θ ← θ − η (α g_r − (1 − α) g_f): one minimises α L_r − (1 − α) L_f."""
    method = replace(build_method("neggrad-plus", "image"), descent=Descent("sgd", 0.5))
    model = net()
    forget, retain = FORGET.subset(range(4)), RETAIN.subset(range(4))
    gradients = []
    for part in (forget, retain):
        loss = torch.nn.functional.cross_entropy(model(part.pixels), part.labels)
        gradients.append(flat(torch.autograd.grad(loss, list(model.parameters()))))
    before = flat(list(model.parameters())).clone()
    given, oracle = task(forget, retain, forget_batch=4, retain_batch=4), TorchOracle(model)
    method.step(given, oracle, method.init(given, oracle))
    expected = before - 0.5 * (0.9 * gradients[1] - 0.1 * gradients[0])
    assert torch.allclose(flat(oracle.params), expected, atol=1e-12)


# --- SCRUB


def test_scrubs_retain_loss_written_out():
    model, teacher = net(), net(9)
    given = task(FORGET, RETAIN, reference=teacher)
    old, new = (m(RETAIN.pixels).log_softmax(-1).detach() for m in (teacher, model))
    divergence = (old.exp() * (old - new)).sum(-1)
    expected = 0.25 * divergence + 0.75 * -new.gather(1, RETAIN.labels[:, None])[:, 0]
    oracle = TorchOracle(model)
    found = oracle.values(Imitate(0.25, 0.75).bind(given), RETAIN.batch(range(7)))
    assert torch.allclose(found.values, expected, rtol=0, atol=1e-12)
    assert oracle.cost == pytest.approx(7 * 2 / 3)
    for wrong in (task(FORGET, RETAIN), task(texts(2, 1), texts(2, 2), reference=teacher)):
        with pytest.raises(ValueError, match="expected 'image' and the frozen original"):
            Imitate(0.1, 0.9).bind(wrong)


def test_scrubs_passes_alternate_and_end_with_the_retain_set():
    given = task(FORGET, RETAIN, reference=copy.deepcopy(net()), forget_batch=2, retain_batch=4)
    method = Scrub(Descent("sgd", 0.1), rounds=2)
    oracle = TorchOracle(net())
    state, seen = method.init(given, oracle), []
    for _ in range(14):
        kept = restored_state(method.init(given, oracle), plain_state(state))
        assert (kept.maximising, kept.maximised) == (state.maximising, state.maximised)
        state, log = method.step(given, oracle, state)
        seen.append(next(iter(log.numbers))[0])
    #  7 retain samples by 4 are two batches, 5 forget samples by 2 are three
    assert "".join(seen) == "rr" + "fff" + "rr" + "fff" + "rrrr"
    assert oracle.cost == pytest.approx((4 * 7 + 2 * 5) * 4 / 3)  # the teacher's pass in both, also when ascended


def test_a_scrub_maximising_step_ascends_the_divergence():
    teacher, model = net(9), net()
    given = task(FORGET, RETAIN, reference=teacher)
    oracle = TorchOracle(model)
    method = Scrub(Descent("sgd", 0.5))
    state = method.init(given, oracle)
    state.maximising = True
    old = teacher(FORGET.pixels).log_softmax(-1).detach()
    divergence = (old.exp() * (old - model(FORGET.pixels).log_softmax(-1))).sum(-1).mean()
    grad = flat(torch.autograd.grad(divergence, list(model.parameters())))
    before = flat(oracle.params).clone()
    _, log = method.step(given, oracle, state)
    assert torch.allclose(flat(oracle.params), before + 0.5 * grad, rtol=0, atol=1e-12)
    assert log.numbers["forget_objective"] == pytest.approx(-float(divergence.detach()))


def test_an_ascended_loss_costs_what_the_loss_costs():
    given = task(FORGET, RETAIN, reference=net(9))
    oracle = TorchOracle(net())
    oracle.grad(Ascend(KLToReference()).bind(given), FORGET.batch(range(5)))
    assert oracle.cost == pytest.approx(5 * 4 / 3)


# --- all of them, from end to end


@pytest.fixture(scope="module")
def memorised():
    split = digits(0, label_noise=0.0, forget="class:3")
    retain = split.retain.subset(range(400))
    model = build("digits-cnn", {}, 0)
    both = split.forget.subset(range(40))
    joined = type(retain)(
        torch.cat([retain.pixels, both.pixels]), torch.cat([retain.labels, both.labels]), [*retain.ids, *both.ids]
    )
    trained(model, joined, class_nll, Recipe(epochs=20, lr=4e-3))
    return model.eval(), Parts(both, retain, split.heldout)


@pytest.mark.parametrize("name", IMAGE_ONLY)
def test_the_forget_loss_rises_and_the_retain_set_holds(memorised, name):
    original, parts = memorised
    method = build_method(name, "image")
    prepared = prepare(original, "image", parts, method, Sources(), 0, batch=64)
    model = copy.deepcopy(original)
    oracle = TorchOracle(model)
    events = list(unlearn(prepared.task, method, oracle, 400, budget=5 * 440))
    before, after = (
        {k: float(sample_losses(m, getattr(parts, k), class_nll).mean()) for k in ("forget", "retain")}
        for m in (original, model)
    )
    kept = (model(parts.retain.pixels).argmax(1) == parts.retain.labels).double().mean()
    assert after["forget"] > before["forget"] + 0.01
    assert after["forget"] - before["forget"] > 2 * (after["retain"] - before["retain"])
    assert float(kept) > 0.9
    assert events[-1].cost <= 6.5 * 440


@pytest.mark.parametrize("name", ["randomlabel", "salun", "scrub"])
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(name, tmp_path):
    def start():
        given = task(images(12, 1), images(45, 2), reference=net(9), forget_batch=5, retain_batch=20)
        return given, build_method(name, "image"), TorchOracle(net())

    whole = start()
    list(unlearn(*whole, 12))
    first = start()
    for event in unlearn(*first, 12):
        if event.step == 5:
            save_state(tmp_path / "state", event.snapshot())
            break
    again = start()
    events = list(unlearn(*again, 12, resume=load_state(tmp_path / "state")))
    assert [event.step for event in events] == list(range(6, 13))
    assert torch.equal(flat(again[2].params), flat(whole[2].params))
    assert again[2].cost == whole[2].cost


@pytest.mark.parametrize("name", ["ssd", "iu"])
def test_a_learning_rate_for_a_method_without_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} takes one step without a learning rate, found lr = 0.1"):
        build_method(name, "image", lr=0.1)


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"strength": -1.0}, {"most": 0}, {"group": 0}])
def test_wrong_ssd_settings_are_named(wrong):
    with pytest.raises(ValueError, match="SSD: found"):
        SSD(**wrong)


def test_wrong_influence_settings_are_named():
    with pytest.raises(ValueError, match="expected a damping above 0"):
        Influence(damping=0.0)


def test_the_published_settings_take_a_step():
    for method in PUBLISHED.values():
        given = task(images(2, 1), images(40, 2), reference=net(9))  # SSD's alpha of 10 is for less than a tenth
        oracle = TorchOracle(net())
        method.step(given, oracle, method.init(given, oracle))
        assert torch.isfinite(flat(oracle.params)).all()
