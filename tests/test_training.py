"""Ordinary training: the schedule, the seed, the cost, and what happens when it goes wrong."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from ofmu.core.terms import Terms
from ofmu.engine.checkpoint import load_state, save_state
from ofmu.engine.loop import Diverged
from ofmu.engine.measuring import Monitor, image_logits, sample_losses
from ofmu.engine.training import Recipe, trained, training
from ofmu.losses import class_nll
from ofmu.tasks import Stream
from small import flat, images, net

SAMPLES = images(10, 1)


def parameters(model):
    return flat(list(model.parameters()))


def dropping():
    model = net()
    return nn.Sequential(model[0], nn.Dropout(0.5), model[1], model[2])


def test_the_linear_schedule_rises_holds_and_falls():
    recipe = Recipe(schedule="linear", warmup=0.2, hold=0.6)
    # of ten steps two warm up (½, 1), the last four decay by a quarter each, down to 2 %
    factors = [recipe.factor(step, 10) for step in range(10)]
    assert factors == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0.02])
    assert [Recipe().factor(step, 10) for step in (0, 9)] == [1.0, 1.0]
    assert Recipe(schedule="linear").factor(0, 1) == 0.02


def test_two_steps_equal_torch_on_the_same_batches_with_the_scheduled_rates():
    recipe = Recipe(epochs=1, batch=5, lr=0.1, schedule="linear", warmup=1.0, hold=0.0, clip=0.05, seed=3)
    model = net()
    by_hand = copy.deepcopy(model)
    progress = list(training(model, SAMPLES, class_nll, recipe))
    optimizer, stream = torch.optim.Adam(by_hand.parameters()), Stream(SAMPLES, 3)
    for step, rate in enumerate([0.1 * 0.5, 0.1 * 0.02]):  # min(1/2, 1/2), then the fall's floor
        optimizer.param_groups[0]["lr"] = rate
        loss = class_nll(by_hand, stream.next(5)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(by_hand.parameters(), 0.05)
        optimizer.step()
        assert progress[step].loss == pytest.approx(float(loss.detach()), abs=1e-12)
    assert torch.equal(parameters(model), parameters(by_hand))


def test_weight_decay_shrinks_with_adamw_only():
    still = Recipe(epochs=1, batch=10, lr=0.5, rule="adamw", decay=0.1)

    def zero(model, batch):
        terms = class_nll(model, batch)
        return Terms(terms.values * 0, terms.weights)

    model = net()
    before = parameters(model)
    trained(model, SAMPLES, zero, still)
    assert torch.allclose(parameters(model), before * (1 - 0.5 * 0.1), atol=1e-12)


@pytest.mark.parametrize(("epochs", "batch", "steps"), [(3, 4, 9), (0.5, 4, 2), (0.01, 4, 1), (2, 64, 2)])
def test_steps_and_cost_are_counted(epochs, batch, steps):
    progress = list(training(net(), SAMPLES, class_nll, Recipe(epochs=epochs, batch=batch)))
    assert [p.step for p in progress] == list(range(1, steps + 1))
    assert {p.total for p in progress} == {steps}
    costs = [0.0, *[p.cost for p in progress]]
    sizes = [b - a for a, b in pairwise(costs)]
    expected = {(3, 4): [4, 4, 2] * 3, (0.5, 4): [4, 4], (0.01, 4): [4], (2, 64): [10, 10]}
    assert sizes == expected[epochs, batch]


def test_the_seed_decides_all_whatever_the_caller_draws_in_between():
    def run(seed, disturb):
        model = dropping()
        for _ in training(model, SAMPLES, class_nll, Recipe(epochs=2, batch=4, seed=seed)):
            if disturb:
                torch.rand(7)
                model.eval()  # a caller that measured, and did not set the module back
        return parameters(model)

    plain = run(0, False)
    assert torch.equal(run(0, True), plain)
    assert not torch.allclose(run(1, False), plain)


@pytest.mark.parametrize("rule", ["adam", "adamw"])
def test_a_resumed_training_is_bit_for_bit_the_uninterrupted_one(rule, tmp_path):
    def fresh():
        model = net()
        return nn.Sequential(model[0], nn.BatchNorm1d(6, dtype=torch.float64), nn.Dropout(0.5), *model[1:])

    recipe = Recipe(epochs=4, batch=4, rule=rule, schedule="linear", clip=1.0, seed=2)
    whole, model = fresh(), fresh()
    expected = list(training(whole, SAMPLES, class_nll, recipe))
    for progress in training(model, SAMPLES, class_nll, recipe):
        if progress.step == 5:  # in the middle of an epoch
            save_state(tmp_path / "run", progress.snapshot())
            break
    again = fresh()
    rest = list(training(again, SAMPLES, class_nll, recipe, resume=load_state(tmp_path / "run")))
    assert rest == expected[5:]
    assert torch.equal(parameters(again), parameters(whole))
    assert all(torch.equal(a, b) for a, b in zip(again.buffers(), whole.buffers(), strict=True))
    assert not torch.equal(parameters(model), parameters(whole))


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(dropping(), SAMPLES, class_nll, Recipe(epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_training_lowers_the_loss_and_leaves_evaluation_mode_even_when_stopped():
    model = dropping()
    before = float(sample_losses(model, SAMPLES, class_nll).mean())
    trained(model, SAMPLES, class_nll, Recipe(epochs=100, batch=5, lr=0.02))
    assert not model.training
    assert float(sample_losses(model, SAMPLES, class_nll).mean()) < 0.6 * before
    run = training(model, SAMPLES, class_nll, Recipe())
    next(run)
    assert model.training
    run.close()
    assert not model.training


def test_a_loss_that_is_not_finite_stops_at_its_step_before_it_does_harm():
    calls = []

    def breaks(model, batch):
        calls.append(None)
        terms = class_nll(model, batch)
        return Terms(terms.values * (float("nan") if len(calls) == 3 else 1.0), terms.weights)

    model = net()
    run = training(model, SAMPLES, breaks, Recipe(epochs=5, batch=4))
    assert [next(run).step, next(run).step] == [1, 2]
    good = parameters(model).clone()
    with pytest.raises(Diverged, match="step 3: the training loss is not a finite number"):
        next(run)
    assert torch.equal(parameters(model), good)
    assert not model.training


def test_frozen_parameters_stay():
    model = net()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    head = model[2].weight.detach().clone()
    trained(model, SAMPLES, class_nll, Recipe(epochs=1))
    assert torch.equal(model[0].weight, before)
    assert not torch.equal(model[2].weight, head)


def test_measuring_ignores_dropout_and_leaves_the_mode_as_it_was():
    model = dropping().train()
    plain = class_nll(net(), SAMPLES.batch(range(10))).values.detach().float()
    assert torch.allclose(sample_losses(model, SAMPLES, class_nll, batch=3), plain)
    assert torch.allclose(image_logits(model, SAMPLES, batch=3), net()(SAMPLES.pixels).detach().float())
    assert model.training


def test_a_monitor_looks_at_evenly_spread_samples():
    model, other = net(), images(7, 2)
    losses, others = (sample_losses(model, s, class_nll) for s in (SAMPLES, other))
    seen = Monitor(SAMPLES, other, None, class_nll, most=7).look(model)
    picked = losses[[0, 1, 2, 4, 5, 7, 8]]  # i · 10 // 7
    assert seen == {
        "forget_loss": pytest.approx(float(picked.mean()), abs=1e-6),
        "retain_loss": pytest.approx(float(others.mean()), abs=1e-6),
    }
    assert "heldout_loss" in Monitor(SAMPLES, other, other, class_nll).look(model)
