"""Controls: what a memorising language model gives away, and how often retrained models raise a false alarm."""

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from scipy.stats import binomtest

from ofmu.data.encode import Encoder, TextSamples
from ofmu.data.people import people
from ofmu.engine.language import from_scratch, train_tokenizer
from ofmu.engine.models import LoadedModel
from ofmu.engine.prepare import Parts
from ofmu.engine.trainable import apply_trainable
from ofmu.engine.training import Recipe, trained
from ofmu.evidence import sampling as module
from ofmu.evidence.case import Case
from ofmu.evidence.elicit import elicit
from ofmu.evidence.finding import corrected
from ofmu.evidence.inside import logit_lens, probes
from ofmu.evidence.membership import gradient_norm, one_query
from ofmu.evidence.perturb import noisy, pruned, quantised
from ofmu.evidence.plan import choose, run
from ofmu.evidence.relearning import relearning
from ofmu.evidence.rows import joined
from ofmu.evidence.sampling import leak_at_k
from ofmu.evidence.weights import adapter
from ofmu.losses import class_nll, token_nll
from small import images

TEXT = Recipe(epochs=20, batch=10, lr=1e-2, rule="adamw")


@pytest.fixture(scope="module")
def texts():
    torch.set_num_threads(1)
    world = people(3, forget=4, retain=4, heldout=4, unseen=0, questions=6)
    rows = [*world.retain, *world.heldout]
    tokenizer = train_tokenizer([turn.content for record in rows for turn in record.messages], 400)
    config = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 512}
    config |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    encoder = Encoder.of(tokenizer, 512)
    parts = Parts(*(TextSamples(part, encoder) for part in (world.forget, world.retain, world.heldout)))
    original, retrain = from_scratch(config, 0), from_scratch(config, 1)
    trained(original, joined([parts.retain, parts.forget]), token_nll, TEXT)
    trained(retrain, parts.retain, token_nll, replace(TEXT, seed=1))
    return Case("text", original, parts, (retrain,), original, encoder=encoder, recipe=TEXT)


def test_texts_that_were_memorised_are_found_by_every_way_of_asking(texts, monkeypatch):
    monkeypatch.setattr(module, "QUESTIONS", 6)
    monkeypatch.setattr(module, "LONGEST", 12)
    case = replace(texts, parts=Parts(*(reworded(part, texts.encoder) for part in vars(texts.parts).values())))
    case = replace(case, base=from_scratch(texts.model.config.to_dict(), 5))
    found = {each.attack: each for each in [*one_query(case), *elicit(case), *gradient_norm(case)]}
    sure = {"loss", "min-k", "min-k++", "zlib", "extraction", "reference", "gradient-norm"}
    sure |= {"prefill", "in-context", "system-prompt", "paraphrase", "reversed"}
    assert {name: found[name].verdict for name in sure} == dict.fromkeys(sure, "remembered")


def reworded(part, encoder):
    """The same rows with a question in other words, and one for the other way round."""
    more = [
        {"paraphrased_question": f"Say it: {r.prompt}", "reversed_question": r.completion} for r in part.records
    ]
    rows = zip(part.records, more, strict=True)
    return TextSamples(
        [replace(r, meta={**r.meta, **m, "reversed_answer": r.completion}) for r, m in rows], encoder
    )


def test_answers_known_by_heart_leak_when_asked_twice(texts):
    model = copy.deepcopy(texts.model)
    trained(model, texts.parts.forget, token_nll, replace(TEXT, epochs=30, seed=3))
    found = leak_at_k(replace(texts, model=model.eval(), original=model), 8, 2, 24)
    assert found.verdict == "remembered", found.words


def test_what_an_adapter_hides_comes_back_without_it_and_too_well_forgotten_texts_stand_out(texts):
    loaded = LoadedModel(copy.deepcopy(texts.model), "text", source="control")
    model = apply_trainable(loaded, "lora:8").module
    forget, retain = (part.batch(range(len(part))) for part in (texts.parts.forget, texts.parts.retain))
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(40):
        loss = (9 - token_nll(model, forget).per_sample()).relu().mean() + token_nll(model, retain).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    case = replace(texts, model=model.eval())
    found = {each.attack: each for each in [*one_query(case), *adapter(case)]}
    assert found["adapter-off"].verdict == "remembered"
    over = {"loss", "min-k", "min-k++", "zlib", "half-precision"}
    assert {name: found[name].verdict for name in over} == dict.fromkeys(over, "over-forgotten")


def test_a_small_update_in_an_adapter_is_lost_in_four_bits_as_in_merged_weights(texts):
    loaded = LoadedModel(copy.deepcopy(texts.model), "text", source="control")
    model = apply_trainable(loaded, "lora:4").module.eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(1e-3 * torch.ones_like(p) * ("lora_B" in name))
    merged = copy.deepcopy(model).merge_and_unload()
    for weight, same in zip(quantised(model, 4).parameters(), quantised(merged, 4).parameters(), strict=True):
        assert torch.equal(weight, same)
    assert sum(p.numel() for p in pruned(model, 0.3).parameters()) == sum(p.numel() for p in merged.parameters())


def test_the_lens_and_relearning_find_what_the_last_block_hides(texts):
    hidden = noisy(texts.model, 1e-9, 0)
    last = hidden.model.layers[1]
    with torch.no_grad():
        for p in last.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    case = replace(texts, model=hidden)
    lens, again = logit_lens(case), relearning(case, "forget", steps=16)
    assert "remembered" in {found.verdict for found in lens}
    assert again.verdict == "remembered"


def fitted(model, rows, seed=0):
    trained(model, rows, class_nll, Recipe(epochs=60, batch=150, lr=1e-2, seed=seed))
    return model.eval()


def stacked(seed, *widths):
    """Linear layers with tanh between them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [torch.nn.Linear(a, b) for a, b in pairwise(widths)]
    return torch.nn.Sequential(*[part for layer in layers for part in (layer, torch.nn.Tanh())][:-1]).double()


def test_a_probe_finds_rows_that_an_inner_layer_tells_apart():
    """The model learnt the forget rows as a class of their own; the losses of the true labels do not say so."""
    forget, retain, heldout = (images(60, part, features=8) for part in (1, 2, 3))
    own = replace(forget, labels=torch.full((60,), 3))
    model = fitted(stacked(0, 8, 64, 64, 4), joined([retain, own]))
    gold = tuple(fitted(stacked(k, 8, 64, 64, 4), retain, k) for k in (1, 2))
    found = {each.attack: each for each in probes(Case("image", model, Parts(forget, retain, heldout), gold))}
    assert found["probe 2"].verdict == "remembered", found["probe 2"].words


@pytest.mark.slow
def test_false_alarms_on_retrained_models_are_as_rare_as_they_say():
    """Twenty seeds, each a retrained model judged by three others with all cheap attacks, Holm over each seed."""
    alarms, tests, families = 0, 0, 0
    names = ("mia", "quantise", "disturb", "relearn", "inside")
    for seed in range(20):
        forget, retain, heldout = (images(40, 100 * seed + part, features=8) for part in (1, 2, 3))
        models = []
        for k in range(4):
            with torch.random.fork_rng():
                torch.manual_seed(1000 * seed + k)
                net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3)).double()
            trained(net, retain, class_nll, Recipe(epochs=30, batch=40, lr=2e-2, seed=k))
            models.append(net)
        case = Case("image", models[0], Parts(forget, retain, heldout), tuple(models[1:]), seed=seed)
        found = corrected([f for _, group in run(case, choose(case, names)) for f in group])
        tests += sum(f.p is not None and f.p < 0.05 for f in found)
        families += len(found)
        alarms += any(f.verdict in ("remembered", "over-forgotten") for f in found)
    assert binomtest(alarms, 20, 0.05, alternative="greater").pvalue > 0.01
    assert tests / families < 0.09
