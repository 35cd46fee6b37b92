"""The oracle against dense float64 Hessians on small smooth networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ofmu.core import vectors
from ofmu.core.group import Alone, Part, split
from ofmu.core.inner import inner, penalty_gradient
from ofmu.core.oracle import TorchOracle
from ofmu.core.similarity import cosine
from ofmu.core.terms import Terms
from ofmu.losses import NLL, Bounded, class_nll
from ofmu.tasks import Batch, Stream, Targets, Task, TensorSamples

EXACT, DIFFERENCED = 1e-8, 1e-4


def _net(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "mlp":
        net: nn.Module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    else:
        net = nn.Sequential(
            nn.Unflatten(1, (1, 2, 2)),
            nn.Conv2d(1, 3, 2, padding=1),
            nn.BatchNorm2d(3),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(27, 3),
        )
        with torch.no_grad():
            net(torch.randn(32, 4))  # running statistics worth having
    return net.double().eval()


def _batch(seed: int, n: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    return Batch(torch.arange(n), {"pixel_values": x}, torch.randint(0, 3, (n,), generator=generator))


FORGET, RETAIN = _batch(1, 5), _batch(2, 9)


def _flat(v: list[Tensor]) -> Tensor:
    return torch.cat([x.reshape(-1) for x in v]).detach()


def _like(flat: Tensor, params: list[Tensor]) -> list[Tensor]:
    return [c.view_as(p) for c, p in zip(flat.split([p.numel() for p in params]), params, strict=True)]


class Dense:
    """The same functions of one flat parameter vector, for torch.autograd.functional."""

    def __init__(self, net: nn.Module) -> None:
        self.net, self.names = net, [n for n, _ in net.named_parameters()]
        self.params = list(net.parameters())
        self.theta = _flat(self.params).requires_grad_()

    def loss(self, theta: Tensor, batch: Batch) -> Tensor:
        values = dict(zip(self.names, _like(theta, self.params), strict=True))
        logits = torch.func.functional_call(self.net, values, (batch.inputs["pixel_values"],))
        return nn.functional.cross_entropy(logits, batch.labels)

    def grad(self, theta: Tensor, batch: Batch) -> Tensor:
        return torch.autograd.grad(self.loss(theta, batch), theta, create_graph=True)[0]

    def phi(self, theta: Tensor, beta: float) -> Tensor:
        f, r = self.grad(theta, FORGET), self.grad(theta, RETAIN)
        return self.loss(theta, FORGET) - beta * (f @ r) / (f.norm() * r.norm())


def _error(found: list[Tensor], expected: Tensor) -> float:
    return float((_flat(found) - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize(("products", "tolerance"), [("exact", EXACT), ("differences", DIFFERENCED)])
def test_hessian_vector_products_agree_with_the_dense_hessian(name, products, tolerance):
    net = _net(name)
    dense = Dense(net)
    hessian = torch.autograd.functional.hessian(lambda t: dense.loss(t, FORGET), dense.theta.detach())
    oracle = TorchOracle(net, products=products, outer="differences")
    v = torch.randn(len(hessian), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    lin = oracle.linearize(class_nll, FORGET, slot="forget")
    assert _error(lin.grad, dense.grad(dense.theta, FORGET).detach()) < 1e-12
    for _ in range(2):  # the second product uses the remembered step
        assert _error(lin.hvp(_like(v, dense.params)), hessian @ v) < tolerance


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize(("products", "tolerance"), [("exact", EXACT), ("differences", DIFFERENCED)])
def test_inner_gradient_agrees_with_autograd_of_phi(name, products, tolerance):
    net = _net(name)
    dense = Dense(net)
    expected = torch.autograd.grad(dense.phi(dense.theta, 0.7), dense.theta)[0]
    oracle = TorchOracle(net, products=products, outer="differences")
    parts = inner(oracle, (class_nll, FORGET), (class_nll, RETAIN))
    assert _error(parts.gradient(0.7), expected) < tolerance
    f, r = dense.grad(dense.theta, FORGET), dense.grad(dense.theta, RETAIN)
    assert parts.similarity == pytest.approx(float((f @ r / (f.norm() * r.norm())).detach()), abs=1e-12)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize(
    ("products", "outer", "tolerance"),
    [("exact", "exact", EXACT), ("exact", "differences", DIFFERENCED), ("differences", "differences", 3e-2)],
)
def test_penalty_gradient_is_twice_the_dense_hessian_times_its_gradient(name, products, outer, tolerance):
    net = _net(name)
    dense = Dense(net)
    hessian = torch.autograd.functional.hessian(lambda t: dense.phi(t, 0.7), dense.theta.detach())
    phi = torch.autograd.grad(dense.phi(dense.theta, 0.7), dense.theta)[0]
    oracle = TorchOracle(net, products=products, outer=outer)
    forget, retain = (class_nll, FORGET), (class_nll, RETAIN)
    found = penalty_gradient(oracle, inner(oracle, forget, retain, again=True), 0.7)
    assert _error(found, 2 * hessian @ phi) < tolerance


def _directions(oracle: TorchOracle, seed: int, *scales: float) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [[s * torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in oracle.params] for s in scales]


def _differenced(name: str, dtype: torch.dtype, scheme: str = "central") -> tuple[TorchOracle, Batch]:
    pixels = FORGET.inputs["pixel_values"].to(dtype)
    oracle = TorchOracle(_net(name).to(dtype), products="differences", outer="differences", scheme=scheme)
    return oracle, replace(FORGET, inputs={"pixel_values": pixels})


SCALES = st.floats(1e-3, 1e3)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float64, 1e-6)])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), size=SCALES, a=SCALES, b=SCALES)
def test_differenced_products_are_linear_and_symmetric(name, dtype, tolerance, seed, size, a, b):
    oracle, batch = _differenced(name, dtype)
    v, w = _directions(oracle, seed, 1.0, size)
    line = oracle.linearize(class_nll, batch, slot="x")
    hv, hw, both = (_flat(line.hvp(d)) for d in (v, w, vectors.combine(a, v, b, w)))
    assert (both - a * hv - b * hw).norm() <= tolerance * (a * hv.norm() + b * hw.norm())
    fv, fw = _flat(v), _flat(w)
    assert abs(fw @ hv - fv @ hw) <= tolerance * (fw.norm() * hv.norm() + fv.norm() * hw.norm()) / 2


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("scheme", ["forward", "central", "auto"])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), size=SCALES)
def test_probes_leave_parameters_and_buffers_bit_for_bit(name, scheme, seed, size):
    oracle, batch = _differenced(name, torch.float32, scheme)
    (v,) = _directions(oracle, seed, size)
    before = {key: value.clone() for key, value in oracle.model.train().state_dict().items()}
    oracle.linearize(class_nll, batch, slot="x").hvp(v)
    retain = replace(RETAIN, inputs={"pixel_values": RETAIN.inputs["pixel_values"].float()})
    parts = inner(oracle, (class_nll, batch), (class_nll, retain), again=True)
    penalty_gradient(oracle, parts, 0.5, v)
    assert all(torch.equal(before[key], value) for key, value in oracle.model.state_dict().items())


def test_cosine_pullback_is_orthogonal_and_scale_free():
    generator = torch.Generator().manual_seed(0)
    a = [
        torch.randn(3, 2, generator=generator, dtype=torch.float64),
        torch.randn(4, generator=generator).double(),
    ]
    b = [
        torch.randn(3, 2, generator=generator, dtype=torch.float64),
        torch.randn(4, generator=generator).double(),
    ]
    pulled = cosine(a, b)
    assert float(vectors.dot(pulled.u, a)) == pytest.approx(0, abs=1e-14)
    assert float(vectors.dot(pulled.w, b)) == pytest.approx(0, abs=1e-14)
    assert float(cosine(vectors.scale(7.0, a), b).value) == pytest.approx(float(pulled.value), abs=1e-14)


def test_a_gradient_that_is_lost_in_rounding_beside_the_other_has_no_cosine():
    # what an ascent that overshoots the bound leaves: 1e-10 beside 1, whose third derivatives overflow
    noise, gradient = [torch.full((3,), 1e-10)], [torch.ones(3)]
    with pytest.raises(ZeroDivisionError, match="first"):
        cosine(noise, gradient)
    assert float(cosine([x.double() for x in noise], [x.double() for x in gradient]).value) == pytest.approx(1)


def test_cosine_of_a_vanishing_gradient_says_which():
    zero = [torch.zeros(2)]
    with pytest.raises(ZeroDivisionError, match="second gradient"):
        cosine([torch.ones(2)], zero)


def test_costs_are_counted_in_sample_gradients():
    net = _net("mlp")
    oracle = TorchOracle(net)
    oracle.grad(class_nll, FORGET)
    assert oracle.cost == pytest.approx(5)
    oracle.cost = 0
    forget, retain = (class_nll, FORGET), (class_nll, FORGET)
    inner(oracle, forget, retain)
    assert oracle.cost == pytest.approx(6 * 5)
    oracle.cost = 0
    penalty_gradient(oracle, inner(oracle, forget, retain, again=True), 0.5)
    assert oracle.cost == pytest.approx(18 * 5)


def _bounded(tau: list[float]) -> tuple[nn.Module, object, Batch]:
    net = _net("mlp")
    samples = TensorSamples(FORGET.inputs["pixel_values"], FORGET.labels, [str(i) for i in range(5)])
    targets = Targets([torch.tensor(t, dtype=torch.float64) for t in tau], "given")
    task = Task("image", class_nll, Stream(samples, 0), Stream(samples, 0), targets)
    assert NLL().bind(task) is class_nll
    return net, Bounded("sample").bind(task), FORGET


def test_bounded_loss_differences_hold_the_active_mask_fixed():
    net = _net("mlp")
    losses = class_nll(net, FORGET).values.detach()
    # two samples sit a hair below their bound: any probe would cross it, and the mask would flip
    tau = [float(losses[0]) + 1e-9, float(losses[1]) + 1e-9, 50.0, 50.0, 0.0]
    net, loss, batch = _bounded(tau)
    v = [torch.randn_like(p) for p in net.parameters()]
    exact = TorchOracle(net).linearize(loss, batch, slot="f").hvp(v)
    oracle = TorchOracle(net, products="differences", outer="differences")
    assert _error(oracle.linearize(loss, batch, slot="f").hvp(v), _flat(exact)) < DIFFERENCED


def test_oracle_refuses_half_precision_and_untrainable_models():
    with pytest.raises(ValueError, match="float32"):
        TorchOracle(nn.Linear(2, 2).bfloat16())
    frozen = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        TorchOracle(frozen)


@pytest.mark.parametrize("products", ["exact", "differences"])
@pytest.mark.parametrize("micro", [2, 3, 4])
def test_micro_batches_give_the_derivatives_of_the_whole_batch(products, micro):
    net = _net("mlp")
    forget, retain = (class_nll, FORGET), (class_nll, RETAIN)  # 5 and 9 samples: the last part is short
    whole = TorchOracle(net, products=products, outer=products)
    parts = TorchOracle(net, products=products, outer=products, micro=micro)
    for oracle in (whole, parts):
        oracle.steps.relative = {"forget": 1e-4, "retain": 1e-4, "outer": 1e-2}
    assert parts.values(class_nll, RETAIN).mean() == pytest.approx(float(whole.values(class_nll, RETAIN).mean()))
    value, grad = parts.grad(class_nll, RETAIN)
    expected, wanted = whole.grad(class_nll, RETAIN)
    assert value == pytest.approx(expected, abs=1e-14)
    assert _error(grad, _flat(wanted)) < 1e-13
    found, phi = inner(parts, forget, retain).gradient(0.7), inner(whole, forget, retain).gradient(0.7)
    assert _error(found, _flat(phi)) < 1e-9
    pushes = [penalty_gradient(o, inner(o, forget, retain, again=True), 0.7) for o in (parts, whole)]
    assert _error(pushes[0], _flat(pushes[1])) < (1e-9 if products == "exact" else 1e-5)


@pytest.mark.parametrize(("n", "size", "micro"), [(5, 2, None), (5, 2, 2), (1, 2, None), (7, 4, 1), (8, 4, None)])
def test_ranks_share_a_batch_without_gap_or_overlap_in_equally_many_parts(n, size, micro):
    batch = _batch(1, n)
    shares = [split(batch, Alone(rank, size), micro) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    rows = [row for share in shares for part in share if part.counts for row in part.batch.rows.tolist()]
    assert rows == list(range(n))
    assert all(len(part.batch) <= (micro or n) for share in shares for part in share)


def test_a_part_that_does_not_count_adds_nothing_and_is_no_row():
    net = _net("mlp")
    value, weight = Part(RETAIN[:1], 9, counts=False).sums(class_nll, net)
    assert (float(value.detach()), float(weight)) == (0.0, 0.0)
    joined = Terms.joined([class_nll(net, RETAIN[:2]), class_nll(net, RETAIN[:1]).none()])
    assert len(joined.values) == 2


def test_parts_of_unlike_width_are_aligned_at_their_ends():
    wide, narrow = Terms(torch.ones(1, 3), torch.ones(1, 3)), Terms(torch.ones(2, 1), torch.ones(2, 1))
    joined = Terms.joined([wide, narrow])
    assert joined.weights.tolist() == [[1, 1, 1], [0, 0, 1], [0, 0, 1]]
