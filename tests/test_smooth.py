"""Normalisations whose higher derivatives torch takes wrongly, beside dense Hessians in float64."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

from ofmu.benchmarks.accuracy.measure import errors, reference
from ofmu.benchmarks.accuracy.problems import Problem
from ofmu.core.backend import choose
from ofmu.core.inner import inner, penalty_gradient
from ofmu.core.oracle import TorchOracle
from ofmu.core.smooth import OURS, Closed
from ofmu.core.terms import Terms
from ofmu.losses import class_nll
from ofmu.tasks import Batch
from small import images

Make = Callable[[], nn.Module]


def _hooked() -> nn.Module:
    """The older form of weight normalisation, which torch still has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return cast("nn.Module", nn.utils.weight_norm(nn.Linear(6, 3)))


def _net(middle: nn.Module, last: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), middle, last).eval()


NETS: dict[str, Make] = {
    "weight norm, by rows": lambda: _net(weight_norm(nn.Linear(6, 6)), nn.Linear(6, 3)),
    "weight norm, by columns": lambda: _net(weight_norm(nn.Linear(6, 6), dim=1), nn.Linear(6, 3)),
    "weight norm, whole": lambda: _net(nn.Tanh(), weight_norm(nn.Linear(6, 3), dim=None)),
    "weight norm, older": lambda: _net(nn.Tanh(), _hooked()),
    "batch norm": lambda: _net(nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 3)),
    "batch norm, planes": lambda: _net(
        nn.Sequential(
            nn.Unflatten(1, (3, 2, 1)), nn.BatchNorm2d(3, track_running_stats=False), nn.Tanh(), nn.Flatten()
        ),
        nn.Linear(6, 3),
    ),
}


def _problem(name: str) -> Problem:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = NETS[name]()
        with torch.no_grad():
            for p in model.parameters():
                p += 0.3 * torch.randn(p.shape)  # gains away from one, and from the rows' norms
    return Problem(model, class_nll, images(6, 1).batch(range(6)), images(8, 2).batch(range(8))).double()


@pytest.mark.parametrize("name", NETS)
def test_derivatives_through_a_normalisation_are_those_of_the_function(name):
    given = _problem(name)
    found = errors(TorchOracle(given.model), given, reference(given, dense=True))
    assert all(error <= 1e-11 for error in found), found


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("shape", [(3, 4, 2), (3, 1, 5)])
def test_a_normalised_weight_is_torchs(dim, shape):
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(shape, generator=generator)
    g = torch.rand([n if i == dim else 1 for i, n in enumerate(shape)] if dim >= 0 else [], generator=generator)
    expected = torch._weight_norm(v, g, dim)
    assert torch.allclose(OURS[torch._weight_norm](v, g, dim), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 3), (7, 3, 2), (2, 3, 4, 5)])
def test_a_batch_norm_is_torchs_by_the_batch_and_by_running_statistics(shape):
    generator = torch.Generator().manual_seed(0)
    x, (mean, weight, bias) = torch.randn(shape, generator=generator), torch.randn(3, 3, generator=generator)
    var, eps = torch.rand(3, generator=generator), 1e-2

    def normed(training: bool, statistics: tuple[Tensor | None, Tensor | None]) -> Tensor:
        return F.batch_norm(x, *statistics, weight, bias, training, 0.1, eps)

    for training, statistics in ((True, (None, None)), (False, (mean, var))):
        expected = normed(training, statistics)
        with Closed():
            found = normed(training, statistics)
        assert torch.allclose(found, expected, atol=1e-6)
        assert training or torch.equal(found, expected)


def test_a_normalisation_that_one_loss_alone_has_is_taken_rightly_whichever_comes_first():
    model, forget, retain = _net(nn.Tanh(), nn.Linear(6, 3)).double(), images(6, 1), images(8, 2)

    def normed(model: nn.Module, batch: Batch) -> Terms:
        logits = F.layer_norm(model(batch.inputs["pixel_values"]), (3,))
        return Terms(F.cross_entropy(logits, batch.labels, reduction="none"), torch.ones(len(logits)))

    pair = (class_nll, forget.batch(range(6))), (normed, retain.batch(range(8)))
    exact = TorchOracle(model)
    mixed = TorchOracle(model, outer="differences", scheme="central")
    for losses in (pair, pair[::-1]):
        found, expected = (
            torch.cat([x.flatten() for x in penalty_gradient(o, inner(o, *losses, again=True), 0.7)])
            for o in (exact, mixed)
        )
        assert float((found - expected).norm() / expected.norm()) < 1e-6  # torch's own is off by its length


def test_what_normalises_by_the_batch_can_be_looked_at():
    given = _problem("batch norm")  # which torch refuses to run on a single sample
    assert choose(given.model, given.loss, given.forget).name == "exact"


def test_a_normalisation_under_checkpointing_is_refused_for_exact_derivatives_alone():
    given = _problem("batch norm")
    given.model[2] = Checkpointed(nn.LayerNorm(6).double())
    with pytest.raises(ValueError, match="turn checkpointing off and run fewer samples"):
        TorchOracle(given.model).linearize(given.loss, given.forget, slot="x")
    TorchOracle(given.model, products="differences", outer="differences").linearize(
        given.loss, given.forget, slot="x"
    )


class Checkpointed(nn.Module):
    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", checkpoint(self.inside, x, use_reentrant=False))
