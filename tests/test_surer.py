"""A short top is made as sure of held-out images as the original is, or part of the way; else it stays so."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ofmu.engine.ground import Ground, Search
from ofmu.engine.head_start import head_start
from ofmu.engine.measuring import image_logits
from ofmu.engine.surer import made_surer
from ofmu.engine.targets_known import Known
from ofmu.engine.training import Recipe, trained
from ofmu.engine.trial import Trial, trial_of
from ofmu.losses import class_nll
from ofmu.tasks import TensorSamples
from small import pictures

NEVER = Search(level=0.0)  # no test leaks


FORGET, RETAIN, HELDOUT = pictures(12, 1), pictures(60, 2), pictures(30, 3)


def original(*after: nn.Module) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3), *after)
    trained(made, RETAIN, class_nll, Recipe(epochs=30, batch=10, lr=0.02))
    return made


def trial(model: nn.Module, search: Search = NEVER, heldout: TensorSamples | None = HELDOUT) -> Trial:
    known = Known(model, FORGET, RETAIN, heldout, class_nll, Recipe(epochs=30, batch=10, lr=0.02), 3)
    made = trial_of(Ground(known, 1e6, search), 1)
    made.train(1.0)
    return made


def surety(logits: Tensor) -> float:
    return float(logits.softmax(-1).max(-1).values.mean())


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_logits_are_scaled_so_far_and_the_cost_is_counted(share):
    model = original()
    made = trial(model, replace(NEVER, surer=share))
    before, spent = image_logits(made.model, HELDOUT), made.tested
    wanted = surety(image_logits(model, HELDOUT))
    assert surety(before) < wanted - 0.02  # after an epoch of thirty
    factor = made_surer(made)
    after = image_logits(made.model, HELDOUT)
    torch.testing.assert_close(after, factor * before, rtol=1e-4, atol=1e-5)
    whole = 1 + (factor - 1) / share
    assert surety(whole * before) == pytest.approx(wanted, abs=1e-4)
    look = made.top.look
    kept = made.top.below * (12 + 30)  # the outputs of what is compared, made when first asked for
    assert made.tested - spent == pytest.approx(kept + (1 / 3 + look) * 30 + look * 8)


def test_a_top_that_is_sure_enough_stays_bit_for_bit():
    model = original()
    with torch.no_grad():
        for p in model[-1].parameters():
            p.mul_(0.01)
    made = trial(model)
    before = copy.deepcopy(made.model.state_dict())
    assert made_surer(made) is None
    assert all(torch.equal(before[name], value) for name, value in made.model.state_dict().items())


def test_a_last_layer_that_does_not_scale_the_logits_stays_bit_for_bit():
    made = trial(original(nn.Softsign()))
    before = copy.deepcopy(made.model.state_dict())
    with torch.no_grad():
        made.ground.known.model[-2].weight.mul_(50.0)  # the original is surer
    assert made_surer(made) is None
    assert all(torch.equal(before[name], value) for name, value in made.model.state_dict().items())


def test_nothing_is_scaled_or_spent_without_held_out_images_or_where_nobody_asks():
    for made in (trial(original(), heldout=None), trial(original(), replace(NEVER, surer=0.0))):
        spent = made.tested
        assert made_surer(made) is None
        assert made.tested == spent
        assert made.ground.sure == 0


def test_the_head_start_says_so_and_stays_within_its_budget():
    model = original()
    known = Known(model, FORGET, RETAIN, HELDOUT, class_nll, Recipe(epochs=30, batch=10, lr=0.02), 3)
    made = head_start(Ground(known, 250.0, NEVER))
    assert made.settled is not None
    assert "logits times 1." in made.notes[-1]
    assert made.cost < 250 + 10  # at most one batch over
    plain = head_start(Ground(known, 250.0, replace(NEVER, surer=0.0)))
    assert not any("logits" in note for note in plain.notes)
