"""Targets: estimated without the forget set's training signal, with values and costs worked out by hand."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from ofmu.engine.measuring import sample_losses
from ofmu.engine.reset import reset_last
from ofmu.engine.targets import (
    ABSENT,
    Rows,
    absent_targets,
    base_token_targets,
    constant_token_targets,
    rank_quantile_targets,
    reference_targets,
    with_absent_labels,
)
from ofmu.engine.training import Recipe, trained
from ofmu.losses import class_nll, token_nll
from ofmu.tasks import Targets
from small import LN2, Table, Texts, flat, images, llama, net, texts

RECIPE = Recipe(epochs=20, batch=8, lr=0.01, seed=3)


class Watched:
    """Samples that write down which rows were drawn with gradients on (for training) and without."""

    def __init__(self, samples):
        self.samples, self.ids = samples, samples.ids
        self.trained_on, self.measured = set(), set()

    def __len__(self):
        return len(self.samples)

    def length(self, row):
        return self.samples.length(row)

    def batch(self, rows):
        (self.trained_on if torch.is_grad_enabled() else self.measured).update(rows)
        return self.samples.batch(rows)


def test_rank_quantiles_by_hand():
    # ranks 2, 0, 1 of three: u = 5/6, 1/6, 1/2; held-out quantiles of (0, 6): 5, 1, 3
    found = rank_quantile_targets(torch.tensor([0.9, 0.1, 0.5]), torch.tensor([6.0, 0.0]))
    assert [float(t) for t in found.values] == pytest.approx([5.0, 1.0, 3.0])
    assert found.cost == 0.0


def expected_targets(model, forget, retain, kept, unseen, own_scale):
    """The same in plain numpy: reset, train, rank, look the quantile up."""
    reference = copy.deepcopy(model)
    recipe = Recipe(epochs=2, batch=8, lr=0.01, seed=10)  # a tenth of 20 epochs, the seed moved by 7
    reset_last(reference, 1, 10)
    trained(reference, retain.subset(kept), class_nll, recipe)
    forget_losses = sample_losses(reference, forget, class_nll).numpy()
    scale = sample_losses(reference if own_scale else model, unseen, class_nll).numpy()
    u = [((forget_losses < x).sum() + 0.5) / len(forget_losses) for x in forget_losses]
    return np.quantile(scale, u)


def test_reference_targets_with_held_out_data():
    model, forget, retain, heldout = net(), images(6, 1), images(21, 2), images(9, 3)
    before = flat(list(model.parameters()))
    watched = [Watched(s) for s in (forget, retain, heldout)]
    found, reference = reference_targets(model, *watched, class_nll, RECIPE, layers=1)
    expected = expected_targets(model, forget, retain, list(range(21)), heldout, own_scale=False)
    assert torch.stack(found.values).tolist() == pytest.approx(expected, abs=1e-5)
    assert found.cost == pytest.approx(2 * 21 + (6 + 9) / 3)
    assert [w.trained_on for w in watched] == [set(), set(range(21)), set()]
    assert watched[0].measured == set(range(6))
    assert torch.equal(flat(list(model.parameters())), before)
    assert "trained on the retain set (last 1 layers reset, 2 epochs)" in found.source
    again = copy.deepcopy(model)  # what comes back beside the targets is the reference itself
    reset_last(again, 1, 10)
    trained(again, retain, class_nll, Recipe(epochs=2, batch=8, lr=0.01, seed=10))
    assert torch.equal(flat(list(reference.parameters())), flat(list(again.parameters())))


def test_reference_targets_without_held_out_data_keep_a_fold_of_the_retain_set_unseen():
    model, forget, retain = net(), images(6, 1), images(21, 2)
    watched = [Watched(s) for s in (forget, retain)]
    found, _ = reference_targets(model, *watched, None, class_nll, RECIPE, layers=1)
    fold, kept = [0, 10, 20], [row for row in range(21) if row % 10]
    expected = expected_targets(model, forget, retain, kept, retain.subset(fold), own_scale=True)
    assert torch.stack(found.values).tolist() == pytest.approx(expected, abs=1e-5)
    assert watched[0].trained_on == set()
    assert (watched[1].trained_on, watched[1].measured) == (set(kept), set(fold))
    assert found.cost == pytest.approx(2 * 18 + (6 + 3) / 3)
    assert "nine tenths of the retain set" in found.source


def test_a_short_reference_trains_at_least_one_epoch():
    found, _ = reference_targets(
        net(), images(3, 1), images(10, 2), images(6, 3), class_nll, Recipe(epochs=2, batch=4), layers=1
    )
    assert found.cost == pytest.approx(10 + (3 + 6) / 3)


def test_labels_that_no_retained_sample_has_get_the_constant():
    given = Targets([torch.tensor(x) for x in (0.1, 0.2, 0.3)], "given", 7.0)
    found = with_absent_labels(given, torch.tensor([0, 5, 1]), torch.tensor([1, 0, 0, 2]))
    assert [float(t) for t in found.values] == pytest.approx([0.1, math.log(1e4), 0.3])
    assert (found.source, found.cost) == ("given", 7.0)
    assert [float(t) for t in absent_targets(2).values] == pytest.approx([9.21034] * 2)
    assert pytest.approx(math.log(1e4)) == ABSENT


def test_rows_are_a_data_set_of_their_own():
    rows = Rows(images(8, 1), [6, 2, 4])
    assert (len(rows), list(rows.ids), rows.length(0)) == (3, ["1/6", "1/2", "1/4"], 1)
    batch = rows.batch([2, 0])
    assert batch.rows.tolist() == [2, 0]  # its own rows, by which targets are looked up
    assert torch.equal(batch.inputs["pixel_values"], images(8, 1).pixels[[4, 6]])
    assert Rows(texts(3, 1), [2]).length(0) == texts(3, 1).length(2)


def table(to_zero, to_one):
    rest = (1 - to_zero - to_one) / 2
    return Table([[to_zero, to_one, rest, rest]] * 4)


def test_constant_token_targets_are_the_mean_held_out_token_loss():
    # held-out tokens cost ln 2 twice and 2 ln 2 once: the mean over tokens, not over samples
    heldout = Texts([([0], [0, 0]), ([0], [1])])
    found = constant_token_targets(table(1 / 2, 1 / 4), 3, heldout, token_nll)
    assert [t.tolist() for t in found.values] == [pytest.approx(4 / 3 * LN2)] * 3
    assert found.cost == pytest.approx(2 / 3)


def test_base_token_targets_without_held_out_text_are_the_base_models_own():
    forget = Texts([([0], [1, 0]), ([0], [2])])
    found = base_token_targets(table(0.1, 0.1), table(1 / 2, 1 / 4), forget, None, token_nll)
    assert [t.tolist() for t in found.values] == [pytest.approx([2 * LN2, LN2]), pytest.approx([3 * LN2])]
    assert found.cost == pytest.approx(2 / 3)


def test_base_token_targets_are_mapped_to_the_models_level_on_held_out_text():
    # base → model on held-out text: ln 2 → 2 ln 2 and 2 ln 2 → 4 ln 2
    base, model = table(1 / 2, 1 / 4), table(1 / 4, 1 / 16)
    heldout = Texts([([0], [0]), ([0], [1])] * 25)
    forget = Texts([([0], [1, 0]), ([0], [2])])  # the last token costs the base 3 ln 2: beyond the range
    found = base_token_targets(model, base, forget, heldout, token_nll)
    assert [t.tolist() for t in found.values] == [
        pytest.approx([4 * LN2, 2 * LN2], abs=1e-5),
        pytest.approx([4 * LN2], abs=1e-5),
    ]
    assert found.cost == pytest.approx((2 + 2 * 50) / 3)


def test_a_llama_gives_one_target_for_each_answer_token():
    model, forget, heldout = llama(), texts(5, 1), texts(30, 2)
    found = base_token_targets(model, llama(1), forget, heldout, token_nll)
    assert [len(t) for t in found.values] == [len(answer) for _, answer in forget.pairs]
