"""The maps from ranks to losses: values by hand, and what must hold for any data."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ofmu.core.ranks import MonotoneMap, quantiles, ranks_within
from ofmu.core.schedule import Geometric, Relative

numbers = st.lists(st.floats(0, 50, width=32), min_size=1, max_size=30).map(torch.tensor)


def test_ranks_within_stand_in_the_middle_of_their_places():
    assert ranks_within(torch.tensor([5.0, 1.0, 3.0, 9.0])).tolist() == [0.625, 0.125, 0.375, 0.875]


def test_quantiles_interpolate_between_order_statistics():
    losses = torch.tensor([30.0, 10.0, 20.0])  # at 0, ½, 1: 10, 20, 30
    assert quantiles(torch.tensor([0.0, 0.25, 0.5, 0.9, 1.0]), losses).tolist() == pytest.approx(
        [10, 15, 20, 28, 30]
    )


@given(numbers, numbers)
def test_ranks_lie_strictly_between_0_and_1_and_keep_the_order(scores, others):
    u = ranks_within(scores)
    assert torch.equal(u.sort().values, (torch.arange(len(scores)) + 0.5) / len(scores))
    order = u.argsort()
    assert bool((scores[order].diff() >= 0).all())
    tau = quantiles(u, others)
    assert bool((tau[order].diff() >= 0).all())
    assert float(others.min()) <= float(tau.min())
    assert float(tau.max()) <= float(others.max())


def test_a_monotone_map_goes_through_the_means_of_its_bins():
    x = torch.tensor([0.0, 1.0, 2.0, 3.0])
    mapping = MonotoneMap(x, torch.tensor([1.0, 3.0, 6.0, 8.0]), bins=2)
    # two bins, split at 1.5: knots (.5, 2) and (2.5, 7); constant outside
    assert mapping(torch.tensor([-9.0, 0.5, 1.5, 2.5, 99.0])).tolist() == [2.0, 2.0, 4.5, 7.0, 7.0]


def test_a_monotone_map_never_falls_where_the_data_do():
    mapping = MonotoneMap(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([6.0, 8.0, 1.0, 3.0]), bins=2)
    assert mapping(torch.tensor([0.5, 2.0, 2.5])).tolist() == [7.0, 7.0, 7.0]  # bin means 7, 2


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 3, 20]))
def test_a_monotone_map_is_monotone_and_stays_in_range(seed, bins):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 8, (40,), generator=generator).float()  # many ties
    y = torch.rand(40, generator=generator)
    found = MonotoneMap(x, y, bins)(torch.linspace(-1, 9, 101))
    assert bool((found.diff() >= -1e-6).all())
    assert float(y.min()) - 1e-6 <= float(found.min()) <= float(found.max()) <= float(y.max()) + 1e-6


def test_too_few_values_for_the_bins_are_refused():
    with pytest.raises(ValueError, match=r"at least 40 values, found \(39,\)"):
        MonotoneMap(torch.zeros(39), torch.zeros(39))


@pytest.mark.parametrize(
    ("k", "share"), [(0, 0.1), (1, 0.11), (2, 0.121), (11, 0.1 * 1.1**11), (12, 0.3), (99, 0.3)]
)
def test_the_relative_penalty_is_start_times_growth_to_the_k_of_the_retain_gradient(k, share):
    # ρ_k · 500 = share · 2
    assert Relative(0.1, 1.1, 0.3).weight(k, 2.0, 500.0) * 500 == pytest.approx(share * 2)


def test_the_printed_penalty_is_geometric_and_looks_at_no_norm():
    assert [Geometric(0.01, 2.0).weight(k, 7.0, 0.0) for k in range(4)] == [0.01, 0.02, 0.04, 0.08]
    assert Relative().weight(3, 1.0, 0.0) == 0.0
