"""Similarity measures: every closed-form pullback against autograd, and what OFMU does with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ofmu.core import vectors
from ofmu.core.inner import inner, penalty_gradient
from ofmu.core.oracle import TorchOracle
from ofmu.core.schedule import Driven, Geometric, Lagrangian, Memory, Priority, Relative
from ofmu.core.similarity import Cosine, Dot, Hinge, Only, PerLayer, Projection, SquaredCosine, cosine
from ofmu.losses import class_nll
from ofmu.methods import OFMU, Descent
from ofmu.methods.ascent import lagrangian_push
from small import flat, net, task
from test_ofmu import BARE, FORGET, RETAIN, once

NAMES = ["a.weight", "a.bias", "b.weight"]
SHAPES = [(3, 2), (3,), (2, 2)]
PLAIN = {
    Cosine(): lambda a, b: torch.cosine_similarity(_cat(a), _cat(b), dim=0),
    SquaredCosine(): lambda a, b: torch.cosine_similarity(_cat(a), _cat(b), dim=0) ** 2,
    Hinge(): lambda a, b: torch.cosine_similarity(_cat(a), _cat(b), dim=0).clamp_min(0),
    PerLayer(): lambda a, b: sum(
        torch.cosine_similarity(_cat(a[i:j]), _cat(b[i:j]), dim=0) / 2 for i, j in ((0, 2), (2, 3))
    ),
    Projection(): lambda a, b: _cat(a) @ _cat(b) / _cat(b).norm(),
    Dot(): lambda a, b: _cat(a) @ _cat(b),
    Only(("b.*", "a.bias")): lambda a, b: torch.cosine_similarity(_cat(a[1:]), _cat(b[1:]), dim=0),
    Only(("a.*",), Projection()): lambda a, b: _cat(a[:2]) @ _cat(b[:2]) / _cat(b[:2]).norm(),
}


def _cat(v):
    return torch.cat([x.reshape(-1) for x in v])


def _pair(seed):
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES] for _ in range(2)]


@pytest.mark.parametrize("measure", PLAIN, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("seed", [0, 1, 2, 3])  # cosines of both signs
def test_the_closed_form_is_what_autograd_finds(measure, seed):
    a, b = _pair(seed)
    found = measure(a, b, NAMES)
    live = [[x.clone().requires_grad_() for x in v] for v in (a, b)]
    value = PLAIN[measure](*live)
    grads = torch.autograd.grad(value, [*live[0], *live[1]], materialize_grads=True)
    assert float(found.value) == pytest.approx(float(value.detach()), abs=1e-14)
    assert torch.allclose(_cat([*found.u, *found.w]), _cat(grads), rtol=0, atol=1e-13)


def test_the_cosines_seen_have_both_signs():
    assert {bool(cosine(*_pair(seed)).value > 0) for seed in range(4)} == {True, False}


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_what_ignores_length_is_orthogonal_to_what_it_measures(seed, power):
    a, b = _pair(seed)
    a = vectors.scale(10.0**power, a)
    for measure in (Cosine(), SquaredCosine(), Hinge(), PerLayer(), Only(("a.*",))):
        found = measure(a, b, NAMES)
        for u, g in ((found.u, a), (found.w, b)):
            size = vectors.length(u) * vectors.length(g)
            assert abs(float(vectors.dot(u, g))) <= 1e-12 * max(size, 1e-30)
    w = Projection()(a, b, NAMES).w
    assert abs(float(vectors.dot(w, b))) <= 1e-12 * vectors.length(w) * vectors.length(b)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.floats(-2, 2))
def test_products_are_linear_and_symmetric(seed, alpha):
    oracle = TorchOracle(net())
    torch.manual_seed(seed)
    v, w = ([torch.randn_like(p) for p in oracle.params] for _ in range(2))
    line = oracle.linearize(class_nll, FORGET.batch(range(6)), slot="x")
    hv, hw = line.hvp(v), line.hvp(w)
    both = line.hvp(vectors.combine(alpha, v, 1.0, w))
    assert torch.allclose(flat(both), alpha * flat(hv) + flat(hw), rtol=0, atol=1e-12)
    assert float(vectors.dot(w, hv)) == pytest.approx(float(vectors.dot(v, hw)), abs=1e-12)


@pytest.mark.parametrize("measure", PLAIN, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("outer", ["exact", "differences"])
def test_phi_and_its_outer_product_with_every_measure(measure, outer):
    model = net()
    oracle = TorchOracle(model, outer=outer)
    oracle.names = ["a.weight", "a.bias", "b.weight", "b.bias"]
    plain = PLAIN[measure]
    if isinstance(measure, Only):
        rows = [
            i for i, n in enumerate(oracle.names) if any(n.startswith(p.rstrip("*")) for p in measure.patterns)
        ]
        inside = PLAIN[measure.measure]
        plain = lambda a, b: inside([a[i] for i in rows], [b[i] for i in rows])  # noqa: E731
    if isinstance(measure, PerLayer):
        part = PLAIN[Cosine()]
        plain = lambda a, b: (part(a[:2], b[:2]) + part(a[2:], b[2:])) / 2  # noqa: E731
    values = [class_nll(model, s.batch(range(len(s)))).mean() for s in (FORGET, RETAIN)]
    a, b = (torch.autograd.grad(value, oracle.params, create_graph=True) for value in values)
    phi = torch.autograd.grad(values[0] - 0.7 * plain(a, b), oracle.params, create_graph=True)
    push = torch.autograd.grad(sum((x * x).sum() for x in phi), oracle.params)
    pair = (class_nll, FORGET.batch(range(6))), (class_nll, RETAIN.batch(range(8)))
    parts = inner(oracle, *pair, measure, again=True)
    assert torch.allclose(flat(parts.gradient(0.7)), flat(phi), rtol=0, atol=1e-12)
    most = 1e-10 if outer == "exact" else 1e-6 * float(flat(push).norm())
    assert torch.allclose(flat(penalty_gradient(oracle, parts, 0.7)), flat(push), rtol=0, atol=most)


def test_where_there_is_no_similarity_it_says_so():
    a, b = _pair(0)
    zero = vectors.zeros_like(a)
    for measure in (Cosine(), SquaredCosine(), Hinge(), PerLayer(), Projection(), Only(("a.*",))):
        with pytest.raises(ZeroDivisionError):
            measure(a, zero, NAMES)
    half = [a[0], a[1], torch.zeros(2, 2, dtype=torch.float64)]
    assert float(PerLayer()(half, b, NAMES).value) == pytest.approx(float(cosine(a[:2], b[:2]).value))
    with pytest.raises(ValueError, match=r"no parameter matches layers.9.\*; their names are like a.weight"):
        Only(("layers.9.*",))(a, b, NAMES)


def test_the_measure_of_a_method_turns_its_direction():
    directions = {}
    for measure in (Cosine(), Dot(), Only(("2.*",))):
        method = replace(BARE, beta=0.9, rate=0.01, similarity=measure)
        directions[measure], _, _ = once(method, task(FORGET, RETAIN), TorchOracle(net()))
    cosines = [
        float(torch.cosine_similarity(directions[Cosine()], directions[m], dim=0)) for m in (Dot(), Only(("2.*",)))
    ]
    assert max(cosines) < 0.999


# ---- lazy refresh


def _lazy(drift, rate=1e-4):
    method = replace(BARE, beta=0.3, inner_steps=6, rate=rate, refresh=3, drift=drift)
    oracle = TorchOracle(net())
    return once(method, task(FORGET, RETAIN), oracle), oracle.cost


def test_a_lazy_cosine_is_taken_every_third_step_and_points_the_same_way():
    (moved, _, state), cost = _lazy(drift=0.9)
    # retain: 8 for repair; at 2 of 6 steps 6 G on 6 and 8 samples (g, H u), else one gradient of the forget batch
    assert cost == pytest.approx(2 * 3 * (6 + 8) + 4 * 6 + 8)
    assert state.lazy
    fresh, _, _ = once(replace(BARE, beta=0.3, inner_steps=6, rate=1e-4), task(FORGET, RETAIN), TorchOracle(net()))
    assert float(torch.cosine_similarity(moved, fresh, dim=0)) > 0.999


def test_a_lazy_cosine_that_drifts_turns_itself_off():
    (_, _, state), cost = _lazy(drift=1.1)  # no cosine is that large
    assert not state.lazy
    assert state.pull == []
    assert cost == pytest.approx(4 * 3 * (6 + 8) + 2 * 6 + 8)  # steps 1, 4, 5, 6 are fresh


# ---- schedules


def test_a_driven_penalty_grows_only_where_stationarity_failed_to_fall():
    penalty, memory = Driven(Geometric(1.0, 2.0), fall=0.9), Memory()
    seen = []
    for stationarity in (10.0, 8.0, 7.9, 7.1, 3.0, 3.0):  # 7.1 ≤ .9 · 8
        memory = penalty.observe(memory, stationarity)
        seen.append(penalty.weight(99, 0.0, 0.0, memory))
    assert seen == [1, 1, 2, 2, 2, 4]
    assert Relative().observe(Memory(3, 5.0), 9.0) == Memory(3, 5.0)
    assert Driven(Relative(0.1, 2.0, 0.3)).weight(9, 2.0, 4.0, Memory(1)) == pytest.approx(0.2 * 2 / 4)


def test_the_augmented_lagrangian_pushes_along_its_multiplier():
    """∇(λ·∇Φ + ρ‖∇Φ‖²) by autograd, and λ ← λ + 2ρ∇Φ."""
    oracle = TorchOracle(net())
    pair = (class_nll, FORGET.batch(range(6))), (class_nll, RETAIN.batch(range(8)))
    torch.manual_seed(0)
    multiplier = [torch.randn_like(p) for p in oracle.params]
    parts = inner(oracle, *pair, again=True)
    phi = parts.gradient(0.5)
    value = vectors.dot(multiplier, phi) + 0.2 * vectors.dot(phi, phi)
    expected = torch.autograd.grad(value, oracle.params, retain_graph=True)
    found, after = lagrangian_push(oracle, parts, 0.5, 0.2, multiplier, reach=1e9)
    assert torch.allclose(flat(found), flat(expected), rtol=0, atol=1e-11)
    assert torch.allclose(flat(after), flat(multiplier) + 0.4 * flat(phi))
    parts = inner(oracle, *pair, again=True)
    _, after = lagrangian_push(oracle, parts, 0.5, 0.2, multiplier, reach=0.1)
    assert float(flat(after).norm()) == pytest.approx(0.1 * 0.4 * float(flat(phi).norm()))


def test_multipliers_meet_a_constraint_that_the_same_penalty_misses():
    """From the same start and ρ, ‖∇Φ‖ ends lower with λ than without."""

    def stationarity(penalty):
        method = replace(BARE, beta=0.1, rate=1e-6, penalty=penalty, outer=Descent("sgd", 0.05))
        given, oracle = task(FORGET, RETAIN), TorchOracle(net())
        state = method.init(given, oracle)
        for _ in range(40):
            state, log = method.step(given, oracle, state)
        return log.numbers["stationarity"]

    assert stationarity(Lagrangian(0.3, 1.0)) < 0.8 * stationarity(Geometric(0.3, 1.0))


def test_priority_by_hand():
    assert Priority().factors(7) == (1.0, 1.0)
    assert [Priority(0.2, 0.8, 3).at(k) for k in (0, 1, 3, 9)] == pytest.approx([0.2, 0.4, 0.8, 0.8])
    assert Priority(1.0, 0.0, 4, "cosine").at(2) == pytest.approx(0.5)
    assert Priority(1.0, 0.0, 4, "cosine").at(1) == pytest.approx((1 + 2**-0.5) / 2)
    there_and_back = [Priority(0.8, 0.2, 2, "triangle").at(k) for k in range(7)]
    assert there_and_back == pytest.approx([0.8, 0.5, 0.2, 0.5, 0.8, 0.5, 0.2])
    with pytest.raises(ValueError, match=r"start is 1.5, expected 0 \(retain alone\) to 1"):
        Priority(1.5)


@pytest.mark.parametrize(("p", "up", "down"), [(0.5, 1, 1), (0.75, 1.5, 0.5), (0.0, 0, 2)])
def test_priority_scales_the_two_loops(p, up, down):
    ascent = replace(BARE, scaling="fixed", rate=0.01)
    descent = replace(BARE, rate=0.0, outer=Descent("sgd", 0.1))
    for method, factor in ((ascent, up), (descent, down)):
        neutral, _, _ = once(method, task(FORGET, RETAIN), TorchOracle(net()))
        moved, _, _ = once(replace(method, priority=Priority(p)), task(FORGET, RETAIN), TorchOracle(net()))
        assert torch.allclose(moved, factor * neutral, rtol=0, atol=1e-12)


def test_impossible_fields_are_refused():
    with pytest.raises(ValueError, match="refresh is 0"):
        OFMU(refresh=0)
