"""Every loss against its paper's formula, worked out by hand on models whose probabilities are chosen."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ofmu.core.kinks import Held
from ofmu.losses import (
    NLL,
    NPO,
    Ascend,
    Bounded,
    KLToReference,
    Plausible,
    SimNPO,
    answer_logits,
    class_nll,
    token_nll,
)
from ofmu.tasks import Batch, TensorSamples
from small import LN2, Table, Texts, flat, identity, llama, task, texts

# logits (0, ln 3) are the probabilities (1/4, 3/4); the labels are 0 and 1
PIXELS = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]], dtype=torch.float64)
IMAGES = TensorSamples(PIXELS, torch.tensor([0, 1]), ["a", "b"])
BATCH = IMAGES.batch([0, 1])
LOSSES = [math.log(4), math.log(4 / 3)]


def close(found, expected):
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_images_nll_and_its_ascent():
    given = task(IMAGES, IMAGES)
    close(NLL().bind(given)(identity(), BATCH).values, LOSSES)
    close(Ascend(NLL()).bind(given)(identity(), BATCH).values, [-x for x in LOSSES])
    close(class_nll(identity(), BATCH).mean(), sum(LOSSES) / 2)


def test_images_npo_is_two_over_beta_times_log_one_plus_the_ratio_to_the_power_beta():
    given = task(IMAGES, IMAGES, forget_nll=torch.tensor([math.log(2), math.log(2)], dtype=torch.float64))
    # π_θ/π_ref = (1/4)/(1/2) = 1/2 and (3/4)/(1/2) = 3/2
    close(NPO(beta=2.0).bind(given)(identity(), BATCH).values, [math.log(1 + 0.25), math.log(1 + 2.25)])
    close(NPO(beta=0.5).bind(given)(identity(), BATCH).values, [4 * math.log(1 + r**0.5) for r in (0.5, 1.5)])


def test_npo_looks_its_reference_up_by_row():
    given = task(IMAGES, IMAGES, forget_nll=torch.tensor([9.0, math.log(2)], dtype=torch.float64))
    close(NPO(beta=2.0).bind(given)(identity(), IMAGES.batch([1])).values, [math.log(1 + 2.25)])


def test_images_simnpo_needs_no_reference():
    # −(2/β) log σ(−β log π − γ), β = 2, γ = .5, π = 1/4: log(1 + e^.5/16); π = 3/4: log(1 + e^.5 · 9/16)
    found = SimNPO(beta=2.0, gamma=0.5).bind(task(IMAGES, IMAGES))(identity(), BATCH).values
    close(found, [math.log(1 + math.exp(0.5) * p**2) for p in (0.25, 0.75)])


def test_images_kl_is_from_the_reference_to_the_model():
    reference = identity()
    nn.init.zeros_(reference.weight)  # (1/2, 1/2)
    loss = KLToReference().bind(task(IMAGES, IMAGES, reference=reference))
    close(loss(identity(), BATCH).values, [0.5 * math.log(4 / 3)] * 2)  # ½ ln(½/¼) + ½ ln(½/¾)
    close(loss(reference, BATCH).values, [0.0, 0.0])


def test_images_bounded_is_the_target_on_the_plateau_and_has_no_gradient_there():
    loss = Bounded("sample").bind(task(IMAGES, IMAGES, [1.0, 1.0]))
    model = identity()
    terms = loss(model, BATCH)
    close(terms.values, [1.0, math.log(4 / 3)])  # ln 4 > 1 is cut
    first, second = (torch.autograd.grad(v, model.weight, retain_graph=True)[0] for v in terms.values)
    assert first.abs().max() == 0
    expected = torch.autograd.grad(class_nll(model, BATCH).values[1], model.weight)[0]
    assert torch.equal(second, expected)


ROWS = [
    [1 / 2, 1 / 4, 1 / 8, 1 / 8],
    [1 / 4, 1 / 4, 1 / 4, 1 / 4],
    [1 / 8, 1 / 8, 1 / 4, 1 / 2],
    [1 / 4, 1 / 4, 1 / 4, 1 / 4],
]
# the answer 1, 2 after 0 costs 2 ln 2 a token; the answer 3 after 2 costs ln 2, and its sample is padded
TEXTS = Texts([([0, 0], [1, 2]), ([2], [3])])
PAIR = TEXTS.batch([0, 1])


def test_text_mean_is_the_mean_over_samples_of_the_means_over_their_answer_tokens():
    terms = token_nll(Table(ROWS), PAIR)
    close(terms.per_sample(), [2 * LN2, LN2])
    close(terms.mean(), 1.5 * LN2)  # the mean over the three tokens would be 5/3 ln 2
    close(Ascend(NLL()).bind(task(TEXTS, TEXTS))(Table(ROWS), PAIR).mean(), -1.5 * LN2)


def test_text_npo_compares_whole_answers():
    # reference: ln 2 a token, so π_ref = 1/4 and 1/2 against π_θ = 1/16 and 1/2
    given = task(TEXTS, TEXTS, forget_nll=torch.tensor([LN2, LN2], dtype=torch.float64))
    close(NPO(beta=0.5).bind(given)(Table(ROWS), PAIR).values, [4 * math.log(1 + 0.5), 4 * math.log(2)])


def test_text_simnpo_is_normalised_by_length():
    # π^(1/|y|) = 1/4 and 1/2; (2/β) log(1 + (π^(1/|y|))^β e^γ)
    found = SimNPO(beta=2.0, gamma=0.1).bind(task(TEXTS, TEXTS))(Table(ROWS), PAIR).values
    close(found, [math.log(1 + math.exp(0.1) / 16), math.log(1 + math.exp(0.1) / 4)])


def test_text_kl_is_a_mean_over_the_answer_alone():
    # from the uniform distribution: row 0 costs ¼(ln ½ + 0 + 2 ln 2) = ¼ ln 2, row 1 nothing, row 2 ¼ ln 2
    loss = KLToReference().bind(task(TEXTS, TEXTS, reference=Table([[1 / 4] * 4] * 4)))
    terms = loss(Table(ROWS), PAIR)
    close(terms.per_sample(), [LN2 / 8, LN2 / 4])
    close(terms.mean(), 3 / 16 * LN2)


@pytest.mark.parametrize(
    ("tau", "gate", "expected", "moves"),
    [
        ([1.0, 4.0], True, 1.5, True),  # min((2, 2), (1, 4)) = (1, 2): the second token is still below
        ([1.0, 2.5], True, 1.75, False),  # the mean 2 has passed the mean target 1.75: done altogether
        ([1.0, 2.5], False, 1.5, True),  # ungated, the second token goes on
        ([1.0, 1.5], False, 1.25, False),  # both on the plateau
    ],
)
def test_text_bounded_by_token_with_and_without_the_gate(tau, gate, expected, moves):
    targets = [torch.tensor(tau, dtype=torch.float64) * LN2, torch.tensor([9.0])]
    loss = Bounded("token", gate).bind(task(TEXTS, TEXTS, targets))
    model = Table(ROWS)
    value = loss(model, TEXTS.batch([0])).mean()
    close(value, expected * LN2)
    if not value.requires_grad:
        assert not moves
        return
    grad = torch.autograd.grad(value, model.logits)[0]
    assert grad[0].abs().max() == 0  # the first token is cut in every case
    assert bool(grad.abs().max() > 0) is moves


def test_text_bounded_by_sample_uses_the_mean_of_the_token_targets():
    targets = [torch.tensor([1.0, 4.0], dtype=torch.float64) * LN2, torch.tensor([0.5], dtype=torch.float64) * LN2]
    close(Bounded("sample").bind(task(TEXTS, TEXTS, targets))(Table(ROWS), PAIR).values, [2 * LN2, 0.5 * LN2])


def test_plausible_compares_what_is_left_without_the_true_token():
    # after 2 the model has (1/8, 1/8, 1/4, 1/2); without the true token 3: p = (1/4, 1/4, 1/2), and q is uniform
    rest = (2 * math.log(4 / 3) + math.log(2 / 3)) / 3
    targets = [torch.tensor([9.0, 9.0]), torch.tensor([4.0], dtype=torch.float64) * LN2]  # e^−τ = 1/16
    given = task(TEXTS, TEXTS, targets, unseen=Table([[1 / 4] * 4] * 4))
    model = Table(ROWS)
    value = Plausible(weight=0.4).bind(given)(model, TEXTS.batch([1])).mean()
    close(value, LN2 - 0.4 * 15 / 16 * rest)
    # the true token's logit is in ℓ alone: dℓ/dz = p − 1 = −½
    grad = torch.autograd.grad(value, model.logits)[0]
    close(grad[2, 3], -0.5)
    assert bool(torch.isfinite(grad).all())


@pytest.mark.parametrize(
    ("tau", "expected", "above"),
    [
        ([1.0, 4.0], 1.5, False),  # the mean 2 is below the mean target 2.5: min((2, 2), (1, 4)), as ever
        ([1.0, 2.5], 1.5, True),  # above 1.75: 2τ − ℓ = (0, 3), whose mean is 1.75 − |2 − 1.75|
        ([2.0, 2.0], 2.0, False),  # just there: the plateau
    ],
)
def test_two_sided_a_sample_above_its_target_is_brought_down(tau, expected, above):
    targets = [torch.tensor(tau, dtype=torch.float64) * LN2, torch.tensor([9.0])]
    model = Table(ROWS)
    value = Bounded("token", two_sided=True).bind(task(TEXTS, TEXTS, targets))(model, TEXTS.batch([0])).mean()
    close(value, expected * LN2)
    if above:  # both tokens' gradients are those of −ℓ/2
        grad = torch.autograd.grad(value, model.logits)[0]
        nll = NLL().bind(task(TEXTS, TEXTS))(model, TEXTS.batch([0])).mean()
        assert torch.allclose(grad, -torch.autograd.grad(nll, model.logits)[0], rtol=0, atol=1e-12)


def test_two_sided_by_sample_is_the_target_minus_the_distance():
    targets = [torch.tensor([1.5, 1.5], dtype=torch.float64) * LN2, torch.tensor([4.0], dtype=torch.float64) * LN2]
    loss = Bounded("sample", two_sided=True).bind(task(TEXTS, TEXTS, targets))
    close(loss(Table(ROWS), PAIR).values, [1.0 * LN2, 1.0 * LN2])  # losses 2 and 1, targets 1.5 and 4


def test_plausible_sharpens_the_unseen_model_by_the_task_s_confidence():
    # without the true token 3, q ∝ (1/8, 1/4, 1/8) to the power 2: (1/6, 2/3, 1/6); p = (1/4, 1/4, 1/2)
    rest = math.log(2 / 3) / 6 + 2 / 3 * math.log(8 / 3) + math.log(1 / 3) / 6
    targets = [torch.tensor([9.0, 9.0]), torch.tensor([4.0], dtype=torch.float64) * LN2]
    given = task(TEXTS, TEXTS, targets, unseen=Table([[1 / 8, 1 / 4, 1 / 8, 1 / 2]] * 4), confidence=2.0)
    objective = Plausible(weight=0.4, sharpened=True)
    close(objective.bind(given)(Table(ROWS), TEXTS.batch([1])).mean(), LN2 - 0.4 * 15 / 16 * rest)
    assert objective.needs - Plausible().needs == {"confidence"}


def test_plausible_without_an_unseen_model_is_the_bound_alone():
    given = task(TEXTS, TEXTS, [torch.ones(2), torch.ones(1)])
    assert Plausible(Bounded("token")).bind(given) == Bounded("token").bind(given)


def test_held_is_the_active_set_of_the_point_where_it_was_first_asked_for():
    loss = Bounded("sample").bind(task(IMAGES, IMAGES, [1.0, 1.0]))
    model, held = identity(), Held(activations=False)
    with held:
        close(loss(model, BATCH).values, [1.0, math.log(4 / 3)])
    with torch.no_grad():
        model.weight.neg_()  # logits (0, −ln 3): p = (3/4, 1/4), the two samples change places
    close(loss(model, BATCH).values, [math.log(4 / 3), 1.0])
    with held:
        close(loss(model, BATCH).values, [1.0, math.log(4)])


class Spoiled(nn.Module):
    """The same model, with nonsense wherever no answer token is predicted."""

    def __init__(self, model, batch):
        super().__init__()
        self.model, self.answers = model, batch.labels[:, 1:] != -100

    def forward(self, input_ids, attention_mask, use_cache):
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        keep = torch.nn.functional.pad(self.answers, (0, 1))[..., None]
        return SimpleNamespace(logits=torch.where(keep, logits, 1e3 * torch.randn_like(logits)))


@pytest.mark.parametrize("objective", [NLL(), NPO(), SimNPO(), KLToReference(), Bounded("token")])
def test_prompt_and_padding_carry_no_loss(objective):
    model, samples = llama(), texts(5, seed=4)
    batch = samples.batch(range(5))
    tau = [torch.full((len(answer),), 9.0) for _, answer in samples.pairs]
    given = task(samples, samples, tau, forget_nll=torch.zeros(5), reference=llama(1))
    loss = objective.bind(given)
    plain = loss(model, batch).per_sample()
    assert torch.allclose(loss(Spoiled(model, batch), batch).per_sample(), plain, atol=1e-5)
    wide = Texts(samples.pairs, width=14).batch(range(5))
    assert wide.labels.shape[1] > batch.labels.shape[1]
    assert torch.allclose(loss(model, wide).per_sample(), plain, atol=1e-5)


def test_llama_losses_are_minus_the_log_probabilities_of_the_answer():
    model, samples = llama(), texts(4, seed=5)
    found = token_nll(model, samples.batch(range(4))).per_sample().detach()
    for row, (prompt, answer) in enumerate(samples.pairs):
        ids = torch.tensor([[*prompt, *answer]])
        log_p = model(input_ids=ids).logits[0].detach().log_softmax(-1)
        picked = [log_p[len(prompt) + j - 1, token] for j, token in enumerate(answer)]
        assert float(found[row]) == pytest.approx(-float(torch.stack(picked).mean()), abs=1e-5)


def test_logits_at_answer_positions_equal_the_full_ones():
    model = llama()
    samples = Texts([([4, 5, 6, 7], [8, 9]), ([10, 11, 12], [13, 14, 15])])
    batch = samples.batch([0, 1])
    logits, labels = answer_logits(model, batch)
    full = model(**batch.inputs).logits
    assert labels.tolist() == [[-100, -100, -100, 8, 9], [-100, -100, 13, 14, 15]]
    assert torch.allclose(logits, torch.cat([full[0, 3:5], full[1, 2:5]]), atol=1e-6)


def test_the_output_layer_sees_answer_positions_alone():
    model, seen = llama(), []
    model.lm_head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    token_nll(model, Texts([([4, 5, 6, 7], [8, 9]), ([10, 11, 12], [13, 14, 15])]).batch([0, 1]))
    assert seen == [(5, 16)]


def test_npo_tends_to_gradient_ascent_as_beta_vanishes():
    model = identity()
    given = task(IMAGES, IMAGES, forget_nll=torch.tensor([0.3, 0.8], dtype=torch.float64))
    npo = torch.autograd.grad(NPO(beta=1e-6).bind(given)(model, BATCH).mean(), model.weight)
    ascent = torch.autograd.grad(Ascend(NLL()).bind(given)(model, BATCH).mean(), model.weight)
    assert torch.allclose(flat(npo), flat(ascent), rtol=1e-5)


def test_half_precision_logits_are_brought_to_float32():
    batch = Batch(BATCH.rows, {"pixel_values": PIXELS.bfloat16()}, BATCH.labels)
    assert class_nll(identity().bfloat16(), batch).values.dtype == torch.float32


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (NPO(), "NPO: task.forget_nll is None"),
        (KLToReference(), "KLToReference: task.reference is None"),
        (Bounded(), "Bounded: task.targets is None"),
    ],
)
def test_what_an_objective_lacks_is_named(objective, message):
    with pytest.raises(ValueError, match=message):
        objective.bind(task(IMAGES, IMAGES))


def test_token_targets_of_another_encoding_are_refused():
    loss = Bounded("token").bind(task(TEXTS, TEXTS, [torch.ones(3), torch.ones(1)]))
    with pytest.raises(ValueError, match="row 0 has 3 token targets, but its answer has 2 tokens"):
        loss(Table(ROWS), PAIR)


def test_a_batch_on_its_own_device_is_not_copied():
    assert BATCH.to(torch.device("cpu")) is BATCH
    assert replace(BATCH).to(torch.device("meta")).labels.is_meta
