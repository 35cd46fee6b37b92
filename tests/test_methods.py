"""The scalarised methods against hand-written steps, and methods by name."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from ofmu.core.oracle import TorchOracle
from ofmu.losses import NLL, NPO, Ascend, Bounded, KLToReference, SimNPO
from ofmu.methods import (
    METHODS,
    OFMU,
    SSD,
    Descent,
    GradientRule,
    Influence,
    SalUn,
    Scalarised,
    Scrub,
    build_method,
    default_rate,
)
from ofmu.objectives import Anchor, IdkDPO, Misdirect, Undial
from small import flat, images, llama, net, task, texts

FORGET, RETAIN = images(5, 1), images(7, 2)  # smaller than a batch: each step sees all of both
REFERENCE = net(9)
TARGETS = [0.9, 1.1, 1.0, 1.3, 0.7]
TEXT_ONLY = ("ofmu-matched", "idkdpo", "rmu", "undial")
IMAGE_ONLY = ("ofmu-safeguarded", "neggrad-plus", "randomlabel", "salun", "scrub", "ssd", "iu")
FAMILIES = {"pcgrad": GradientRule, "mgda": GradientRule, "upgrad": GradientRule}
FAMILIES |= {"salun": SalUn, "scrub": Scrub, "ssd": SSD, "iu": Influence}


def nll(model, samples):
    return F.cross_entropy(model(samples.pixels), samples.labels, reduction="none")


ORIGINAL = nll(net(), FORGET).detach() + 0.3  # not the model's own loss now, or the ratio would be 1


def npo(model, beta):
    return (2 / beta * torch.log(1 + torch.exp(ORIGINAL - nll(model, FORGET)) ** beta)).mean()


def kl(model):
    old = REFERENCE(RETAIN.pixels).softmax(-1).detach()
    return (old * (old.log() - model(RETAIN.pixels).log_softmax(-1))).sum(-1).mean()


# name -> (forget objective, retain objective, weights, the loss written out)
CASES = {
    "FineTune": (None, NLL(), (1.0, 1.0), lambda m: nll(m, RETAIN).mean()),
    "GradAscent": (Ascend(NLL()), None, (1.0, 1.0), lambda m: -nll(m, FORGET).mean()),
    "GradDiff": (
        Ascend(NLL()),
        NLL(),
        (0.3, 2.0),
        lambda m: -0.3 * nll(m, FORGET).mean() + 2 * nll(m, RETAIN).mean(),
    ),
    "GradDiff, bounded": (
        Ascend(Bounded()),
        NLL(),
        (1.0, 1.0),
        lambda m: -torch.minimum(nll(m, FORGET), torch.tensor(TARGETS)).mean() + nll(m, RETAIN).mean(),
    ),
    "KL": (Ascend(NLL()), KLToReference(), (0.5, 1.0), lambda m: -0.5 * nll(m, FORGET).mean() + kl(m)),
    "NPO": (NPO(0.7), NLL(), (1.0, 1.0), lambda m: npo(m, 0.7) + nll(m, RETAIN).mean()),
    "SimNPO": (
        SimNPO(2.5, 0.1),
        NLL(),
        (1.0, 1.0),
        lambda m: (0.8 * F.softplus(-(2.5 * nll(m, FORGET) - 0.1))).mean() + nll(m, RETAIN).mean(),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("descent", [Descent("sgd", 0.5), Descent("sgd", 0.5, clip=1e-3), Descent("adamw", 0.01)])
def test_two_steps_of_a_scalarised_method_equal_torch_on_the_loss_written_out(name, descent):
    forget, retain, (a, b), written = CASES[name]
    given = task(FORGET, RETAIN, TARGETS, reference=REFERENCE, forget_nll=ORIGINAL)
    model = net()
    by_hand, method = copy.deepcopy(model), Scalarised(forget, retain, descent, a, b)
    params = list(by_hand.parameters())
    optimizer = (
        torch.optim.SGD(params, descent.lr)
        if descent.rule == "sgd"
        else torch.optim.AdamW(params, descent.lr, betas=(0.9, 0.98), weight_decay=0.0)
    )
    oracle = TorchOracle(model)
    state = method.init(given, oracle)
    for _ in range(2):
        state, log = method.step(given, oracle, state)
        optimizer.zero_grad()
        total = written(by_hand)
        total.backward()
        if descent.clip is not None:
            torch.nn.utils.clip_grad_norm_(params, descent.clip)
        found = sum(
            w * log.numbers[k] for w, k in ((a, "forget_objective"), (b, "retain_objective")) if k in log.numbers
        )
        assert found == pytest.approx(float(total.detach()), abs=1e-12)
        optimizer.step()
        assert torch.allclose(flat(oracle.params), flat(params), rtol=0, atol=1e-10)
    assert not torch.allclose(flat(params), flat(list(net().parameters())), rtol=0, atol=1e-5)
    reference = 7 / 3 if name == "KL" else 0  # the frozen original's forward pass
    assert oracle.cost == pytest.approx(2 * ((forget is not None) * 5 + (retain is not None) * 7 + reference))


def test_a_method_without_any_objective_is_refused():
    with pytest.raises(ValueError, match="expected at least one objective"):
        Scalarised(None, None, Descent("sgd", 0.1))


@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("name", METHODS)
def test_every_name_builds_a_method_whose_rate_can_be_given(name, kind):
    if kind == "image" and name in TEXT_ONLY:
        with pytest.raises(ValueError, match=f"{name} serves language models"):
            build_method(name, kind)
        return
    if kind == "text" and name in IMAGE_ONLY:
        with pytest.raises(ValueError, match=f"{name} serves image classifiers"):
            build_method(name, kind)
        return
    method = build_method(name, kind, width=128)
    family = FAMILIES.get(name, OFMU if name.startswith("ofmu") else Scalarised)
    assert isinstance(method, family)
    if (name, kind) == ("ofmu", "image") or name in ("ssd", "iu"):
        return  # there is no learning rate to give
    given = build_method(name, kind, lr=0.123)
    rate = given.outer.lr if isinstance(given, OFMU) else given.descent.lr
    assert rate == 0.123


@pytest.mark.parametrize(
    ("name", "objectives"),
    [
        ("finetune", (None, NLL())),
        ("gradascent", (Ascend(NLL()), None)),
        ("graddiff", (Ascend(NLL()), NLL())),
        ("kl", (Ascend(NLL()), KLToReference())),
        ("npo", (NPO(beta=0.1), NLL())),
        ("simnpo", (SimNPO(beta=2.5), NLL())),
        ("graddiff-bounded", (Ascend(Bounded("token")), NLL())),
        ("idkdpo", (IdkDPO(beta=0.1), NLL())),
        ("rmu", (Misdirect(), Anchor())),
        ("undial", (Undial(strength=10.0), None)),
    ],
)
def test_names_mean_what_their_papers_say(name, objectives):
    method = build_method(name, "text")
    assert (method.forget, method.retain) == objectives
    assert (method.forget_weight, method.retain_weight, method.descent.clip) == (1.0, 1.0, 1.0)


def test_rates_fall_with_a_language_models_width():
    assert default_rate("image", None) == 1e-3
    assert default_rate("text", 128) == pytest.approx(0.13 / 128)
    assert default_rate("text", None) == pytest.approx(0.13 / 1024)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("OFMU", "unknown method 'OFMU'; did you mean 'ofmu'? Methods: "),
        ("simpno", "unknown method 'simpno'; did you mean 'simnpo'? Methods: "),
        ("qqqq", "unknown method 'qqqq'. Methods: "),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_and_all(name, says):
    with pytest.raises(ValueError, match="unknown method") as caught:
        build_method(name, "image")
    assert str(caught.value) == says + ", ".join(METHODS)


def test_a_step_on_text_draws_from_both_streams_and_counts_its_cost():
    forget, retain = texts(6, 1), texts(9, 2)
    given = task(forget, retain, forget_nll=torch.zeros(6), forget_batch=4, retain_batch=5)
    oracle = TorchOracle(llama())
    method = build_method("npo", "text", width=16)
    state = method.init(given, oracle)
    _, log = method.step(given, oracle, state)
    assert oracle.cost == pytest.approx(9)
    assert given.forget.position == 4
    assert given.retain.position == 5
    assert set(log.numbers) == {"forget_objective", "retain_objective"}


def test_an_adapter_is_trained_at_five_times_the_rate():
    whole, adapter = (build_method("npo", "text", width=500, adapter=adapter) for adapter in (False, True))
    assert adapter.descent.lr == pytest.approx(5 * whole.descent.lr)
    assert build_method("npo", "text", lr=1e-3, width=500, adapter=True).descent.lr == 1e-3
