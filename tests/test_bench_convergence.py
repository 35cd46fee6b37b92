"""The convergence benchmark: rates by hand, closed forms against the project's algorithm, its smallest run."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ofmu.benchmarks.convergence import convex, figure, network, studies
from ofmu.benchmarks.convergence.page import _over_inner, page, write
from ofmu.benchmarks.convergence.problems import Blobs, Draws, Point, Quadratic
from ofmu.benchmarks.convergence.rates import added_by_noise, estimate, geometric, log_spaced, noise_floors, slope
from ofmu.benchmarks.convergence.runs import anchored, ascended, follow, theta
from ofmu.report import style

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
SMALL = Quadratic.random(0, d=4, rank=2, flattest=0.3)
CONVEX = convex.Size(2, (0, 1), 3, (2, 3), (1.0, 2.0), (1e-2, 1e-1), 4)
NETWORK = network.Size(2, (0, 1), 4, (2, 3), (1e-2, 1e-1), (1, 2), 2, (0, 1))


def ended(q, T, K, rho=0.5):
    """θ after K outer iterations of OFMU.paper."""
    found = []
    method = q.problem().printed(T=T, inner_lr=0.5, outer_lr=convex.outer_lr(q, rho), rho=rho)
    follow(q.problem(), method, K, lambda model, k: found.append(theta(model).clone()) or {"x": 0.0}, at=[K])
    return found[0]


def test_a_power_law_has_its_power_as_slope():
    assert slope([1, 2, 4], [3, 0.75, 0.1875]) == pytest.approx(-2)
    with pytest.raises(ValueError, match="positive"):
        slope([1, 2], [1, 0])


def test_intervals_are_students():
    found = estimate([1.0, 2.0, 3.0])  # sd 1, t(.975, 2) = 4.3027
    assert (found.mean, found.high - found.mean) == (2.0, pytest.approx(4.3027 / math.sqrt(3), rel=1e-4))
    spread = geometric([1.0, 100.0])
    assert spread.mean == pytest.approx(10)
    assert spread.low * spread.high == pytest.approx(100)
    assert estimate([5.0]).low is None
    with pytest.raises(ValueError, match="positive"):
        geometric([1.0, -1.0])


def test_noise_that_some_run_does_not_show_is_left_out_of_the_slope():
    found = added_by_noise([1.0, 10.0, 100.0], [[-1.0, 2.0, 20.0], [0.1, 1.0, 10.0]])
    assert found["slope"].mean == pytest.approx(1)
    assert found["added"][0].mean == pytest.approx(-0.45)


def test_what_noise_adds_is_compared_with_what_it_added_before():
    quiet, loud = [5.0] * 8, [9.0] * 4 + [7.0] * 2 + [6.0] * 2  # adds 2 in the third quarter, 1 in the last
    found = noise_floors([1.0, 2.0], [[quiet, [5.5] * 8, loud]] * 2)
    assert [row.mean for row in found["added"]] == pytest.approx([0.5, 1.5])
    assert found["later"].mean == pytest.approx(0.5)
    assert noise_floors([1.0], [[quiet, quiet]])["later"] is None


def test_slopes_over_the_inner_steps_are_printed():
    point = {"mean": 1.0, "low": None, "high": None, "n": 1}
    falling = [{**point, "mean": T**-2.0} for T in (1, 4)]
    names = ("gap", "gradient", "stationarity", "bilevel")
    rows = {T: {name: {"curve": [row]} for name in names} for T, row in zip("14", falling, strict=True)}
    ends = {"T": [1, 4]} | dict.fromkeys(names, falling)
    net = {"k": [9], "T": {"1": {"mean": [point]}, "4": {"mean": [{**point, "mean": 0.25}]}}}
    text = _over_inner({"over K": {"k": [8], "T": rows}, "over T": ends}, {"over K": net})
    assert "| convex, K = 8 | F − F* | 1 … 4 | -2.00 | -2 |" in text
    assert "| network, K = 9 | (1/K) Σ ‖∇F‖² | 1 … 4 | -1.00 | -1 |" in text


def test_log_spacing_ends_where_it_should():
    assert log_spaced(100, 2) == [1, 3, 10, 32, 100]


@pytest.mark.parametrize("T", [1, 3])
def test_the_printed_algorithm_comes_to_rest_at_the_closed_form_and_not_at_the_minimum(T):
    expected = SMALL.fixed_point(T, 0.5, convex.outer_lr(SMALL, 0.5), 0.5)
    assert torch.allclose(ended(SMALL, T, 100), expected, rtol=0, atol=1e-6)
    assert float((expected - SMALL.minimiser(0.5)).norm()) > 1e-2


def test_at_rest_the_outer_step_undoes_the_inner_loop():
    T, lr = 3, convex.outer_lr(SMALL, 0.5)
    rest = Point(SMALL.fixed_point(T, 0.5, lr, 0.5))
    end = ascended(SMALL.problem(), rest, T, 0.5)
    square = SMALL.problem().penalised(end, 0.5)[1]  # η_out ‖∇F(θ')‖ = ‖Σ η_in ∇Φ‖ = ‖θ' − θ‖
    assert lr * math.sqrt(square) == pytest.approx(float((theta(end) - theta(rest)).norm()), rel=1e-9)


def test_without_inner_steps_it_descends_to_the_minimum():
    assert torch.allclose(ended(SMALL, 0, 120), SMALL.minimiser(0.5), rtol=0, atol=1e-5)
    assert SMALL.problem().penalised(Point(SMALL.minimiser(1.0)), 1.0)[1] < 1e-25


def test_the_bilevel_solution_is_stationary_for_phi_and_for_the_retain_loss_along_its_kernel():
    x = SMALL.bilevel()
    assert float((SMALL.M @ (x - SMALL.a)).norm()) < 1e-12
    values, vectors = torch.linalg.eigh(SMALL.M)
    kernel = vectors[:, values < 1e-12]
    assert float((kernel.T @ SMALL.H @ (x - SMALL.b)).norm()) < 1e-12


def test_the_other_reading_ends_its_inner_loop_at_the_minimum():
    method = SMALL.problem().printed(T=1, inner_lr=0.5, outer_lr=convex.outer_lr(SMALL, 1.0), rho=1.0)
    numbers = anchored(SMALL.problem(), method, 150, convex.measured(SMALL, 0, 1.0))
    assert numbers["gap"][-1] < 1e-6 * numbers["gap"][0]


def test_noise_has_the_variance_that_was_set():
    source = Draws(10, 0.3, torch.Generator().manual_seed(0))
    squares = torch.stack([source.batch([0]).inputs["noise"].square().sum() for _ in range(2000)])
    assert float(squares.mean()) == pytest.approx(0.09, rel=0.05)


def test_a_run_that_diverges_ends_early():
    method = replace(SMALL.problem().printed(T=1, inner_lr=0.5, outer_lr=40.0, rho=1.0))
    numbers = follow(SMALL.problem(), method, 100, convex.measured(SMALL, 1, 1.0))
    assert len(numbers["k"]) < 100


def test_one_batch_in_both_factors_is_biased_by_one_over_its_size():
    found = network.one_batch_bias(replace(NETWORK, seeds=1), lambda _: None)
    assert found["slope"].mean == pytest.approx(-1, abs=1e-6)


def test_the_network_starts_trained():
    blobs = Blobs.random(0)
    model = blobs.problem("bounded").start()
    grads = torch.autograd.grad(blobs.retain(model), list(model.parameters()))
    assert blobs.accuracy(model) > 0.8
    assert max(float(g.abs().max()) for g in grads) < 0.1


def test_the_kept_page_is_that_of_the_kept_numbers_and_says_where_problems_are_fewer():
    kept = json.loads((RESULTS / "convergence.json").read_text(encoding="utf-8"))
    command, environment = kept.pop("command"), kept.pop("environment")
    made = page(kept, command, environment)
    assert made == (RESULTS / "convergence.md").read_text(encoding="utf-8")
    assert "over 4 random problems" in made
    assert "halve ‖θ′ − θ bi-level‖² (3 problems)" in made


def test_a_legend_lies_below_its_panel_and_hides_no_interval():
    kept = json.loads((RESULTS / "convergence.json").read_text(encoding="utf-8"))
    with style.figure(4.0, 4.0, "convergence") as made:
        axes = made.subplots()
        figure._rho(axes, kept)
        made.draw_without_rendering()
        assert axes.get_legend().get_window_extent().y1 <= axes.get_window_extent().y0


@pytest.mark.slow
def test_the_smallest_run_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(convex, "SMOKE", CONVEX)
    monkeypatch.setattr(network, "SMOKE", NETWORK)
    write(studies.measure(True, lambda _: None), tmp_path, "command", "here")
    text = (tmp_path / "convergence.md").read_text()
    assert "command" in text
    assert text.count("## ") == 8
    saved = json.loads((tmp_path / "convergence.json").read_text())
    assert saved["convex"]["over K"]["k"][-1] == 3
    assert 10_000 < (tmp_path / "convergence.png").stat().st_size < 300_000
