"""Passing through the upper part of a model gives the whole model's numbers, and is refused where it would not."""

import pytest
import torch

from ofmu.data.encode import Encoder, TextSamples
from ofmu.data.people import people
from ofmu.engine.language import TINY_LLAMA, from_scratch, train_tokenizer
from ofmu.engine.measuring import sample_losses
from ofmu.engine.models import LoadedModel
from ofmu.engine.trainable import apply_trainable
from ofmu.engine.training import Recipe, trained
from ofmu.engine.upper import cut_below
from ofmu.losses import token_nll
from small import disturb

pytest.importorskip("transformers")
SMALL = {**TINY_LLAMA, "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4}


@pytest.fixture(scope="module")
def data():
    world = people(0, forget=1, retain=1, heldout=1, unseen=1, questions=8)
    texts = [turn.content for record in [*world.forget, *world.retain] for turn in record.messages]
    tokenizer = train_tokenizer(texts, 512)
    encoder = Encoder.of(tokenizer, 256)
    return tokenizer, TextSamples(world.forget, encoder), TextSamples(world.retain, encoder)


def model(data, spec="top:2", seed=0):
    loaded = LoadedModel(from_scratch(SMALL, seed, attention="sdpa"), "text", data[0], source="tiny")
    return apply_trainable(loaded, spec).module


@pytest.mark.parametrize("spec", ["top:2", "lora:2,top:2"])
def test_losses_and_gradients_are_those_of_the_whole_model(data, spec):
    whole = model(data, spec)
    disturb(whole)
    cut = cut_below(whole, data[1:])
    assert cut.first == 2
    upper, kept = cut.upper(whole), cut.samples(data[1])
    assert kept is cut.samples(data[1])
    assert kept.ids == data[1].ids
    assert torch.allclose(
        sample_losses(upper, kept, token_nll), sample_losses(whole, data[1], token_nll), atol=1e-5
    )
    params = [p for p in whole.parameters() if p.requires_grad]
    assert {id(p) for p in upper.parameters() if p.requires_grad} == {id(p) for p in params}
    rows = [0, 3, 5]
    ours = torch.autograd.grad(token_nll(upper, kept.batch(rows)).mean(), params)
    theirs = torch.autograd.grad(token_nll(whole, data[1].batch(rows)).mean(), params)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, theirs, strict=True))


def test_a_model_without_an_adapter_shares_the_lower_part_of_one_with_it(data):
    whole, plain = model(data, "lora:2,top:2"), model(data)
    cut = cut_below(whole, data[1:])
    losses = sample_losses(cut.upper(plain), cut.samples(data[1]), token_nll)
    assert torch.allclose(losses, sample_losses(plain, data[1], token_nll), atol=1e-5)


def test_training_the_upper_part_trains_the_whole_model(data):
    recipe = Recipe(epochs=2, batch=4, lr=1e-2, rule="adamw")
    plain, whole = model(data), model(data)
    trained(plain, data[1], token_nll, recipe)
    cut = cut_below(whole, [data[1]])
    trained(cut.upper(whole), cut.samples(data[1]), token_nll, recipe)
    for (name, a), b in zip(plain.named_parameters(), whole.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-3), name
    assert not torch.equal(
        whole.model.layers[3].mlp.up_proj.weight, model(data).model.layers[3].mlp.up_proj.weight
    )


def test_another_model_has_an_upper_part_only_with_the_same_lower_part(data):
    whole, other, stranger = model(data), model(data), model(data, seed=1)
    with torch.no_grad():
        other.model.layers[3].mlp.up_proj.weight.add_(1.0)
    cut = cut_below(whole, data[1:])
    assert cut.upper(stranger) is None
    losses = sample_losses(cut.upper(other), cut.samples(data[1]), token_nll)
    assert torch.allclose(losses, sample_losses(other, data[1], token_nll), atol=1e-4)
    assert not torch.allclose(losses, sample_losses(whole, data[1], token_nll), atol=1e-2)


@pytest.mark.parametrize("spec", ["full", "top:4", "lora:2"])
def test_nothing_is_cut_where_nothing_below_is_frozen(data, spec):
    assert cut_below(model(data, spec), data[1:]) is None


def test_nothing_is_cut_where_dropout_is_on_or_the_data_are_large(data, monkeypatch):
    whole = model(data)
    whole.config.attention_dropout = 0.1
    assert cut_below(whole, data[1:]) is None
    whole.config.attention_dropout = 0.0
    monkeypatch.setattr("ofmu.engine.upper.MOST_BYTES", 1000)
    assert cut_below(whole, data[1:]) is None


def test_a_model_that_changes_its_inputs_is_found_out(data):
    """As models do that scale embeddings, or add positions to them, inside their forward pass."""
    whole = model(data)
    plain = type(whole.model)

    class Scaling(plain):
        def forward(self, input_ids=None, inputs_embeds=None, **named):
            embedded = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
            return plain.forward(self, inputs_embeds=3.0 * embedded, **named)

    whole.model.__class__ = Scaling
    assert cut_below(whole, data[1:]) is None
