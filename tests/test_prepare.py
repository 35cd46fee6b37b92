"""From a model and its data to a task: who sees what, and what is refused."""

from __future__ import annotations

import pytest
import torch

from ofmu.engine.measuring import token_losses
from ofmu.engine.prepare import Parts, Sources, prepare
from ofmu.engine.training import Recipe, trained
from ofmu.errors import UserError
from ofmu.losses import token_nll
from ofmu.methods import OFMU, build_method
from small import llama, texts

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
