"""Where OFMU begins on images: what held-out data say of the frozen layers, and what follows from it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ofmu import TorchOracle, unlearn
from ofmu.core.ranks import weighted_quantiles
from ofmu.engine.ground import Ground, Search
from ofmu.engine.head_start import head_start
from ofmu.engine.heads import reset_top
from ofmu.engine.kept import KeptLater
from ofmu.engine.leak import absent_leak, leak_of, own_targets
from ofmu.engine.matching import Traits
from ofmu.engine.prepare import Parts, Sources, prepare
from ofmu.engine.reset import reset_last
from ofmu.engine.targets_known import Known
from ofmu.engine.training import Recipe, trained
from ofmu.engine.trial import Trial, restart_of, trial_of
from ofmu.losses import class_nll
from ofmu.methods import OFMU, build_method
from ofmu.tasks import TensorSamples
from small import flat, pictures

RECIPE = Recipe(epochs=6, batch=10, lr=0.02)
ALWAYS, NEVER = Search(level=1.1), Search(level=0.0)  # p < level: every test leaks, none does


def mlp(depth: int = 5, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inner = [layer for _ in range(depth - 1) for layer in (nn.Linear(6, 6), nn.Tanh())]
        return nn.Sequential(*inner, nn.Linear(6, 3))


FORGET, RETAIN, HELDOUT = pictures(12, 1), pictures(60, 2), pictures(30, 3)
PARTS = Parts(FORGET, RETAIN, HELDOUT)


@pytest.fixture(scope="module")
def model():
    made = mlp()
    trained(made, RETAIN, class_nll, replace(RECIPE, epochs=10))
    return made


def ground(model, search=NEVER, budget=1e6, recipe=RECIPE, parts=PARTS) -> Ground:
    known = Known(model, parts.forget, parts.retain, parts.heldout, class_nll, recipe, 3)
    return Ground(known, budget, search)


# --- the evidence


def test_weighted_quantiles_by_hand():
    """Points ((.5, 1), (2, 2), (3.5, 3)) over 4."""
    u = torch.tensor([0.0, 0.125, 0.3125, 0.5, 0.6875, 1.0])
    found = weighted_quantiles(u, torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, 2.0]))
    assert found.tolist() == pytest.approx([1, 1, 1.5, 2, 2.5, 3])
    assert weighted_quantiles(torch.tensor([0.2, 0.9]), torch.tensor([4.0]), torch.ones(1)).tolist() == [4, 4]


def alike(n: int, label: int = 0) -> Traits:
    """Samples of one class, all as easy."""
    return Traits(torch.full((n,), label), torch.zeros(n, dtype=torch.float64))


def test_the_test_is_welchs_on_confidences():
    rng = np.random.RandomState(0)
    a, b = rng.rand(40), rng.rand(70) * 0.8
    same = alike(40), alike(70)
    leak = leak_of(-torch.tensor(a).log(), -torch.tensor(b).log(), *same)
    z = (a.mean() - b.mean()) / np.sqrt(a.var(ddof=1) / 40 + b.var() / 70)
    assert leak.excess == pytest.approx(100 * (a.mean() - b.mean()))
    assert leak.p == pytest.approx(0.5 * torch.erfc(torch.tensor(z / 2**0.5, dtype=torch.float64)).item())
    assert leak.found(0.05) == (z > 1.6449)
    assert not replace(leak, p=0.04, excess=9.9).found(0.005)
    assert replace(leak, p=0.04, excess=10.0).found(0.005)  # as plain as can be with few samples
    assert not replace(leak, p=0.06, excess=50.0).found(0.005)
    back = leak_of(-torch.tensor(b).log(), -torch.tensor(a).log(), *reversed(same))
    assert back.p > 0.9


def test_an_easier_mix_of_classes_is_no_leak():
    """Class 0 scores .9 wherever it is, class 1 scores .3; the forget set is all of class 0."""
    forget, heldout = torch.full((30,), 0.1), torch.tensor([0.1, 1.2] * 30)
    forget[::2] += 0.01
    both = Traits(torch.tensor([0, 1] * 30), alike(60).ease)
    assert not leak_of(forget, heldout, alike(30), both).found(0.05)
    assert leak_of(forget, heldout, alike(30), alike(60)).found(0.05)
    assert leak_of(forget, heldout, alike(30, 7), both) is None


def test_an_easier_forget_set_is_no_leak_but_a_remembered_one_is():
    """Confidence is .2 + .6 ease and some noise, seen or not; the forget samples are the easy ones."""
    rng = torch.Generator().manual_seed(0)
    ease = torch.rand(400, generator=rng, dtype=torch.float64)
    easy = 0.5 + 0.5 * torch.rand(100, generator=rng, dtype=torch.float64)
    noise = 0.1 * torch.rand(500, generator=rng, dtype=torch.float64)
    theirs, ours = (0.2 + 0.6 * torch.cat([ease, easy]) + noise).split([400, 100])
    labels = torch.zeros(500, dtype=torch.int64)
    traits = Traits(labels[:100], easy), Traits(labels[:400], ease)
    assert leak_of(-ours.log(), -theirs.log(), *(each.of_classes() for each in traits)).found(1e-9)
    found = leak_of(-ours.log(), -theirs.log(), *traits)
    assert abs(found.excess) < 1
    assert not found.found(0.05)
    assert leak_of(-(ours + 0.15).clamp_max(0.99).log(), -theirs.log(), *traits).found(0.005)
    # what the ease moves, .6 · (.75 − .50), is known to a fifth: a standard error of .03
    just = [leak_of(-(ours + 0.03).log(), -theirs.log(), *traits, unsure).p for unsure in (0.0, 0.2)]
    assert just[0] < 0.02
    assert 0.1 < just[1] < 0.5


def test_a_forgotten_label_must_be_all_but_gone():
    assert absent_leak(torch.full((5,), 4.0)).found(0.005)  # p(label) = .018
    assert not absent_leak(torch.full((5,), 5.0)).found(0.005)  # .0067


def test_what_lies_at_its_level_is_left_alone():
    forget, heldout = torch.tensor([0.1, 9.0, 0.2, 1.5]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    # ranks 1/8, 7/8, 3/8, 5/8 are at the points of the four held-out losses
    assert own_targets(forget, heldout, alike(4), alike(4)).tolist() == pytest.approx([1, 9, 2, 3])
    assert own_targets(forget, heldout, alike(4, 1), alike(4)).tolist() == pytest.approx([1, 9, 2, 3])


# --- the search


def test_outputs_kept_on_demand_are_those_kept_at_once(model):
    import copy

    first, later = (reset_top(copy.deepcopy(model), RETAIN, 2, 7, later=on) for on in (False, True))
    assert isinstance(later.samples, KeptLater)
    assert later.once == 0
    rows = [5, 3, 40]
    for _ in range(2):
        got, want = later.samples.batch(rows), first.samples.batch(rows)
        assert torch.allclose(got.inputs["pixel_values"], want.inputs["pixel_values"], atol=1e-6)
        assert torch.equal(got.labels, want.labels)
        assert later.once == pytest.approx(3 * first.below)
    assert first.once == pytest.approx(60 * first.below)


def test_without_a_leak_two_layers_are_reset_and_nothing_is_left_to_do(model):
    before = flat(list(model.parameters())).clone()
    made = prepare(model, "image", PARTS, OFMU.image(1e-3), Sources(recipe=RECIPE), 3, budget=1e6, search=NEVER)
    assert made.layers == 2
    assert "6 of 6 epochs" in made.notes[-1]
    assert torch.equal(flat(list(model.parameters())), before)
    made.begin(begun := mlp())
    frozen = [torch.equal(a, b) for a, b in zip(begun.parameters(), model.parameters(), strict=True)]
    assert frozen == [True] * 6 + [False] * 4
    start = flat(list(begun.parameters())).clone()
    events = list(unlearn(made.task, OFMU.image(1e-3), TorchOracle(begun), 50))
    assert [event.last for event in events] == ["nothing to forget scores above held-out data"]
    assert torch.equal(flat(list(begun.parameters())), start)
    again = prepare(model, "image", PARTS, OFMU.image(1e-3), Sources(recipe=RECIPE), 3, budget=1e6, search=NEVER)
    assert all(torch.equal(again.start[name], value) for name, value in made.start.items())


@pytest.mark.parametrize("budget", [100.0, 150.0, 220.0])
def test_a_head_start_fits_itself_to_the_budget(model, budget):
    made = head_start(ground(model, budget=budget))
    assert made.layers == 2
    assert 0.6 * budget < made.cost < budget + 10  # at most one batch over


def test_deeper_while_it_leaks_then_two_layers_anew_and_all_trained(model):
    asked = ground(model, replace(ALWAYS, deepest=4, longest=6.0))
    made = head_start(asked)
    assert [note.split(" reset")[0] for note in made.notes[:-1]] == ["last 2 layers", "last 4 layers"]
    assert "begun with the last 2 layers reset and all trained 6 of 6 epochs" in made.notes[-1]
    assert made.layers == 0
    assert made.settled is None  # the rounds go on from here
    assert len(made.targets.values) == 12
    expected = mlp()
    expected.load_state_dict(model.state_dict())
    reset_last(expected, 2, 3 + 31)
    trained(expected, RETAIN, class_nll, replace(RECIPE, seed=3 + 31))
    assert all(torch.equal(made.state[name], value) for name, value in expected.state_dict().items())
    tests = (3 * 2 + 1) * 42 / 3  # at most: two tops at both looks, all layers at the end; 42 samples each
    assert 6 * 60 < made.cost - asked.matching < 6 * 60 + 4 * 60 + tests + made.targets.cost
    assert asked.matching > 0
    default = head_start(ground(model, replace(ALWAYS, longest=6.0)))
    assert [note.split(" reset")[0] for note in default.notes[:-1]] == ["last 2 layers"]
    assert default.cost < made.cost


def test_after_a_restart_rounds_repair_even_where_nothing_leaks(model, monkeypatch):
    found = iter([True, False])  # at the first look; after the restart
    monkeypatch.setattr(Trial, "leaky", property(lambda _: next(found)))
    made = head_start(ground(model, ALWAYS))
    assert made.settled is None
    assert made.targets is not None


@pytest.mark.parametrize(("much", "restarted"), [(-101.0, True), (101.0, False)])
def test_a_restart_of_less_than_half_an_epoch_is_made_where_much_is_remembered(model, much, restarted):
    asked = ground(model, replace(ALWAYS, much=much), budget=130)
    made = head_start(asked)
    assert (made.layers == 0) is restarted
    assert (made.state is not None) is restarted
    model_as_it_is = "begun with the model as it is"
    said = "begun with the last 2 layers reset and all trained 0." if restarted else model_as_it_is
    assert said in made.notes[-1]
    least = ground(model, replace(ALWAYS, much=much), budget=70)
    assert model_as_it_is in head_start(least).notes[-1]  # not a tenth of an epoch is left


def test_a_restart_takes_its_share_of_the_budget_and_leaves_no_layer_frozen(model):
    made = head_start(ground(model, replace(ALWAYS, longest=6.0), budget=360))
    assert 0.5 * 360 < made.cost < 0.75 * 360  # .6, with what the top that was left and the tests took
    frozen = mlp()
    frozen[0].requires_grad_(False)
    assert "begun with the model as it is" in head_start(ground(frozen, ALWAYS)).notes[-1]


def test_a_restart_is_no_longer_than_is_of_use(model):
    made = head_start(ground(model, replace(ALWAYS, longest=2.0)))
    assert "all trained 2 of 6 epochs" in made.notes[-1]
    assert made.targets is not None


@pytest.mark.parametrize(("apiece", "restarted"), [(10.0, False), (11.0, True)])
def test_a_short_restart_is_not_made_for_few_forget_samples(model, apiece, restarted):
    """A budget of 130 for twelve: 10.8 each, of which half an epoch cannot be paid."""
    asked = replace(ALWAYS, much=-101.0, apiece=apiece)
    assert (head_start(ground(model, asked, budget=130)).state is not None) is restarted
    assert head_start(ground(model, replace(asked, apiece=0.0), budget=360)).state is not None  # a longer one is


def test_rounds_from_the_model_itself_where_half_an_epoch_is_too_much(model):
    made = head_start(ground(model, ALWAYS, budget=70))
    assert "begun with the model as it is" in made.notes[-1]
    assert made.state is None
    assert made.settled is None
    assert len(made.targets.values) == 12
    assert made.cost > made.targets.cost == pytest.approx((12 + 30) / 3)


def test_rounds_from_the_model_itself_where_no_top_can_learn_anew(model):
    tight = ground(model, budget=40)
    made = head_start(tight)
    assert "last 2 layers reset: not tried" in made.notes[0]
    assert "begun with the model as it is" in made.notes[-1]
    assert made.cost == pytest.approx(made.targets.cost + tight.matching)  # nothing went into a top
    assert head_start(ground(model, replace(NEVER, shortest=0.1), budget=40)).layers == 2
    assert head_start(ground(model, replace(NEVER, fixed=2), budget=40)).layers == 2


def test_a_leak_at_the_end_is_left_to_the_rounds(model):
    late = replace(ALWAYS, looks=())
    made = prepare(model, "image", PARTS, OFMU.image(1e-2), Sources(recipe=RECIPE), 3, budget=900, search=late)
    assert made.layers == 2
    assert made.task.settled is None
    made.begin(begun := mlp())
    losses = class_nll(begun.eval(), FORGET.batch(range(12))).values.detach()
    assert bool((made.task.targets.per_sample >= losses - 1e-6).all())
    event = next(iter(unlearn(made.task, OFMU.image(1e-2), TorchOracle(begun), 50)))
    assert event.log.numbers["repairs"] >= 0


def test_a_class_takes_one_layer(model):
    rows = [i for i, label in enumerate(RETAIN.labels.tolist()) if label]
    parts = Parts(pictures(8, 4, classes=1), RETAIN.subset(rows), None)
    made = head_start(ground(model, Search(), recipe=replace(RECIPE, epochs=60, lr=0.05), parts=parts))
    assert made.layers == 1
    assert made.settled == "no forgotten label is predicted any more"


def test_nothing_is_called_forgotten_in_a_model_that_was_not_begun(model):
    rows = [i for i, label in enumerate(RETAIN.labels.tolist()) if label]
    parts = Parts(pictures(8, 4, classes=1), RETAIN.subset(rows), None)
    recipe, method = replace(RECIPE, epochs=60, lr=0.05), OFMU.image(1e-3)
    made = prepare(model, "image", parts, method, Sources(recipe=recipe), 3, budget=1e6)
    assert made.task.settled is not None
    with pytest.raises(ValueError, match=r"call Prepared.begin\(model\) first"):
        list(unlearn(made.task, method, TorchOracle(model), 5))
    made.begin(model)
    (event,) = unlearn(made.task, method, TorchOracle(model), 5)
    assert event.last == "no forgotten label is predicted any more"


class Twice(nn.Module):
    """Its first layer is called twice, so that it cannot be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(self.first(pixel_values)).tanh()))


def test_where_there_is_no_head_start_the_run_begins_as_without_one(model):
    recipe, safeguarded = Sources(recipe=replace(RECIPE, epochs=2)), build_method("ofmu-safeguarded", "image")
    for given, parts, why in (
        (Twice(), PARTS, "is called twice"),
        (model, Parts(FORGET, RETAIN), "without held-out data"),
    ):
        made = prepare(given, "image", parts, OFMU.image(1e-3), recipe, 3)
        plain = prepare(given, "image", parts, safeguarded, recipe, 3)
        assert why in made.notes[-1]
        assert made.layers is None
        assert (made.start is None) == (plain.start is None)
        assert torch.equal(made.task.targets.per_sample, plain.task.targets.per_sample)


@pytest.mark.parametrize(
    ("epochs", "least", "share"), [(4.0, 0.5, 0.6), (2.0, 0.5, 0.5), (2.0, 1.0, 1.0), (6.0, 0.5, 1.0)]
)
def test_a_short_start_makes_as_many_passes_as_the_recipe_over_what_it_has_fitted_least(
    model, epochs, least, share
):
    trial = restart_of(ground(model, Search(hardest=least)))
    assert trial.train(epochs)
    assert trial.share == pytest.approx(share)
    assert (
        trial.trained == epochs * len(RETAIN) == len(RETAIN) * trial.epochs
    )  # what is met again is paid for again, and nothing else


def test_a_short_start_takes_no_more_than_it_was_given_where_the_last_batch_of_an_epoch_is_short(model):
    trial = restart_of(ground(model, Search(hardest=0.5), recipe=replace(RECIPE, batch=25)))
    assert trial.train(3.0)
    assert trial.trained == pytest.approx(3 * len(RETAIN), abs=25)
    assert trial.epochs == pytest.approx(3, abs=25 / 60)


def test_with_no_time_for_one_epoch_the_last_layer_has_all_epochs_on_a_part():
    """A class that D_r has not; the budget pays for kept outputs of half of D_r and the steps on them."""
    rows = [i for i in range(len(RETAIN)) if RETAIN.labels[i] != 2]
    gone = [i for i in range(len(RETAIN)) if RETAIN.labels[i] == 2]
    retain, forget = (
        TensorSamples(RETAIN.pixels[r], RETAIN.labels[r], [RETAIN.ids[i] for i in r]) for r in (rows, gone)
    )
    here = ground(mlp(30), Search(), parts=Parts(forget, retain, HELDOUT))
    trial = trial_of(here, 1)
    n, top = len(retain), trial.top
    wanted = n / 2 * (top.below + RECIPE.epochs * top.share)
    epochs = trial.affords(wanted + here.tested * (top.below + 3 * top.look))
    assert epochs < 1
    assert trial.train(epochs)
    assert top.samples.done == pytest.approx(n / 2, abs=1)
    assert trial.epochs == pytest.approx(RECIPE.epochs / 2, abs=RECIPE.epochs / n)
    assert top.once + trial.trained == pytest.approx(wanted, rel=0.05)


def test_the_notes_say_that_a_short_start_met_the_least_fitted_again(model):
    top = reset_top(mlp(), RETAIN, 2, 0)
    found = head_start(ground(model, NEVER, budget=2.0 * top.share * len(RETAIN) + 2 * top.below * 90))
    assert "on the 50% that it had fitted least" in " ".join(found.notes)
    whole = head_start(ground(model, NEVER))
    assert "least" not in whole.notes[-1]
