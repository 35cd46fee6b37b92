"""What a run has not reached, on problems where it is known; numbers that a command is given or must not show."""

from dataclasses import replace

import pytest
import torch

from ofmu.cli import attack
from ofmu.cli.attack_options import AttackOptions
from ofmu.cli.budget import budget_of, samples_allowed
from ofmu.cli.train import train
from ofmu.cli.train_options import TrainOptions
from ofmu.core.oracle import TorchOracle
from ofmu.engine.prepare import Parts
from ofmu.engine.provenance import Provenance
from ofmu.engine.training import Recipe
from ofmu.errors import UserError
from ofmu.evidence.case import Case
from ofmu.evidence.relearning import relearning
from ofmu.losses import NLL, Bounded, class_nll
from ofmu.methods import OFMU
from ofmu.methods.exit_rule import LOST, mean_over
from ofmu.tasks import Stream, Targets, Task
from small import images, net

METHOD = OFMU(forget=Bounded(), hold=0.9)


def task(tau, retain_level, unseen_level):
    forget, retain = images(12, 1), images(40, 2)
    targets = None if tau is None else Targets([torch.tensor(tau)] * 12, "given")
    levels = {"retain_level": retain_level, "unseen_level": unseen_level}
    streams = Stream(forget, 1), Stream(retain, 2)
    return Task("image", class_nll, *streams, targets, forget_batch=5, retain_batch=7, **levels)


def means(given, oracle):
    return [mean_over(s.samples, 5, oracle, given.loss) for s in (given.forget, given.retain)]


def test_the_mean_is_that_of_all_rows_or_of_some_evenly_spread():
    given, oracle = task(None, 0.0, None), TorchOracle(net())
    losses = class_nll(oracle.model, given.retain.samples.batch(range(40))).per_sample().detach()
    assert means(given, oracle)[1] == pytest.approx(float(losses.mean()))
    some = mean_over(given.retain.samples, 3, oracle, given.loss, 10)
    assert some == pytest.approx(float(losses[::4].mean()))


def test_what_lies_below_its_target_is_said_with_both_numbers():
    oracle = TorchOracle(net())
    high = float(class_nll(oracle.model, images(12, 1).batch(range(12))).per_sample().detach().max())
    level = means(task(None, 0.0, None), oracle)[1]
    (said,) = METHOD.missed(task(3 * high, level, level + 1), oracle)
    assert said.startswith("the forget objective is ")
    assert f"{0.9 * 3 * high:.3g} is asked for" in said
    assert METHOD.missed(task(1e-3, level, level + 1), oracle) == []  # every sample is at its bound
    assert replace(METHOD, hold=None).missed(task(3 * high, level, level + 1), oracle) == []


def test_rows_to_keep_that_are_lost_are_said_to_be():
    oracle = TorchOracle(net())
    now = means(task(None, 0.0, None), oracle)[1]
    unseen = now + 1.0

    def before(lost):
        """The retain level of which `lost` of the way to the unseen level leads to what is now."""
        return (now - lost * unseen) / (1 - lost)

    (said,) = METHOD.missed(task(None, before(1.1 * LOST), unseen), oracle)
    assert said.startswith("the rows to keep are not known as before")
    assert METHOD.missed(task(None, before(0.9 * LOST), unseen), oracle) == []
    assert METHOD.missed(task(None, before(1.1 * LOST), None), oracle) == []  # nothing says what is unseen
    assert replace(METHOD, slack=None).missed(task(None, before(1.1 * LOST), unseen), oracle) == []


def test_the_printed_algorithm_asks_for_nothing():
    assert OFMU.paper().missed(task(None, 0.0, 1.0), TorchOracle(net())) == []
    assert OFMU.paper().forget == NLL()


@pytest.mark.parametrize(
    ("given", "expected"), [(None, (None, None)), (12, (12.0, None)), ("12", (12.0, None)), (" 5% ", (None, 0.05))]
)
def test_a_budget_is_a_number_of_gradients_or_a_share(given, expected):
    assert budget_of(given) == expected


def test_a_share_is_one_of_the_recipes_epochs_on_the_retain_set():
    known = Provenance(Recipe(epochs=20), "scratch", "", 3000)
    assert samples_allowed("5%", "image", 3000, known) == pytest.approx(0.05 * 20 * 3000)
    assert samples_allowed("5%", "image", 3000, None) == pytest.approx(0.05 * 30 * 3000)  # the usual recipe
    assert samples_allowed(2, "text", 3000, known) == 32
    assert samples_allowed(None, "image", 3000, known) == pytest.approx(100 * 256)  # at least so much
    assert samples_allowed(None, "image", 10**6, known) == pytest.approx(0.4 * 20 * 10**6)


def test_the_page_of_an_attack_does_not_print_the_value_that_picks_the_rows():
    options = AttackOptions(model="m", forget_where="person=Petra Mondragor")
    assert "Petra" not in attack._command(attack._without_names(options))
    assert attack._without_names(options).forget_where == "person=…"
    assert attack._without_names(AttackOptions(model="m")).forget_where is None


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"epochs": float("nan")}, "--epochs: found nan"),
        ({"epochs": -1.0}, "--epochs: found -1"),
        ({"lr": 0.0}, "--lr: found 0"),
        ({"batch": 0}, "--batch: found 0"),
        ({"seed": -3}, "--seed: found -3"),
        ({"checkpoint_every": 0}, "--checkpoint-every: found 0"),
    ],
)
def test_training_refuses_numbers_that_cannot_be_before_it_loads_anything(given, found):
    with pytest.raises(UserError, match=found):
        train(TrainOptions(model="cnn", data="nowhere", out="nowhere/out", **given))


def test_relearning_with_too_few_unseen_rows_is_not_tested_and_says_so():
    case = Case("image", net(0), Parts(images(20, 1), images(20, 2), images(6, 3)), (net(1),), net(2))
    found = relearning(case, "unrelated", 2)  # half of the six are trained on
    assert found.missing == "too few rows to train on some and ask for others"
