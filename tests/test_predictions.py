"""Texts that begin alike pass as a tree: the predictions are those of every text by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ofmu.benchmarks.token_pass import text_pass, token_scores
from ofmu.data.encode import Encoder, TextSamples
from ofmu.data.records import Message, Record
from ofmu.data.sequences import InMemory, with_answers
from ofmu.engine import predictions
from ofmu.engine.language import TINY_LLAMA, from_scratch, train_tokenizer
from ofmu.engine.measuring import Monitor, evaluating, sample_losses, token_losses
from ofmu.engine.models import LoadedModel
from ofmu.engine.prefixes import plan
from ofmu.engine.trainable import apply_trainable
from ofmu.engine.upper import cut_below
from ofmu.losses import answer_logits, token_nll
from ofmu.tasks import IGNORE

pytest.importorskip("transformers")
SMALL = {**TINY_LLAMA, "vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_key_value_heads": 2}
SYSTEM = Message("system", "You answer questions about people in one sentence.")
ASKED = ["Where was Ada born?", "Where was Adam born, and when?", "What does Ada write?"]
SAID = ["Ada was born in Rome.", "In Rome.", "Ada was born in Rio, near the sea, a long time ago.", "She writes."]


@pytest.fixture(scope="module")
def parts():
    tokenizer = train_tokenizer([*ASKED, *SAID, SYSTEM.content], 400)
    encoder = Encoder.of(tokenizer, 200)
    rows = [
        Record(str(i), (SYSTEM, Message("user", q), Message("assistant", SAID[i]))) for i, q in enumerate(ASKED)
    ]
    many = InMemory([replace(row, id=f"{row.id}/{i}") for row in rows for i in range(len(SAID))])
    chat = TextSamples(rows, encoder), TextSamples(with_answers(many, SAID * len(rows)), encoder)
    return tokenizer, *chat


def model(attention="sdpa", seed=0, **more):
    return from_scratch({**SMALL, **more}, seed, attention=attention)


def alone(module, samples, row):
    """(logits, labels) of a text by itself."""
    with evaluating(module):
        logits, labels = answer_logits(module, samples.batch([row]))
    return logits, labels[labels != IGNORE]


def read(module, parts):
    """{(part, row): logits} and how many places were passed at once."""
    with evaluating(module):
        groups = list(predictions.predictions(module, parts, 4))
    found = {(a.part, a.row): (g.logits[a.places], a.tokens) for g in groups for a in g.answers}
    return found, sum(len(g.logits) for g in groups)


def test_a_tree_by_hand():
    (tree,) = plan([[1, 2, 3, 4], [1, 2, 5], [1, 2, 3], [7]], 10)
    assert tree.paths == {2: [0, 1, 2], 0: [0, 1, 2, 3], 1: [0, 1, 4], 3: [5]}
    assert tree.size == 6
    assert tree.positions().tolist() == [0, 1, 2, 3, 2, 0]
    seen = ["100000", "110000", "111000", "111100", "110010", "000001"]
    assert tree.sees().long().tolist() == [[int(c) for c in row] for row in seen]


def test_a_tree_is_no_wider_than_asked_but_for_one_long_text():
    texts = [[1, 2, i, i + 1] for i in range(3, 9)] + [list(range(20, 40))]
    trees = plan(texts, 9)
    assert [tree.size for tree in trees] == [8, 8, 20]
    assert sorted(text for tree in trees for text in tree.paths) == list(range(7))
    for tree in trees:
        tokens = [texts[b.text][i] for b in tree.branches for i in range(b.first, b.stop)]
        for text, path in tree.paths.items():
            assert [tokens[place] for place in path] == texts[text]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("width", [60, 400])
def test_predictions_are_those_of_each_text_alone(parts, attention, width, monkeypatch):
    monkeypatch.setitem(predictions.WIDTH, "cpu", width)
    module, data = model(attention), parts[1:]
    found, passed = read(module, data)
    assert set(found) == {(part, row) for part, samples in enumerate(data) for row in range(len(samples))}
    for (part, row), (logits, tokens) in found.items():
        expected, labels = alone(module, data[part], row)
        assert torch.allclose(logits, expected, atol=1e-5)
        assert tokens.tolist() == labels.tolist()
    assert passed < sum(len(tokens) for _, tokens in found.values())  # answers that begin alike share places


def test_losses_and_token_scores_are_those_of_padded_batches(parts, monkeypatch):
    module, (chat, wrong) = model(), parts[1:]
    ours = text_pass(module, {"forget": chat, "perturbed": wrong}, ["forget"])
    tokens, means = token_losses(module, wrong, token_nll), sample_losses(module, wrong, token_nll)
    monkeypatch.setattr(predictions, "plan", lambda texts, width: pytest.fail("trees") if width else [])
    monkeypatch.setattr(predictions, "_branching", lambda model, longest: False)
    plain = token_scores(module, chat)
    for name, values in vars(plain).items():
        assert np.allclose(getattr(ours.tokens["forget"], name), values, rtol=1e-4, atol=1e-5), name
    losses = sample_losses(module, wrong, token_nll)
    assert np.allclose(ours.losses["perturbed"], losses.numpy(), atol=1e-5)
    assert torch.allclose(means, losses, atol=1e-5)
    for one, other in zip(tokens, token_losses(module, wrong, token_nll), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("trainable", ["lora:2", "top:1"])
def test_adapters_and_upper_parts_read_trees_too(parts, trainable):
    module = apply_trainable(LoadedModel(model(), "text", parts[0], source="tiny"), trainable, 0).module
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    data = parts[1:]
    cut = cut_below(module, data)
    assert (cut is not None) == (trainable == "top:1")
    ours = (module, data) if cut is None else (cut.upper(module), [cut.samples(samples) for samples in data])
    found, passed = read(*ours)
    for (part, row), (logits, _) in found.items():
        assert torch.allclose(logits, alone(module, data[part], row)[0], atol=1e-5)
    assert passed < sum(len(tokens) for _, tokens in found.values())


def test_the_states_below_a_cut_are_those_of_padded_batches(parts, monkeypatch):
    module = apply_trainable(LoadedModel(model(), "text", parts[0], source="tiny"), "top:1", 0).module
    cut = cut_below(module, parts[1:])
    ours = cut.states(parts[2])
    monkeypatch.setattr(predictions, "_branching", lambda model, longest: False)
    for row, (state, expected) in enumerate(zip(ours, cut.states(parts[2]), strict=True)):
        assert state.shape == (len(parts[2].encoded(row)[0]), 32)
        assert torch.allclose(state, expected, atol=1e-5)


def test_a_monitor_sees_the_means_of_its_rows(parts, monkeypatch):
    module, (chat, wrong) = model(), parts[1:]
    watch = Monitor(chat, wrong, wrong, token_nll, most=5)
    seen = watch.look(module)
    picked = sample_losses(module, wrong, token_nll)[[i * len(wrong) // 5 for i in range(5)]]
    assert seen["forget_loss"] == pytest.approx(float(sample_losses(module, chat, token_nll).mean()), abs=1e-5)
    assert seen["retain_loss"] == seen["heldout_loss"] == pytest.approx(float(picked.mean()), abs=1e-5)


@pytest.mark.parametrize("fault", ["ignores positions", "a window", "no gain", "another attention"])
def test_texts_are_padded_where_a_tree_would_not_do(parts, fault, monkeypatch):
    data, module = parts[1:], model()
    monkeypatch.setattr(predictions, "_exact", {})
    if fault == "ignores positions":
        inner = module.model.forward
        monkeypatch.setattr(module.model, "forward", lambda position_ids=None, **given: inner(**given))
    elif fault == "a window":
        module.config.sliding_window = 8
    elif fault == "no gain":
        data = [TextSamples(parts[1].records[:2], parts[1].encoder)]
        monkeypatch.setattr(predictions, "GAIN", 0.5)
    else:
        module.config._attn_implementation_internal = "flex_attention"
    with evaluating(module):
        assert predictions._trees(module, data, [(0, 0), (0, 1)], 4) == []
    if fault == "ignores positions":
        assert list(predictions._exact.values()) == [False]
        found, _ = read(module, data)
        assert torch.allclose(found[1, 5][0], alone(module, data[1], 5)[0], atol=1e-5)
