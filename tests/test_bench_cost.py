"""The cost benchmark: its clock, its allocation count, its hand-written loops, and how often the engine asks."""

import copy
import json
from dataclasses import replace

import pytest
import torch

from ofmu.benchmarks.convergence.studies import plain
from ofmu.benchmarks.cost import bare, timing
from ofmu.benchmarks.cost.cheaper import cheaper_ways
from ofmu.benchmarks.cost.counting import counted
from ofmu.benchmarks.cost.measure import Bench, measure, recipe_rows
from ofmu.benchmarks.cost.memory import peak
from ofmu.benchmarks.cost.operations import BACKENDS, PHI, RATE, T, derivatives, printed
from ofmu.benchmarks.cost.page import write
from ofmu.benchmarks.cost.workloads import Workload, cnn, llama
from ofmu.core.oracle import TorchOracle
from ofmu.engine.loop import unlearn
from ofmu.tasks import TensorSamples

T_PRINTED = f"printed iteration, T = {T}"


def tiny() -> Workload:
    return cnn("silu", 4, 4, (2, 2))


def in_double(w: Workload) -> Workload:
    """The same in float64."""
    parts = [TensorSamples(s.pixels.double(), s.labels, s.ids) for s in (w.forget, w.retain)]
    return Workload(w.name, w.kind, w.smooth, w.model.double(), *parts)


def test_a_ratio_is_taken_to_the_plain_gradients_around_it(monkeypatch):
    clock, runs = [0.0], [0]

    def unit():
        runs[0] += 1
        clock[0] += 1.0 + 0.2 * runs[0]  # the machine gets slower and slower

    def action():
        clock[0] += 3 * (1.0 + 0.2 * (runs[0] + 0.5))

    monkeypatch.setattr(timing.time, "process_time", lambda: clock[0])
    found = timing.interleaved({"three": action}, unit, 5, lambda: None)
    assert found["three"].median == pytest.approx(3.0)
    assert found["three"].n == 5


def test_a_median_lies_in_its_interval():
    found = timing.median([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (found.median, found.low, found.high) == (3.0, 1.0, 100.0)


def test_allocations_are_counted_to_the_byte():
    x = torch.randn(1000, 1000)

    def three_at_most_two_at_once():
        a = x.exp()
        b = a.exp()
        del a
        return b + 1

    assert peak(three_at_most_two_at_once) == pytest.approx(8_000_000, abs=100)
    assert peak(lambda: [x.exp() for _ in range(3)]) == pytest.approx(12_000_000, abs=100)


@pytest.mark.parametrize("smooth", ["silu", "relu"])
def test_the_hand_written_iteration_is_the_engines(smooth):
    w = in_double(cnn(smooth, 4, 4, (2, 2)))
    other = copy.deepcopy(w.model)
    method = printed()
    next(unlearn(w.task(), method, TorchOracle(w.model), 1))
    options = {"T": T, "beta": 0.1, "inner_lr": RATE, "outer_lr": RATE, "rho": 0.01}
    bare.printed(other, list(other.parameters()), w.kind, w.batches, **options)
    first = cnn(smooth, 4, 4, (2, 2)).model.double()
    moved = [(a - b).detach().abs().max() for a, b in zip(other.parameters(), first.parameters(), strict=True)]
    assert max(map(float, moved)) > 1e-7
    for a, b in zip(w.model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("backend", "forwards", "backwards", "gradients"),
    [
        # exact: 2 graphs, 2 gradients and 2 products a step; the outer product is one more call
        ("exact", 2 * T + 2, 4 * T + 5, 48),
        # mixed: the outer product is ∇Φ at one more point
        ("mixed", 2 * T + 4, 4 * T + 8, 42),
        # differences: every gradient is a run of the model: 4 a step, and central ∇Φ (6) at two points
        ("differences, forward", 4 * T + 12, 4 * T + 12, 32),
    ],
)
def test_a_printed_iteration_asks_for_exactly_the_derivatives_it_needs(backend, forwards, backwards, gradients):
    w = tiny()
    oracle = BACKENDS[backend].make(w)
    task, method = w.task(), printed()
    next(unlearn(task, method, oracle, 1))  # steps of differences are found once
    before = oracle.cost
    with counted(w.model) as calls:
        next(unlearn(task, method, oracle, 1))
    assert (calls.forwards, calls.backwards) == (forwards, backwards)
    assert (oracle.cost - before) / len(w.forget) == pytest.approx(gradients)
    assert BACKENDS[backend].printed == gradients


def test_every_cheaper_way_is_exact_where_it_says_so():
    found = {
        row["way"]: row["agreement"]
        for row in cheaper_ways(tiny(), lambda ways: dict.fromkeys(ways, timing.median([1.0])))
    }
    assert found["one graph at a time, g_r twice (streamed)"] == pytest.approx(1, abs=1e-5)
    assert found["both batches in one forward pass"] == pytest.approx(1, abs=1e-5)
    assert all(-1 <= x <= 1.00001 for x in found["∇cos of m steps ago, β = 1"])


def test_the_language_workloads_have_answers_of_one_length():
    w = llama(2, 8, True, 1)
    assert (w.batches[0].labels != -100).sum(1).tolist() == [4, 4]
    assert all(float(g.abs().max()) > 0 for g in bare.gradient(w.model, w.params, w.kind, w.batches[0]))
    ours = TorchOracle(w.model).grad(w.loss, w.batches[0])[1]
    theirs = bare.gradient(w.model, w.params, w.kind, w.batches[0])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))


def test_a_workload_may_limit_its_backends(tmp_path):
    w = replace(tiny(), backends={"differences, forward": True, "differences, auto": False})
    command = "python benchmarks/cost.py --only limited"
    row = {**plain(measure(w, 1)), "command": command, "recipe command": command, "environment": "here"}
    write([row], tmp_path)
    measured = {(o["backend"], o["operation"]): o for o in row["operations"]}
    assert {backend for backend, _ in measured} == set(w.backends)
    assert ("differences, auto", T_PRINTED) not in measured
    assert measured["differences, forward", T_PRINTED]["forwards"] == 32
    assert 0 < measured["differences, forward", PHI]["error"] < 1e-2  # against exact ones, which are not listed
    page = (tmp_path / "cost.md").read_text()
    chosen = page.split("| differences, auto | ∇Φ |")[1].split("\n")[0]
    assert chosen.split(" | ")[1] == str(measured["differences, auto", PHI]["forwards"])  # its minimum
    assert "≤ 35.2 G" in page
    assert "≤ 50.4 G" not in page


def test_the_default_recipe_is_measured_as_it_runs_and_with_both_terms(tmp_path):
    w = tiny()
    rows = plain(recipe_rows(Bench(w, 1)))
    found = {(row["recipe"], row["backend"]): row for row in rows}
    assert list(found) == [
        ("as it runs", "first order"),
        ("with both terms", "exact"),
        ("with both terms", "differences, auto"),
    ]
    first, both = list(found.values())[:2]
    assert (first["ascents"], first["outer steps"]) == (1, 5)
    assert first["counted"] == pytest.approx(6)  # a gradient each
    assert both["counted"] > 2 * first["counted"]
    assert min(row["memory"] for row in rows) > 0.9  # a gradient is among it


@pytest.mark.slow
def test_the_smallest_run_from_end_to_end(tmp_path):
    command = "python benchmarks/cost.py --only cnn"
    row = {**plain(measure(tiny(), 1)), "command": command, "recipe command": command, "environment": "here"}
    write([{**row, "name": "another"}], tmp_path)
    write([row], tmp_path)
    assert [w["name"] for w in json.loads((tmp_path / "cost.json").read_text())["workloads"]] == [
        row["name"],
        "another",
    ]
    page = (tmp_path / "cost.md").read_text()
    assert "| exact | printed iteration, T = 5 |" in page
    assert "≤ 35.2 G" in page
    assert "≤ 57.6 G" in page
    write([{"name": row["name"], "recipe": row["recipe"][:1], "recipe command": "later"}], tmp_path)
    again = (tmp_path / "cost.md").read_text()
    assert "    later\n" in again
    assert again.count("| with both terms |") == page.count("| with both terms |") // 2
    names = {
        o["operation"] for o in json.loads((tmp_path / "cost.json").read_text())["workloads"][0]["operations"]
    }
    assert {o.name for o in derivatives(tiny(), BACKENDS["exact"])} == names
