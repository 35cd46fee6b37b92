"""What cannot be differentiated twice, or is silently wrong, is found before anything is multiplied with it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ofmu.benchmarks.accuracy.measure import direction, error
from ofmu.benchmarks.accuracy.measure import oracle as make_oracle
from ofmu.benchmarks.accuracy.problems import IMAGES, NETS, double, problem
from ofmu.core.backend import choose
from ofmu.core.group import Alone, Part
from ofmu.core.oracle import TorchOracle
from ofmu.core.terms import Terms
from ofmu.core.twice import customs, doubt
from ofmu.losses import class_nll
from ofmu.tasks import TensorSamples

BATCH = problem(IMAGES[0]).forget


class Right(torch.autograd.Function):
    """sin, by hand."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0].cos()


class Detached(Right):
    """Its slope is taken for a constant."""

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0].detach().cos()


class Saved(Right):
    """The slope is saved, as a number that knows nothing of x."""

    @staticmethod
    def forward(ctx, x):
        ctx.slope = x.cos()
        return x.sin()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.slope


class Numpy(Right):
    """Nothing is left of the graph."""

    @staticmethod
    def backward(ctx, grad):
        return torch.from_numpy(grad.detach().numpy() * ctx.saved_tensors[0].detach().cos().numpy())


class Refuses(Right):
    """It cannot run while a graph is made."""

    @staticmethod
    def backward(ctx, grad):
        return grad * torch.from_numpy(ctx.saved_tensors[0].cos().numpy())


class Once(Right):
    """Double backward gives zeros without a word where zeros are asked for."""

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0].cos()


class Around(nn.Module):
    """One operation between two layers, and what is done before it."""

    def __init__(self, part, before=torch.tanh):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.part, self.before = part, before

    def forward(self, x):
        return self.last(self.part(self.before(self.first(x))))


WRONG = {
    Detached: r"exact products are \d+% off .*DetachedBackward",
    Saved: r"exact products are \d+% off .*SavedBackward",
    Numpy: r"exact products are \d+% off .*NumpyBackward",
    Refuses: r"a second derivative fails: Can't call numpy\(\) .*RefusesBackward",
    Once: "marked once_differentiable .*OnceBackward",
}


def _relu(x: Tensor) -> Tensor:
    return torch.relu(2 * x)  # as far as sin bends enough to be missed


@pytest.mark.parametrize("before", [torch.tanh, _relu])
@pytest.mark.parametrize("function", WRONG)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_backward_that_hides_its_slope_is_found(function, before, dtype):
    net = Around(function.apply, before).to(dtype)
    batch = BATCH if dtype == torch.float32 else double(BATCH)
    values = {name: value.clone() for name, value in net.state_dict().items()}
    found = choose(net, class_nll, batch)
    assert found.name == "differences"
    assert f"{function.__name__}Backward" in found.why
    assert all(torch.equal(values[name], value) for name, value in net.state_dict().items())
    expected = TorchOracle(Around(torch.sin, before).to(dtype)).linearize(class_nll, batch, slot="x")
    v = direction(list(net.parameters()))
    product = make_oracle(net, "differences, central").linearize(class_nll, batch, slot="x").hvp(v)
    assert error(product, expected.hvp(v)) < 1e-3
    with pytest.raises(ValueError, match=WRONG[function] + ".*use products='differences'"):
        TorchOracle(net).linearize(class_nll, batch, slot="x")


@pytest.mark.parametrize("function", [Detached, Once])
def test_where_differences_are_impossible_what_is_seen_is_refused_and_what_is_not_is_said(function):
    net = Around(function.apply, lambda x: x.clamp(min=0.0))
    if function is Detached:
        assert "the backward of DetachedBackward was not compared" in choose(net, class_nll, BATCH).why
        return
    with pytest.raises(ValueError, match=r"OnceBackward.*branches that cannot be held"):
        choose(net, class_nll, BATCH)
    with pytest.raises(ValueError, match="OnceBackward"):
        TorchOracle(net).linearize(class_nll, BATCH, slot="x")


def test_every_loss_is_looked_at_and_every_rank_refuses():
    def loss(model, batch):
        terms = class_nll(model, batch)
        return Terms(Detached.apply(terms.values), terms.weights)

    class Other(Alone):
        """Another rank has found something."""

        def total(self, sums: Tensor) -> Tensor:
            return sums + 1

    net = Around(torch.tanh)
    oracle = TorchOracle(net)
    oracle.linearize(class_nll, BATCH, slot="retain")
    with pytest.raises(ValueError, match="DetachedBackward"):
        oracle.linearize(loss, BATCH, slot="forget")
    with pytest.raises(ValueError, match="on another rank"):
        TorchOracle(Around(Right.apply), group=Other()).linearize(class_nll, BATCH, slot="x")


def test_a_right_backward_is_trusted_and_third_derivatives_are_differences():
    net = Around(Right.apply)
    assert choose(net, class_nll, BATCH).name == "mixed"  # how often it can be differentiated is not known
    TorchOracle(net).linearize(class_nll, BATCH, slot="x")
    assert choose(Around(torch.sin), class_nll, BATCH).name == "exact"


def test_nodes_of_somebody_elses_are_told_from_torchs_and_ours():
    from ofmu.core.smooth import silu

    x = torch.randn(3, requires_grad=True)
    assert customs([Right.apply(silu(x)).sum()]) == ("RightBackward",)
    assert customs([silu(x).sum(), torch.utils.checkpoint.checkpoint(torch.sin, x, use_reentrant=False)]) == ()


@pytest.mark.parametrize("name", NETS)
def test_no_usual_network_is_doubted(name):
    given = problem(name)
    kinked = "ReLU" in name
    for found in (given, copy.deepcopy(given).double()):  # a Llama in float64 has float32 inside
        assert doubt(TorchOracle(found.model), found.loss, Part(found.forget, 2).few(), kinked, ("any",)) is None


@pytest.mark.parametrize("act", [nn.Tanh, nn.ReLU, nn.Softplus])
def test_a_sample_that_is_fitted_is_not_doubted(act):
    torch.manual_seed(0)
    x, y = torch.randn(16, 20), torch.randint(0, 3, (16,))
    net = nn.Sequential(nn.Linear(20, 64), act(), nn.Linear(64, 64), act(), nn.Linear(64, 3))
    adam, batch = torch.optim.Adam(net.parameters(), 1e-2), TensorSamples(x, y, list("abcdefghijklmnop"))
    for _ in range(100):
        adam.zero_grad()
        F.cross_entropy(net(x), y).backward()
        adam.step()
    sample = batch.batch([0])
    assert float(class_nll(net, sample).detach().mean()) < 1e-4  # p − 1 has few digits, or none
    assert doubt(TorchOracle(net), class_nll, Part(sample, 1), act is nn.ReLU, ("any",)) is None


# ---- operations without a second derivative

PLACES = torch.tensor([[0, 1, 2], [3, 4, 5]])


def _bag(x: Tensor) -> Tensor:
    return torch.stack([F.embedding_bag(PLACES, row[:, None] * torch.ones(6), mode="sum")[0] for row in x])


def _ctc(x: Tensor) -> Tensor:
    n = len(x)
    logs = x.view(n, 2, 3).log_softmax(2).transpose(0, 1)
    sizes = torch.full((n,), 2), torch.full((n,), 1)
    return x + F.ctc_loss(logs, torch.ones(n, 1, dtype=torch.int64), *sizes, reduction="none")[:, None]


@pytest.mark.parametrize(
    ("part", "name"),
    [(lambda x: torch.cdist(x, torch.eye(6)), "cdist"), (_bag, "embedding_bag"), (_ctc, "ctc_loss")],
)
def test_operations_without_a_second_derivative_are_differenced_or_refused_by_name(part, name):
    net = Around(part)
    found = choose(net, class_nll, BATCH)
    assert (found.name, found.why) == ("differences", f"torch has no second derivative of {name}")
    make_oracle(net, "differences, auto").linearize(class_nll, BATCH, slot="x").hvp(list(net.parameters()))
    line = TorchOracle(net).linearize(class_nll, BATCH, slot="x")
    with pytest.raises(ValueError, match=f"{name}.*use products='differences'"):
        line.hvp([torch.ones_like(p) for p in net.parameters()])
    with pytest.raises(ValueError, match=f"no second derivative of {name}, so .*branches that cannot be held"):
        choose(Around(part, lambda x: x.clamp(min=0.0)), class_nll, BATCH)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_hard_sigmoid_is_differentiated_twice_and_held(inplace):
    net, parts = Around(nn.Hardsigmoid(inplace), lambda x: 3 * x), lambda x: F.relu6(x + 3) / 6
    v = direction(list(net.parameters()))
    expected = TorchOracle(Around(parts, lambda x: 3 * x)).linearize(class_nll, BATCH, slot="x").hvp(v)
    for backend in ("exact", "differences, central"):
        found = make_oracle(net, backend).linearize(class_nll, BATCH, slot="x").hvp(v)
        assert error(found, expected) < 1e-3
    assert choose(net, class_nll, BATCH).name == "exact"
