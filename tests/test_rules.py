"""Gradient rules: the directions of their papers by hand, the right sign of conflict, a step written out."""

from __future__ import annotations

import builtins
import math

import pytest
import torch

pytest.importorskip("torchjd")

from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from ofmu.core.oracle import TorchOracle
from ofmu.errors import UserError
from ofmu.losses import NLL, Ascend, Bounded
from ofmu.methods import Descent, GradientRule, Scalarised, build_method
from ofmu.methods.rules import gramian, weighting
from small import flat, images, llama, net, task, texts

RULES = ("pcgrad", "mgda", "upgrad")
FLOATS = st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=4)


def direction(rule, a, b):
    """The rule's d for two gradients, each given in two tensors."""
    a, b = ([torch.tensor(x[:1]), torch.tensor(x[1:])] for x in (a, b))
    first, second = weighting(rule)(gramian(a, b)).tolist()
    return [first * x + second * y for x, y in zip(flat(a).tolist(), flat(b).tolist(), strict=True)]


@pytest.mark.parametrize(
    ("rule", "conflicting", "agreeing"),
    [
        # a = (1, 0), b = (−1, 1): a' = a + b/2 = (.5, .5), b' = b + a = (0, 1)
        ("pcgrad", [0.5, 1.5], [2.0, 1.0]),
        # half of the sum of the same projections
        ("upgrad", [0.25, 0.75], [1.0, 0.5]),
        # the point of the segment that is nearest to 0: a·.6 + b·.4; with a = (1, 0), b = (1, 1) it is a
        ("mgda", [0.2, 0.4], [1.0, 0.0]),
    ],
)
def test_directions_by_hand(rule, conflicting, agreeing):
    assert direction(rule, [1.0, 0.0], [-1.0, 1.0]) == pytest.approx(conflicting, abs=2e-3)  # mgda is iterative
    assert direction(rule, [1.0, 0.0], [1.0, 1.0]) == pytest.approx(agreeing, abs=2e-3)


@settings(max_examples=80, deadline=None)
@drawn(FLOATS, FLOATS, st.floats(-6, 6), st.floats(-6, 6))
def test_no_objective_rises_along_upgrads_direction(a, b, first, second):
    a, b = ([10**power * x for x in each] for power, each in ((first, a), (second, b)))
    if 0 < min(math.hypot(*a), math.hypot(*b)) < 1e-12:
        return  # squares that float32 has not
    d = direction("upgrad", a, b)
    for g in (a, b):
        scale = math.hypot(*g) * max(math.hypot(*a), math.hypot(*b))
        assert sum(x * y for x, y in zip(g, d)) >= -1e-5 * scale
    half = [x / 2 for x in direction("pcgrad", a, b)]
    assert math.dist(d, half) <= 1e-5 * max(math.hypot(*a), math.hypot(*b))  # with two gradients


def test_upgrad_spares_a_short_gradient_beside_a_long_one():
    a, b = [-99.0, 14.1], [1.0, 0.0]
    # a' = a + 99 b = (0, 14.1); b' = b + 99/(99² + 14.1²) a
    share = 99 / (99**2 + 14.1**2)
    expected = [(1 - 99 * share) / 2, (14.1 + 14.1 * share) / 2]
    assert direction("upgrad", a, b) == pytest.approx(expected, rel=1e-5)
    assert direction("upgrad", [0.0, 0.0], b) == [0.5, 0.0]
    assert direction("mgda", [0.0, 0.0], b) == [0.0, 0.0]  # MGDA stalls there


@settings(max_examples=30, deadline=None)
@drawn(FLOATS, FLOATS, st.floats(-3, 3), st.floats(-3, 3))
def test_mgda_is_the_point_of_the_segment_that_is_nearest_to_zero(a, b, first, second):
    a, b = [10**first * x for x in a], [10**second * x for x in b]
    apart = sum((x - y) ** 2 for x, y in zip(a, b))
    longest = max(sum(x * x for x in a), sum(y * y for y in b))
    if apart <= 1e-6 * longest or longest < 1e-24:
        return  # two equal gradients: any weights; squares that float32 has not
    share = sum((y - x) * y for x, y in zip(a, b)) / apart
    share = min(max(share, 0.0), 1.0)
    expected = [share * x + (1 - share) * y for x, y in zip(a, b)]
    error = math.dist(direction("mgda", a, b), expected)
    assert error <= 1e-4 * max(math.hypot(*a), math.hypot(*b))


def test_conflict_is_where_the_forget_and_the_retain_gradient_agree():
    """Ascent on L_f, descent on L_r: on one and the same data g_f·g_r > 0, the worst conflict that there is."""
    samples, model = images(6, 1), net()
    both = task(samples, samples, forget_batch=6, retain_batch=6)
    oracle = TorchOracle(model)
    batch = samples.batch(range(6))
    g_f, g_r = (oracle.grad(NLL().bind(both), batch)[1] for _ in range(2))
    assert sum(float((x * y).sum()) for x, y in zip(g_f, g_r)) > 0
    method = GradientRule("pcgrad", Ascend(NLL()), NLL(), Descent("sgd", 0.1))
    before = flat(oracle.params).clone()
    _, log = method.step(both, oracle, method.init(both, oracle))
    assert log.numbers["agreement"] < 0
    # each projected on the other's normal plane: nothing is left of two opposite gradients
    assert torch.allclose(flat(oracle.params), before, atol=1e-12)


def test_without_conflict_pcgrad_is_graddiff():
    # relabelled data: what lowers L_r raises L_f
    forget, retain = images(6, 1), images(6, 1)
    retain.labels = (retain.labels + 1) % 3
    models = net(), net()
    methods = (
        GradientRule("pcgrad", Ascend(NLL()), NLL(), Descent("sgd", 0.5)),
        Scalarised(Ascend(NLL()), NLL(), Descent("sgd", 0.5)),
    )
    agreement = None
    for model, method in zip(models, methods, strict=True):
        given, oracle = task(forget, retain), TorchOracle(model)
        _, log = method.step(given, oracle, method.init(given, oracle))
        agreement = log.numbers.get("agreement", agreement)
    assert agreement is not None
    assert agreement > 0
    assert torch.allclose(flat(list(models[0].parameters())), flat(list(models[1].parameters())), atol=1e-12)


def test_a_pcgrad_step_written_out():
    forget, retain = images(5, 1), images(7, 2)
    model = net()
    given, oracle = task(forget, retain), TorchOracle(model)
    before = flat(oracle.params).clone()
    a = -flat(oracle.grad(NLL().bind(given), forget.batch(range(5)))[1])
    b = flat(oracle.grad(NLL().bind(given), retain.batch(range(7)))[1])
    conflict = min(0.0, float(a @ b))
    d = a - conflict / (b @ b) * b + b - conflict / (a @ a) * a
    oracle.cost = 0.0
    method = GradientRule("pcgrad", Ascend(NLL()), NLL(), Descent("sgd", 0.5))
    method.step(given, oracle, method.init(given, oracle))
    assert torch.allclose(flat(oracle.params), before - 0.5 * d, atol=1e-12)
    assert oracle.cost == pytest.approx(12)


@pytest.mark.parametrize("rule", RULES)
def test_rules_run_on_text(rule):
    given = task(texts(4, 1), texts(6, 2), [1.0] * 4)
    oracle = TorchOracle(llama())
    method = build_method(rule, "text", width=16)
    assert method.needs == frozenset()
    state, log = method.init(given, oracle), None
    for _ in range(2):
        state, log = method.step(given, oracle, state)
    assert all(math.isfinite(value) for value in log.numbers.values())
    assert oracle.cost == pytest.approx(20)
    bounded = GradientRule(rule, Ascend(Bounded("token")), NLL(), Descent("adamw", 1e-3))
    assert bounded.needs == {"targets"}


def test_a_vanished_forget_gradient_leaves_the_retain_gradient():
    b = [1.0, 2.0]
    assert direction("pcgrad", [0.0, 0.0], b) == b  # the plateau of a bounded loss


def test_without_torchjd_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest):
        if name.startswith("torchjd"):
            raise ImportError("No module named 'torchjd'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    given = task(images(2, 1), images(2, 2))
    method = build_method("pcgrad", "image")
    with pytest.raises(UserError, match=r"ofmu\[torchjd\]"):
        method.init(given, TorchOracle(net()))
