"""Every backend's accuracy as a number, in float32, on every kind of network; what is chosen, what is refused."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from ofmu.benchmarks.accuracy.measure import (
    BACKENDS,
    BETA,
    Elementary,
    Three,
    accuracy,
    direction,
    error,
    errors,
    reference,
)
from ofmu.benchmarks.accuracy.measure import oracle as make_oracle
from ofmu.benchmarks.accuracy.page import write
from ofmu.benchmarks.accuracy.problems import DOUBLE, IMAGES, NETS, Problem, double, mlp, problem
from ofmu.core import vectors
from ofmu.core.backend import Backend, Facts, choose, decide
from ofmu.core.bits import Bits, masked
from ofmu.core.differences import GOOD, INSIDE, Steps
from ofmu.core.inner import inner, penalty_gradient
from ofmu.core.kinks import Held
from ofmu.core.likelihood import digits, nll
from ofmu.core.looked import Looked
from ofmu.core.oracle import TorchOracle
from ofmu.core.smooth import Closed, silu
from ofmu.core.terms import Terms
from ofmu.core.watch import kinks
from ofmu.engine.oracles import build_oracle
from ofmu.errors import UserError
from ofmu.losses import Bounded, Plausible, class_nll, token_nll
from ofmu.methods import OFMU, build_method
from ofmu.tasks import TensorSamples
from small import images, llama, task, texts

MLP, CNN, RELU = IMAGES


def _problem(name: str):
    """(float32 network, loss, forget batch, retain batch)."""
    found = problem(name)
    return found.model, found.loss, found.forget, found.retain


# The promised accuracies. Forward differences alone come to about 1e-3; "auto" takes them where they keep below.
MOST = {
    "exact": (1e-5, 1e-5, 1e-5),
    "mixed": (1e-5, 1e-5, 3e-2),
    "differences, forward": (3e-3, 3e-3, 3e-2),
    "differences, central": (3e-4, 3e-4, 3e-2),
    "differences, auto": (1e-3, 1e-3, 3e-2),
}


@pytest.mark.parametrize("name", NETS)
def test_accuracy_in_float32_with_automatic_steps(name):
    for row in accuracy(name, "float32", dense=name in IMAGES):
        errors, backend = row["errors"], row["derivatives"]
        print(f"{name:30} {backend:20}", *(f"{what} {e:.1e}" for what, e in errors.items()))
        most = Three(*MOST[backend])._asdict()
        assert all(errors[what] <= limit for what, limit in most.items()), (backend, errors)


@pytest.mark.parametrize("name", DOUBLE)
def test_accuracy_in_float64(name):
    for row in accuracy(name, "float64", dense=name in IMAGES):
        marks = {what: most for what, most in row["marks"].items() if most is not None}
        assert all(row["errors"][what] <= most for what, most in marks.items()), row


def _fitted() -> Problem:
    """Every sample of both batches at a loss of some 1e-5."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 3))
    samples = TensorSamples(torch.randn(16, 20), torch.randint(0, 3, (16,)), list("abcdefghijklmnop"))
    adam, whole = torch.optim.Adam(net.parameters(), 1e-2), samples.batch(range(16))
    for _ in range(600):
        adam.zero_grad()
        class_nll(net, whole).mean().backward()
        adam.step()
    return Problem(net, class_nll, samples.batch(range(8)), samples.batch(range(8, 16)))


def test_accuracy_at_samples_that_are_fitted():
    given = _fitted()
    losses = class_nll(given.model, given.forget).values.detach()
    assert 1e-6 < float(losses.mean()) < 1e-4  # where p − 1 has one to three digits in float32
    expected = reference(copy.deepcopy(given), dense=False)
    for backend, most in MOST.items():
        asked = make_oracle(copy.deepcopy(given.model), backend)
        for _ in range(2):
            found = errors(asked, given, expected)
            assert all(e <= limit for e, limit in zip(found, most, strict=True)), (backend, found)


def test_cross_entropy_that_keeps_its_digits_is_torchs_otherwise():
    g = torch.Generator().manual_seed(0)
    z = torch.randn(5, 4, generator=g, dtype=torch.float64, requires_grad=True)
    y = torch.randint(0, 4, (5,), generator=g)
    plain = F.cross_entropy(z, y, reduction="none")
    assert torch.equal(nll(z, y), plain)
    with digits(True):
        assert torch.allclose(nll(z, y), plain, rtol=1e-14)
        assert torch.autograd.gradcheck(lambda x: nll(x, y), z)
        assert torch.autograd.gradgradcheck(lambda x: nll(x, y), z)
    oracle = TorchOracle(mlp())
    with oracle.exactly(), oracle.precision():
        assert torch.equal(nll(z, y), plain)  # first derivatives are as ever


def test_the_dense_reference_is_the_one_by_products():
    by_rows, by_products = (reference(problem(CNN), dense) for dense in (True, False))
    assert max(error(a, b) for a, b in zip(by_rows, by_products, strict=True)) < 1e-13
    x, w, b = torch.randn(2, 3, 4), torch.randn(4), torch.randn(4)
    expected = F.layer_norm(x, (4,), w, b)
    with Elementary():
        assert torch.allclose(F.layer_norm(x, (4,), w, b), expected, atol=1e-6)


@pytest.mark.parametrize(
    "norm", [nn.LayerNorm((3, 5)), nn.LayerNorm(5, elementwise_affine=False), nn.InstanceNorm1d(3, affine=True)]
)
def test_third_derivatives_through_a_normalisation_are_right(norm):
    norm = norm.double()
    x, v, u, c = torch.randn(4, 2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def second(at: torch.Tensor) -> torch.Tensor:
        at = at.detach().requires_grad_()
        with Closed():
            (g,) = torch.autograd.grad((torch.tanh(norm(at)) * c).sum(), at, create_graph=True)
        (h,) = torch.autograd.grad((g * g).sum(), at, create_graph=True)
        (third,) = torch.autograd.grad((h * v).sum(), at, retain_graph=True)
        return torch.stack([(h * v).sum(), (third * u).sum()]).detach()

    expected = norm(x)
    with Closed():
        assert torch.allclose(norm(x), expected, atol=1e-12)
    slope = (second(x + 1e-5 * u)[0] - second(x - 1e-5 * u)[0]) / 2e-5
    assert float(second(x)[1] / slope) == pytest.approx(1, abs=1e-7)  # torch's own is off by up to a third


def test_a_missed_mark_is_printed_as_missed(tmp_path):
    row = accuracy(MLP, "float64")[0]
    missed = {**row, "errors": {**row["errors"], "phi": 2e-8}}
    write([row, missed], tmp_path, "python benchmarks/accuracy.py", "here")
    page = (tmp_path / "accuracy.md").read_text()
    assert page.count("| yes |") == page.count("| no |") == 1
    assert "2e-08 (≤ 1e-08)" in page
    assert "1 of 2 rows keep their marks" in page


@pytest.mark.parametrize("backend", BACKENDS)
def test_probes_restore_parameters_and_buffers_bit_for_bit_and_dropout_is_off(backend):
    net, loss, forget, retain = _problem(CNN)
    net = nn.Sequential(*net, nn.Dropout(0.5)).train()
    oracle = make_oracle(net, backend)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for _ in range(2):
        penalty_gradient(oracle, inner(oracle, (loss, forget), (loss, retain), again=True), BETA)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_model_that_somebody_puts_in_training_mode_is_evaluated_all_the_same():
    _, loss, batch, _ = _problem(MLP)
    oracle = TorchOracle(nn.Sequential(mlp(), nn.Dropout(0.5)))
    v = direction(oracle.params)
    for ask in (
        lambda: oracle.linearize(loss, batch, slot="x").hvp(v)[0],
        lambda: oracle.grad(loss, batch)[1][0],
        lambda: oracle.values(loss, batch).values,
    ):
        expected = ask()
        for part in (oracle.model, oracle.model[1]):
            part.train()
            assert torch.equal(ask(), expected)


@pytest.mark.parametrize(
    ("backend", "phi", "push", "total"),
    [
        ("exact", 6, 18, 48),
        ("mixed", 6, 12, 42),
        ("differences, forward", 4, 12, 32),
        ("differences, central", 6, 18, 48),
    ],
)
def test_a_printed_iteration_makes_exactly_the_derivatives_that_it_needs(backend, phi, push, total):
    forget, retain = images(8, 1), images(8, 2)  # of the same gradient twice there is no angle to change
    for samples in (forget, retain):
        samples.pixels = samples.pixels.float()
    given = task(forget, retain)
    oracle = make_oracle(mlp(), backend)
    method = OFMU.paper(inner_steps=5, inner_lr=1e-3, outer_lr=1e-3)
    state = method.init(given, oracle)
    for _ in range(2):  # steps are found in the first iteration
        oracle.cost = 0.0
        state, _ = method.step(given, oracle, state)
    assert oracle.cost == pytest.approx(8 * total)
    assert 5 * phi + push == total


def test_a_probe_that_does_not_hold_its_branches_is_wrong_and_one_that_does_is_right(monkeypatch):
    _, loss, forget, _ = _problem(MLP)
    net = nn.Sequential(nn.Linear(4, 1000), nn.ReLU(), nn.Linear(1000, 3))
    v = direction(list(net.parameters()))
    exact = TorchOracle(net).linearize(loss, forget, slot="x").hvp(v)
    oracle = make_oracle(net, "differences, central")
    held = oracle.linearize(loss, forget, slot="x").hvp(v)
    assert error(held, exact) < 1e-3
    monkeypatch.setattr(Looked, "kinked", lambda *_: False)  # as if the network were smooth
    oracle.steps.relative.clear()
    assert error(oracle.linearize(loss, forget, slot="x").hvp(v), exact) > 1e-2


def test_held_activations_are_the_activations():
    torch.manual_seed(0)
    x = torch.randn(4, 2, 6, 6)
    acts = (
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.LeakyReLU(0.2),
        nn.PReLU(2),
        nn.ReLU6(),
        nn.Hardtanh(),
        nn.Hardsigmoid(),
        nn.Hardswish(),
        nn.MaxPool2d(2),
    )
    for act in acts:
        held = Held(activations=True)
        for _ in range(2):
            with held:
                assert torch.equal(act(3 * x), act(3 * x)), act
        with held:
            assert not torch.equal(act(-3 * x), act(3 * x.clone())), act  # -3x with the branches of 3x


def test_plausible_alternatives_hold_their_active_set():
    net, samples = llama(), texts(3, 1)
    batch = samples.batch(range(3))
    losses = token_nll(net, batch)
    tau = [v[w > 0].detach() + 1e-6 for v, w in zip(losses.values, losses.weights, strict=True)]
    bound = Plausible(Bounded("token", gate=False), 0.3).bind(task(samples, samples, tau, unseen=llama(1)))
    v = direction(list(net.parameters()))
    exact = TorchOracle(net).linearize(bound, batch, slot="x").hvp(v)
    found = make_oracle(net, "differences, central").linearize(bound, batch, slot="x").hvp(v)
    assert error(found, exact) < 1e-3


# ---- what is chosen


FACTS = Facts(1_000, 1_000, False, False, None, True, False, 10, 0, 10_000)


@pytest.mark.parametrize(
    ("change", "name", "why"),
    [
        ({}, "exact", "small"),
        ({"parameters": 10**8}, "mixed", "double backward fits"),
        ({"parameters": 10**8, "kinked": True}, "mixed", "kinks held"),
        ({"free": 100}, "mixed", "double backward fits"),
        ({"vector": 1_000}, "differences", "more memory than is free"),
        ({"free": 60}, "mixed", "one loss's double backward fits"),
        ({"free": 40}, "differences", "more memory than is free"),
        ({"free": None, "parameters": 10**8}, "mixed", "fits"),
        ({"holdable": False, "kinked": True, "free": 1}, "exact", "kinks that differences cannot hold"),
        ({"sharded": True}, "differences", "sharded"),
        ({"attention": "flash_attention_2"}, "differences", "flash_attention_2"),
        ({"attention": "sdpa", "adapter": True}, "exact", "of an adapter"),
    ],
)
def test_the_choice_and_its_reason(change, name, why):
    found = decide(replace(FACTS, **change))
    assert found.name == name
    assert found.streamed == (change in ({"free": 60}, {"holdable": False, "kinked": True, "free": 1}))
    assert why in str(found)


@pytest.mark.parametrize("name", [*IMAGES, "Llama, eager"])
@pytest.mark.parametrize("outer", ["exact", "differences"])
def test_one_graph_at_a_time_is_exact_and_costs_one_gradient_more(name, outer):
    net, loss, forget, retain = _problem(name)
    found, costs = [], []
    for streamed in (False, True):
        oracle = TorchOracle(copy.deepcopy(net), outer=outer, scheme="forward", streamed=streamed)
        found.append(inner(oracle, (loss, forget), (loss, retain)).gradient(BETA))
        costs.append(oracle.cost)
        penalty_gradient(oracle, inner(oracle, (loss, forget), (loss, retain), again=True), BETA)
    assert error(found[1], found[0]) < 1e-6
    assert costs[1] - costs[0] == len(retain)
    assert costs[0] == 3 * (len(forget) + len(retain))


def test_silu_in_closed_form_has_silus_derivatives():
    x = torch.linspace(-6, 6, 9, dtype=torch.float64, requires_grad=True)

    def derivatives(f):
        y = f(x) * torch.arange(1, 10)
        for _ in range(4):
            scalar = (y * torch.linspace(1, 2, 9)).sum() + y.square().sum()
            (y,) = torch.autograd.grad(scalar, x, create_graph=True)
            yield y

    for found, expected in zip(derivatives(silu), derivatives(F.silu), strict=True):
        assert torch.allclose(found, expected, rtol=1e-13, atol=1e-13)
    assert torch.autograd.gradgradcheck(silu, x)


class Parabola:
    """A field whose differences are known: g(θ) = θ + bend θ²/2 + noise, with noise of a known size."""

    def __init__(self, bend: float, noise: float) -> None:
        self.params = [torch.ones(400, dtype=torch.float64)]
        self.bend, self.noise, self.calls = bend, noise, 0

    def __call__(self) -> list[torch.Tensor]:
        self.calls += 1
        g = torch.Generator().manual_seed(self.calls)
        x = self.params[0]
        return [x + self.bend * x**2 / 2 + self.noise * torch.randn(400, generator=g, dtype=torch.float64)]


@pytest.mark.parametrize(("noise", "forward"), [(4e-8, True), (4e-6, False)])
def test_a_trial_decides_between_forward_and_central_and_finds_the_best_step(noise, forward):
    field = Parabola(1.0, noise)
    steps = Steps(field.params)
    steps.eps = torch.finfo(torch.float32).eps
    v = [torch.randn(400, generator=torch.Generator().manual_seed(9), dtype=torch.float64)]
    expected = [2 * v[0]]  # (1 + bend θ) v at θ = 1
    for _ in range(2):
        at = field()
        field.calls = before = 1000
        found = steps.difference(field, v, at, "x", scheme="auto")
    assert field.calls - before == (1 if forward else 2)  # warm: no probe
    change, off = steps.tried["x"].change, steps.tried["x"].off(1.0)
    assert (off <= GOOD) == forward
    assert error(found, expected) < (2 * off if forward else 1e-3)
    if forward:
        # with noise σ in both gradients and ε v the step: ε² = 2√2 σ / (bend ‖v²‖/√n), the change 2ε‖v‖/‖g‖
        epsilon = (2 * 2**0.5 * noise * 20 / float(v[0].square().norm())) ** 0.5
        assert change == pytest.approx(2 * epsilon * float(v[0].norm()) / float(at[0].norm()), rel=0.3)
    steps.relative["x"] *= 10  # a field that bends otherwise is tried anew
    field.calls = 0
    steps.difference(field, v, at, "x", scheme="auto")
    assert field.calls >= 3


@pytest.mark.parametrize("scheme", ["forward", "central", "auto"])
def test_a_field_without_a_value_poisons_no_later_step(scheme):
    field = Parabola(1.0, 0.0)
    steps, at = Steps(field.params), field()
    v = [torch.ones(400, dtype=torch.float64)]
    found = steps.difference(lambda: [x * float("nan") for x in field()], v, at, "x", scheme=scheme)
    assert bool(found[0].isnan().all())
    assert (steps.relative, steps.tried) == ({}, {})

    def near():  # nothing but NaN beyond a millionth
        return [torch.where((field.params[0] - 1).abs() < 1e-6, x, float("nan")) for x in field()]

    assert error(steps.difference(near, v, at, "x", scheme="forward"), [2 * v[0]]) < 1e-3


def test_a_product_is_judged_beside_what_it_is_added_to():
    field = Parabola(1.0, 1e-6)
    steps = Steps(field.params)
    steps.eps = torch.finfo(torch.float32).eps
    v = [torch.randn(400, generator=torch.Generator().manual_seed(9), dtype=torch.float64)]
    expected, at = [2 * v[0]], field()

    def calls(**asked):
        field.calls = 0
        found = steps.difference(field, v, at, "x", scheme="auto", **asked)
        return field.calls, error(found, expected)

    calls()
    assert calls()[0] == 2  # by itself it needs to be central
    whole = 10 * float(expected[0].norm())
    many, off = calls(beside=whole)
    assert many == 1
    assert off / 10 < GOOD
    assert steps.tried["x"].off(3.0, 3 * whole) == pytest.approx(steps.tried["x"].off(1.0, whole))
    assert GOOD < steps.tried["x"].off(1.0) < INSIDE
    assert calls(place="inside")[0] == 1
    steps.tried["x"] = steps.tried["x"]._replace(error=3 * INSIDE * steps.tried["x"].size)
    assert calls(place="inside")[0] == 2


@pytest.mark.parametrize(("beta", "gradients"), [(0.05, 2), (None, 3)])
def test_the_weight_of_the_similarity_decides_how_exact_its_products_need_be(beta, gradients):
    given = problem("Llama, eager")
    oracle = make_oracle(given.model, "differences, auto")
    batches = (given.loss, given.forget), (given.loss, given.retain)
    for _ in range(2):
        before = oracle.cost
        found = inner(oracle, *batches, beta=beta).gradient(0.05)
    assert oracle.cost - before == gradients * (len(given.forget) + len(given.retain))
    assert error(found, inner(TorchOracle(given.model), *batches).gradient(0.05)) < 1e-3


def test_a_network_that_no_backend_can_do_is_refused():
    with pytest.raises(ValueError, match="cannot be held"):
        decide(replace(FACTS, holdable=False, sharded=True))


class Functional(nn.Module):
    """A kink that no module shows."""

    def __init__(self, kink):
        super().__init__()
        self.first, self.last, self.kink = nn.Linear(4, 6), nn.Linear(6, 3), kink

    def forward(self, x):
        return self.last(self.kink(self.first(x)))


@pytest.mark.parametrize(
    ("kink", "kinked", "holdable"),
    [
        (torch.tanh, False, True),
        (torch.relu, True, True),
        (lambda x: torch.relu(input=x), True, True),
        (lambda x: x.clamp(min=0.0), True, False),
        (lambda x: torch.maximum(x, -x), True, False),
        (lambda x: torch.where(x > 0, x, 0.1 * x), True, False),
        (lambda x: x * (x >= 0), True, False),
        (lambda x: x.masked_fill(x < 0, 0.0), True, False),
        (lambda x: x if x.sum() <= 0 else 2 * x, True, False),
        (lambda x: x * torch.ones(6).clamp_min(0), False, True),  # no parameter on the way
        (
            lambda x: checkpoint(lambda y: torch.relu(y).sin(), x, use_reentrant=False),
            True,
            False,
        ),  # runs again, where nothing is held
        (lambda x: checkpoint(torch.tanh, x, use_reentrant=False), False, True),
    ],
)
def test_what_a_network_does_decides_not_what_its_modules_are_called(kink, kinked, holdable):
    from ofmu.core.backend import inspect

    net, _, batch, _ = _problem(MLP)
    net = Functional(kink)
    facts = inspect(net, class_nll, batch)
    assert (facts.kinked, facts.holdable) == (kinked, holdable)
    oracle = make_oracle(net, "differences, forward")
    if holdable:
        oracle.linearize(class_nll, batch, slot="x")
        return
    assert choose(net, class_nll, batch).name == "exact"
    with pytest.raises(ValueError, match="use products='exact'"):
        oracle.linearize(class_nll, batch, slot="x")


@pytest.mark.parametrize(
    ("pixels", "bound"),
    [(True, Bounded("sample", two_sided=True)), (False, Bounded("token", two_sided=True)), (False, Plausible())],
)
def test_our_own_losses_choose_by_detached_values(pixels, bound):
    net, _, batch, _ = _problem(MLP if pixels else "Llama, eager")
    samples = images(5, 1) if pixels else texts(3, 1)
    given = task(samples, samples, [2.0] * len(samples), unseen=None if pixels else llama())
    assert kinks(lambda: bound.bind(given)(net, batch)) == frozenset()


def test_every_loss_is_looked_at_for_branches_not_the_first_alone():
    net, loss, batch, _ = _problem(MLP)
    oracle = make_oracle(net, "differences, forward")
    oracle.linearize(loss, batch, slot="retain")

    def hinge(model, given):
        terms = loss(model, given)
        return Terms(torch.where(terms.values < 1.1, terms.values, 1.1), terms.weights)

    with pytest.raises(ValueError, match=r"found lt, .* core\.kinks\.hold\(the mask\)"):
        oracle.linearize(hinge, batch, slot="forget")


def test_the_engine_says_what_it_chose_and_asks_only_for_methods_that_bend():
    given = task(images(4, 1), images(4, 2), [0.5] * 4)
    oracle, backend = build_oracle(mlp().double(), given, OFMU())
    assert (backend.name, oracle.outer) == ("exact", "exact")
    assert str(backend) == "derivatives: exact (small: 51 trained parameters)"
    _, backend = build_oracle(mlp().double(), given, build_method("graddiff", "image"))
    assert "no second derivative" in backend.why
    _, backend = build_oracle(mlp().double(), given, OFMU(), backend=Backend("differences", "asked for"))
    assert backend.products == "differences"


# ---- what is refused


class DistributedDataParallel(nn.Module):
    """A wrapper of that name."""

    def __init__(self, module):
        super().__init__()
        self.module = module


class FSDPModule(DistributedDataParallel):
    """A wrapper for sharding that did not shard."""


def _padded() -> nn.Module:
    return nn.Sequential(nn.Embedding(5, 3, padding_idx=2), nn.Linear(3, 2))


def _compiled() -> nn.Module:
    net = mlp()
    net._compiled_call_impl = net.forward  # what net.compile() leaves, without seconds of importing
    return net


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (DistributedDataParallel(mlp()), "pass model.module"),
        (type("Wrapped", (nn.Linear, type("FSDPModule", (), {})), {})(2, 2), "sharding is not engaged"),
        (_padded(), "padding_idx 2.*set its padding_idx to None"),
        (nn.Embedding(5, 3, max_norm=1.0), "max_norm=1.0, which writes to it .* set its max_norm to None"),
        (
            nn.EmbeddingBag(5, 3, scale_grad_by_freq=True),
            "scale_grad_by_freq=True, which gives the gradient of no",
        ),
        (nn.Embedding(5, 3, sparse=True), "sparse=True, which gives sparse gradients"),
        (mlp().bfloat16(), "expected float32"),
        (
            nn.Sequential(mlp(), nn.Linear(3, 3).double()),
            r"two types \('0.2.bias' is torch.float32, '1.bias' torch",
        ),
        (nn.Sequential(DistributedDataParallel(mlp())), "pass model.module"),
        (type("OptimizedModule", (nn.Sequential,), {})(mlp()), "pass model._orig_mod"),
        (_compiled(), "before model.compile"),
    ],
)
def test_what_cannot_be_right_is_refused_with_a_remedy(model, message):
    with pytest.raises(ValueError, match=message):
        TorchOracle(model)
    with pytest.raises(UserError, match=message):
        build_oracle(model, task(images(4, 1), images(4, 2), [0.5] * 4), OFMU())


def test_frozen_parameters_may_be_of_another_type():
    assert TorchOracle(nn.Sequential(mlp(), nn.Linear(3, 3).double().requires_grad_(False))).params[0].is_leaf


def test_a_frozen_embedding_may_pad():
    net = _padded()
    net[0].requires_grad_(False)
    assert TorchOracle(net).names == ["1.weight", "1.bias"]


class Tabled(Functional):
    """An embedding that no module shows."""

    def forward(self, x):
        return self.last(self.kink((x > 0).sum(1), self.last.weight.new_ones(5, 6) * self.first.bias))


def test_padding_is_refused_where_no_module_of_torchs_shows_it():
    _, loss, batch, _ = _problem(MLP)
    _refused(
        Tabled(lambda i, w: F.embedding(i, w, padding_idx=2)), batch, "padding_idx 2.*gradient of real tokens"
    )
    choose(Tabled(F.embedding), loss, batch)
    choose(Tabled(lambda i, w: F.embedding_bag(i[:, None], w, padding_idx=2, mode="sum")), loss, batch)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_an_adapted_embedding_that_pads_is_refused():
    peft = pytest.importorskip("peft")
    net = llama()
    net.get_input_embeddings().padding_idx = 2
    net = peft.get_peft_model(net, peft.LoraConfig(r=2, target_modules=["embed_tokens"]))
    with pytest.raises(ValueError, match="trained embedding has padding_idx 2"):
        TorchOracle(net).linearize(token_nll, texts(3, 1).batch(range(3)), slot="x")


class Counting(Functional):
    """Running statistics that evaluation mode does not stop."""

    def __init__(self):
        super().__init__(lambda x: F.batch_norm(torch.tanh(x), self.mean, self.var, training=True))
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("var", torch.ones(6))


def test_a_pass_that_writes_to_a_buffer_is_refused():
    _, _, batch, _ = _problem(MLP)
    _refused(Counting(), batch, "writes to the buffer 'mean'.*if self.training")


def test_parts_of_a_batch_are_refused_where_a_layer_normalises_by_what_is_run_together():
    net = nn.Sequential(mlp(), nn.BatchNorm1d(3, track_running_stats=False)).double()
    message = "'1' normalises by the statistics of each batch alone.*expected running statistics"
    with pytest.raises(ValueError, match=message):
        TorchOracle(net, micro=4)
    with pytest.raises(UserError, match=message):
        build_oracle(net, task(images(4, 1), images(4, 2), [0.5] * 4), OFMU(), micro=4)
    TorchOracle(net)  # the whole batch at once is one function


def test_a_loss_without_a_gradient_is_refused():
    net, loss, batch, _ = _problem(MLP)

    def detached(model, given):
        return loss(model, given).detach()

    for ask in (
        lambda: TorchOracle(net).linearize(detached, batch, slot="x"),
        lambda: make_oracle(net, "differences, auto").linearize(detached, batch, slot="x"),
        lambda: choose(net, detached, batch),
    ):
        with pytest.raises(ValueError, match="no trained parameter has a part in the loss"):
            ask()


def test_reentrant_checkpointing_is_refused_where_it_would_be_silently_wrong():
    _, _, batch, _ = _problem(MLP)
    net = Functional(lambda x: checkpoint(torch.tanh, x, use_reentrant=True))
    _refused(net, batch, "use_reentrant=False")


def _refused(net, batch, message):
    """By exact products, by differences asked for, and by who chooses between them."""
    for ask in (
        lambda: TorchOracle(net).linearize(class_nll, batch, slot="x"),
        lambda: make_oracle(net, "differences, auto").linearize(class_nll, batch, slot="x"),
        lambda: choose(net, class_nll, batch),
    ):
        with pytest.raises(ValueError, match=message):
            ask()


@pytest.mark.parametrize(
    "part",
    [torch.tanh, F.silu, lambda x: F.scaled_dot_product_attention(*[x.view(-1, 1, 3, 2)] * 3).flatten(1)],
    ids=["tanh", "silu", "attention"],
)
def test_under_checkpointing_that_is_not_reentrant_exact_derivatives_are_exact(part):
    _, loss, forget, retain = _problem(MLP)
    found = []
    for act in (part, lambda x: checkpoint(part, x, use_reentrant=False)):
        torch.manual_seed(0)
        oracle = TorchOracle(Functional(act))
        parts = inner(oracle, (loss, forget), (loss, retain), again=True)
        found.append([*parts.gradient(BETA), *penalty_gradient(oracle, parts, BETA)])
    assert error(found[1], found[0]) < 1e-6


class Autocasting(Functional):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x)


def test_a_model_that_computes_in_half_precision_inside_is_refused_for_second_derivatives():
    _, loss, batch, _ = _problem(MLP)
    net = Autocasting(torch.tanh)
    _refused(net, batch, r"torch\.bfloat16 inside .* give autocast= to the oracle")
    assert TorchOracle(net).grad(loss, batch)[0] > 0  # first derivatives are the user's own affair


@pytest.mark.parametrize("backend", ["exact", "differences, central"])
def test_the_oracles_autocast_and_one_around_it_are_for_first_derivatives_alone(backend):
    _, loss, forget, retain = _problem(MLP)
    v, found = direction(list(mlp().parameters())), []
    for autocast, around in ((None, False), (torch.bfloat16, False), (None, True)):
        oracle = make_oracle(mlp(), backend)
        oracle.autocast = autocast
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=around):
            hv = oracle.linearize(loss, forget, slot="x").hvp(v)
            phi = inner(oracle, (loss, forget), (loss, retain)).gradient(BETA)
        found.append((oracle.grad(loss, forget)[1], [*hv, *phi]))
    (grad, second), (low, same), (_, too) = found
    assert 1e-4 < error(low, grad) < 0.1
    for second_too in (same, too):
        assert all(torch.equal(a, b) for a, b in zip(second_too, second, strict=True))


def test_a_pass_that_is_random_is_refused_unless_it_is_seeded():
    _, loss, batch, _ = _problem(MLP)
    for noise in (lambda x: F.dropout(x, 0.5), lambda x: x + torch.rand_like(x)):
        _refused(Functional(noise), batch, "random at every pass")
    seeded = Functional(lambda x: x * torch.rand(6, generator=torch.Generator().manual_seed(0)))
    make_oracle(seeded, "differences, auto").linearize(loss, batch, slot="x")


def test_vectors_of_their_own_memory():
    x = torch.ones(3)
    out = vectors.owned([x, x, torch.zeros(()).expand(3)], [torch.ones(1)])
    torch._foreach_add_(out, 1.0)
    assert [v.tolist() for v in out] == [[2.0] * 3, [2.0] * 3, [1.0] * 3]
    assert vectors.owned([x], [x])[0] is not x


@pytest.mark.parametrize("shape", [(7,), (2, 8), (3, 5, 3), (0,)])
def test_masks_are_kept_as_bits_and_multiply_as_masks_do(shape):
    torch.manual_seed(0)
    mask, x = torch.rand(shape) > 0.4, torch.randn(shape, dtype=torch.float64, requires_grad=True)
    bits = Bits(mask)
    assert bits.packed.numel() == -(-mask.numel() // 8)
    assert torch.equal(bits.values(torch.bool), mask)
    assert torch.equal(masked(x, bits), x * mask)
    if x.numel():
        assert torch.autograd.gradcheck(lambda y: masked(y, bits), x)
        assert torch.autograd.gradgradcheck(lambda y: masked(y, bits), x)


def test_in_float64_automatic_differences_are_central():
    net = mlp().double()
    assert make_oracle(net, "differences, auto").scheme == "central"
    assert make_oracle(mlp(), "differences, auto").scheme == "auto"
    _, loss, batch, _ = _problem(MLP)
    v = direction(list(net.parameters()))
    exact = TorchOracle(net).linearize(loss, double(batch), slot="x").hvp(v)
    found = make_oracle(net, "differences, auto").linearize(loss, double(batch), slot="x").hvp(v)
    assert error(found, exact) < 1e-8  # forward differences end near 1e-7


def test_a_masked_gradient_is_the_masks_and_so_is_its_own():
    torch.manual_seed(0)
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(3, 5) > 0.5
    (grad,) = torch.autograd.grad(masked(x, Bits(mask)).pow(3).sum(), x, create_graph=True)
    assert torch.equal(grad != 0, mask)  # negative inputs that were masked in keep their gradient
    (again,) = torch.autograd.grad(grad.sum(), x)
    assert torch.allclose(again, torch.where(mask, 6 * x, 0.0))
