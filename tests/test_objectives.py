"""IdkDPO, UNDIAL and RMU: values by hand or written out, gradients that go where papers say, what is refused."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from ofmu.core.oracle import TorchOracle
from ofmu.data.encode import Encoder, TextSamples
from ofmu.data.records import question_answer
from ofmu.data.refusals import REFUSALS, refusals
from ofmu.engine.language import train_tokenizer
from ofmu.engine.measuring import sample_losses
from ofmu.engine.models import LoadedModel
from ofmu.engine.prepare import Parts, Sources, prepare
from ofmu.engine.pretrained import plain
from ofmu.engine.steered import steered_layer
from ofmu.engine.trainable import apply_trainable
from ofmu.errors import UserError
from ofmu.losses import NLL, NPO, token_nll
from ofmu.methods import Descent, Scalarised, build_method
from ofmu.objectives import Anchor, IdkDPO, Misdirect, Undial, activations
from ofmu.tasks import IGNORE
from small import Table, Texts, images, llama, task, texts

# the next token is 0, 1 or 2 with these probabilities, whatever the current one (0) is
MODEL, ORIGINAL = Table([[0.5, 0.25, 0.25]] * 3), Table([[0.25, 0.5, 0.25]] * 3)
ANSWERS, DECLINED = Texts([([0], [1, 1]), ([0], [2])]), Texts([([0], [0]), ([0], [0, 0, 2])])


def idk_task(model=ORIGINAL):
    nll, other = sample_losses(model, ANSWERS, token_nll), sample_losses(model, DECLINED, token_nll)
    return task(ANSWERS, ANSWERS, forget_nll=nll, refusals=DECLINED, refusal_nll=other)


def test_idk_dpo_by_hand():
    # sample 0: refusal (1/2)/(1/4) = 2 times as likely as before; answer (1/4)²/(1/2)² = 1/4: log 8 = 3 log 2
    # sample 1: refusal (1/2)²(1/4)/((1/4)²(1/4)) = 4 times; answer as before: log 4
    loss = IdkDPO(beta=0.5).bind(idk_task())
    terms = loss(MODEL, ANSWERS.batch([0, 1]))
    by_hand = [-4 * math.log(1 / (1 + 8**-0.5)), -4 * math.log(1 / (1 + 4**-0.5))]
    assert terms.values.tolist() == pytest.approx(by_hand, abs=1e-6)  # the references are float32
    assert terms.weights.tolist() == [1, 1]
    swapped = loss(MODEL, ANSWERS.batch([1, 0])).values.tolist()
    assert swapped == pytest.approx(by_hand[::-1], abs=1e-6)  # found by row, not by place


def test_idk_dpo_is_npo_where_the_refusal_stays_as_likely():
    given = idk_task()
    same = sample_losses(MODEL, DECLINED, token_nll)  # as if the original said refusals as this model does
    given.refusal_nll = same
    found = IdkDPO(0.3).bind(given)(MODEL, ANSWERS.batch([0, 1])).values
    assert torch.allclose(found, NPO(0.3).bind(given)(MODEL, ANSWERS.batch([0, 1])).values, atol=1e-6)


def test_idk_dpo_starts_at_two_log_two_over_beta_and_moves_probability_to_the_refusal():
    model = copy.deepcopy(ORIGINAL)
    given = idk_task()
    oracle = TorchOracle(model)
    before = sample_losses(model, ANSWERS, token_nll), sample_losses(model, DECLINED, token_nll)
    value, gradient = oracle.grad(IdkDPO(0.1).bind(given), ANSWERS.batch([0, 1]))
    assert value == pytest.approx(20 * math.log(2), abs=1e-4)
    assert oracle.cost == pytest.approx(4)  # two samples, each with its refusal
    oracle.move(-0.01, gradient)
    assert sample_losses(model, ANSWERS, token_nll).mean() > before[0].mean()
    assert sample_losses(model, DECLINED, token_nll).mean() < before[1].mean()


def test_undial_by_hand():
    # the teacher's logits with log 2 taken off the true token 1: (1/4, 1/4, 1/4), so q is uniform
    batch = Texts([([0], [1, 1]), ([0], [1])], width=5).batch([0, 1])
    given = task(ANSWERS, ANSWERS, reference=ORIGINAL)
    terms = Undial(strength=math.log(2)).bind(given)(MODEL, batch)
    each = -(math.log(0.5) + 2 * math.log(0.25)) / 3
    assert terms.per_sample().tolist() == pytest.approx([each, each])
    assert float(terms.mean().detach()) == pytest.approx(each)
    assert terms.values[terms.weights == 0].eq(0).all()  # prompt and padding


def test_undial_leaves_padding_and_prompt_out_of_the_gradient():
    model = llama(1)
    given = task(texts(4, 1), texts(4, 2), reference=llama(2))
    loss = Undial(3.0).bind(given)
    short = texts(4, 1)
    wide = Texts(short.pairs, width=20)
    both = [TorchOracle(copy.deepcopy(model)).grad(loss, samples.batch(range(4)))[1] for samples in (short, wide)]
    for a, b in zip(*both, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_undial_is_stationary_at_its_target():
    # a student whose probabilities are the softened ones has no gradient
    given = task(ANSWERS, ANSWERS, reference=ORIGINAL)
    target = (ORIGINAL.logits.detach()[0] - torch.tensor([0, 1.0, 0])).softmax(-1)
    student = Table([target.tolist()] * 3)
    gradient = TorchOracle(student).grad(Undial(1.0).bind(given), Texts([([0], [1])]).batch([0]))[1]
    assert torch.allclose(gradient[0], torch.zeros_like(gradient[0]), atol=1e-12)


LAYER = "model.layers.0"


def steered(model, reference=None):
    return task(texts(4, 1), texts(4, 2), layer=LAYER, reference=reference)


def written_hidden(model, batch):
    """Transformers' own record of what the first block gives out."""
    return model(**batch.inputs, output_hidden_states=True).hidden_states[1]


def test_rmu_written_out():
    model, frozen = llama(1), llama(2)
    given, batch = steered(model, frozen), texts(4, 1).batch([2, 0, 3])
    hidden, old = written_hidden(model, batch), written_hidden(frozen, batch)
    assert torch.equal(activations(model, LAYER, batch), hidden)
    raw = torch.rand(16, generator=torch.Generator().manual_seed(5))
    goal = 3.0 * raw / raw.norm()
    mask = batch.inputs["attention_mask"]
    for objective, other in ((Misdirect(scale=3.0, seed=5), goal), (Anchor(), old)):
        terms = objective.bind(given)(model, batch)
        expected = []
        for i in range(3):  # one sample at a time: no broadcast over pairs of samples
            tokens = range(int(mask[i].sum()))
            distances = [((hidden[i, t] - (other if other.ndim == 1 else other[i, t])) ** 2).sum() for t in tokens]
            expected.append(torch.stack(distances).mean())
        assert torch.allclose(terms.per_sample(), torch.stack(expected), rtol=1e-5)
        assert torch.allclose(terms.mean(), torch.stack(expected).mean(), rtol=1e-5)
    assert Anchor().bind(given)(frozen, batch).mean() == 0


def test_rmu_moves_the_forget_activations_and_holds_the_others():
    model = llama(1)
    given = steered(model, copy.deepcopy(model).requires_grad_(False))
    method = Scalarised(Misdirect(scale=4.0), Anchor(), Descent("adamw", 3e-3), retain_weight=1.0)
    oracle = TorchOracle(model)
    state, values = method.init(given, oracle), []
    for _ in range(15):
        state, log = method.step(given, oracle, state)
        values.append((log.numbers["forget_objective"], log.numbers["retain_objective"]))
    assert values[-1][0] < 0.8 * values[0][0]
    assert values[0][1] == 0
    assert oracle.cost == pytest.approx(15 * (4 + 4 + 4 / 3))  # the reference's forward pass on retain batches
    head = dict(model.named_parameters())["lm_head.weight"]
    assert torch.equal(head, dict(llama(1).named_parameters())["lm_head.weight"])  # above the layer: no gradient


def test_a_layer_that_is_not_there_is_named():
    given = task(texts(2, 1), texts(2, 2), layer="model.layers.9")
    with pytest.raises(ValueError, match=r"layer: found 'model.layers.9'"):
        Misdirect().bind(given)(llama(), texts(2, 1).batch([0]))
    given.layer = "model.norm.weight"
    with pytest.raises(ValueError, match="layer"):
        Misdirect().bind(given)(llama(), texts(2, 1).batch([0]))


@pytest.mark.parametrize(
    ("objective", "says"),
    [
        (IdkDPO(), "task.refusals"),
        (Undial(), "task.reference"),
        (Misdirect(), "task.layer"),
        (Anchor(), "task.layer"),
    ],
)
def test_what_a_task_lacks_is_named(objective, says):
    with pytest.raises(ValueError, match=says):
        objective.bind(task(texts(2, 1), texts(2, 2)))


@pytest.mark.parametrize("spec, expected", [("full", "model.layers.2"), ("top:2", "model.layers.5")])
def test_the_steered_layer_has_trained_blocks_below(spec, expected):
    config = copy.deepcopy(llama().config)
    config.num_hidden_layers = 6
    loaded = apply_trainable(LoadedModel(plain(type(llama())(config)), "text"), spec)
    assert steered_layer(loaded.module) == expected
    with pytest.raises(UserError, match="no block of the model is trained"):
        steered_layer(loaded.module.requires_grad_(False))
    with pytest.raises(UserError, match="no list of blocks"):
        steered_layer(torch.nn.Linear(2, 2))


def questions(n):
    records = [question_answer(f"What is {i}?", f"It is {i} times one.", id=f"q{i}") for i in range(40)]
    tokenizer = train_tokenizer([turn.content for record in records for turn in record.messages], 300)
    return TextSamples(records[:n], Encoder.of(tokenizer, 64))


def test_refusals_keep_the_questions_and_are_the_same_in_every_run():
    samples = questions(40)
    declined = refusals(samples)
    assert declined.ids == samples.ids
    for before, after in zip(samples.records, declined.records, strict=True):
        assert after.prompt == before.prompt
        assert after.completion in REFUSALS
    again = refusals(samples)
    assert [r.completion for r in again.records] == [r.completion for r in declined.records]
    assert len({r.completion for r in declined.records}) > 8
    with pytest.raises(UserError, match="expected questions with answers"):
        refusals(images(2, 0))


@pytest.mark.parametrize("name", ["idkdpo", "undial", "rmu"])
@pytest.mark.parametrize("spec", ["full", "lora:2"])
def test_a_step_of_each_on_prepared_text_full_and_lora(name, spec):
    samples = questions(6)
    config = copy.deepcopy(llama().config)
    config.vocab_size = len(samples.encoder.tokenizer)
    loaded = apply_trainable(LoadedModel(plain(type(llama())(config)), "text"), spec)
    parts = Parts(samples, questions(8))
    method = build_method(name, "text", width=16)
    made = prepare(loaded.module, "text", parts, method, Sources(), seed=0)
    assert made.cost == pytest.approx(4.0 if name == "idkdpo" else 0.0)  # two passes over the answers
    oracle = TorchOracle(loaded.module)
    before = [p.detach().clone() for p in oracle.params]
    state, log = method.init(made.task, oracle), None
    for _ in range(2):
        state, log = method.step(made.task, oracle, state)
    assert all(math.isfinite(value) for value in log.numbers.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, oracle.params, strict=True))
    per_step = {"idkdpo": 2 * 6 + 8, "undial": 6 * 4 / 3, "rmu": 6 + 8 * 4 / 3}[name]
    assert oracle.cost == pytest.approx(2 * per_step)
    assert NLL().bind(made.task) is token_nll


OTHERS = ("gradascent", "graddiff", "graddiff-bounded", "kl", "npo", "simnpo", "pcgrad", "mgda", "upgrad")


@pytest.mark.parametrize("name", OTHERS)
def test_a_step_of_every_other_method_moves_the_adapter_alone(name):
    if name in ("pcgrad", "mgda", "upgrad"):
        pytest.importorskip("torchjd")
    samples = questions(6)
    config = copy.deepcopy(llama().config)
    config.vocab_size = len(samples.encoder.tokenizer)
    base = plain(type(llama())(config))
    loaded = apply_trainable(LoadedModel(copy.deepcopy(base), "text"), "lora:2")
    frozen = {k: p.detach().clone() for k, p in loaded.module.named_parameters() if not p.requires_grad}
    method = build_method(name, "text", width=16, adapter=True)
    made = prepare(
        loaded.module, "text", Parts(samples, questions(8), questions(8)), method, Sources(base=base), seed=0
    )
    oracle = TorchOracle(loaded.module)
    before = [p.detach().clone() for p in oracle.params]
    state = method.init(made.task, oracle)
    for _ in range(2):
        state, log = method.step(made.task, oracle, state)
    assert all(math.isfinite(value) for value in log.numbers.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, oracle.params, strict=True))
    after = dict(loaded.module.named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in frozen.items())


def test_labels_of_the_prompt_stay_ignored_in_a_refusal():
    declined = refusals(questions(3))
    labels = declined.batch([0, 1, 2]).labels
    assert (labels == IGNORE).any(1).all()
    assert F.relu((labels != IGNORE).sum(1) - 1).min() > 0
