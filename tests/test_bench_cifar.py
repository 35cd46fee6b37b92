"""The CIFAR-10 benchmark: its split, its references in the store, its files, and its smallest run end to end."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ofmu.benchmarks import cifar
from ofmu.benchmarks.catalogue import BENCHMARKS
from ofmu.benchmarks.cifar import METHODS, SMALLEST, TASKS, cifar_cell, reference
from ofmu.benchmarks.cifar_data import cifar_split
from ofmu.benchmarks.experiment import Budget
from ofmu.benchmarks.image_study import REINIT
from ofmu.benchmarks.reading import nearest, reading
from ofmu.benchmarks.reinit import run_reinit
from ofmu.benchmarks.results import write_results
from ofmu.benchmarks.study import NAMES
from ofmu.data.images import CIFAR10_CLASSES, ImageSplits
from ofmu.engine.networks import build
from ofmu.engine.prepare import Parts
from ofmu.engine.store import Store
from ofmu.engine.training import Recipe
from ofmu.errors import UserError
from ofmu.report.model import FLOOR, ORIGINAL, RETRAIN, Cost, Page, ScoreRow, TaskSection
from ofmu.report.scores import read_scores
from ofmu.tasks import TensorSamples

HERE = Path(os.environ.get("OFMU_DATA_DIR", "nowhere"))
needs_images = pytest.mark.skipif(
    not (HERE / "cifar10-ci").is_dir(), reason="OFMU_DATA_DIR names no directory with cifar10-ci/"
)


@pytest.fixture(autouse=True)
def _process_as_it_was():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def part(name, n, classes=10):
    generator = torch.Generator().manual_seed(n)
    labels = torch.arange(n) % classes
    return TensorSamples(torch.randn(n, 3, 8, 8, generator=generator), labels, [f"{name}/{i}" for i in range(n)])


@pytest.fixture
def data():
    """Noise in the shape of CIFAR-10, 8 × 8."""
    return ImageSplits(part("train", 300), part("test", 100), CIFAR10_CLASSES, (0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize("forgotten", ["random", "class"])
@pytest.mark.parametrize("seed", [0, 3, 14])
def test_the_four_parts_are_disjoint_and_training_is_forget_and_retain(data, forgotten, seed):
    split = cifar_split(data, seed, forgotten, train=200, heldout=80)
    parts = [set(p.ids) for p in (split.forget, split.retain, split.heldout, split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts))  # no id twice
    assert set(split.train.ids) == parts[0] | parts[1]
    assert len(split.train) == 200
    assert all(id.startswith("test/") for id in split.test.ids)
    labels = {id: int(label) for id, label in zip(data.train.ids, data.train.labels, strict=True)}
    assert [labels[id] for id in split.forget.ids] == split.forget.labels.tolist()


def test_random_takes_a_tenth_and_leaves_every_test_image(data):
    split = cifar_split(data, 1, "random", train=200, heldout=80)
    assert (len(split.forget), len(split.heldout), len(split.test), split.forgotten_class) == (20, 80, 100, None)


@pytest.mark.parametrize("seed", [0, 7, 12])
def test_a_forgotten_class_is_in_no_other_part(data, seed):
    split = cifar_split(data, seed, "class", train=200, heldout=80)
    assert split.forgotten_class == seed % 10
    assert set(split.forget.labels.tolist()) == {seed % 10}
    for other in (split.retain, split.heldout, split.test):
        assert set(other.labels.tolist()) == set(range(10)) - {seed % 10}
    assert len(split.test) == 90


def test_both_requests_of_a_seed_share_their_training_set_and_seeds_do_not(data):
    random, whole = (cifar_split(data, 2, kind, train=200, heldout=80) for kind in ("random", "class"))
    assert random.train.ids == whole.train.ids
    assert set(whole.heldout.ids) <= set(random.heldout.ids)
    assert random.train.ids != cifar_split(data, 3, "random", train=200, heldout=80).train.ids


def test_too_few_images_are_refused(data):
    with pytest.raises(UserError, match=r"found 250 \+ 80, expected at most the 300"):
        cifar_split(data, 0, "random", train=250, heldout=80)


def test_a_reference_comes_from_the_store_the_second_time(data, tmp_path, monkeypatch):
    calls = []
    train = cifar.trained
    monkeypatch.setattr(cifar, "trained", lambda *given: calls.append(given[1].ids) or train(*given))
    store = Store(tmp_path)
    random, whole = (cifar_split(data, 0, kind, train=200, heldout=80) for kind in ("random", "class"))
    first, spent = reference(ORIGINAL, random, 0, SMALLEST, store)
    again, same = reference(ORIGINAL, whole, 0, SMALLEST, store)  # the other request's original is the same model
    assert calls == [random.train.ids]
    assert spent == same
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    reference(RETRAIN, random, 0, SMALLEST, store)
    reference(FLOOR, random, 0, SMALLEST, store)
    reference(RETRAIN, whole, 0, SMALLEST, store)
    assert calls[1:] == [random.retain.ids, random.retain.ids, whole.retain.ids]
    reference(ORIGINAL, random, 0, replace(SMALLEST, recipe=replace(SMALLEST.recipe, lr=1e-3)), store)
    assert len(calls) == 5  # another recipe is another model


def test_a_cell_trains_on_nothing_held_out_and_resumes_without_training(data, tmp_path, monkeypatch):
    seen = []
    train = cifar.trained
    monkeypatch.setattr(cifar, "trained", lambda *given: seen.append(set(given[1].ids)) or train(*given))
    monkeypatch.setattr(cifar, "METHODS", ("finetune",))
    settings, store, task = replace(SMALLEST, heldout=80), Store(tmp_path), "CIFAR-10: one class"
    cell = cifar_cell(task, data, 4, settings, store, lambda line: None)
    split = cifar_split(data, 4, "class", train=200, heldout=80)
    assert len(seen) == 3
    assert not set.union(*seen) & (set(split.heldout.ids) | set(split.test.ids))
    assert not (seen[1] | seen[2]) & set(split.forget.ids)
    again = cifar_cell(task, data, 4, settings, store, lambda line: None)
    assert len(seen) == 3
    assert again.rows == cell.rows


def test_reinit_spends_its_budget_and_leaves_the_original_alone(data):
    split = cifar_split(data, 0, "random", train=200, heldout=80)
    model = build("cifar-resnet", replace(SMALLEST.network, size=8), 0).eval()
    before = [p.detach().clone() for p in model.parameters()]
    parts = Parts(split.forget, split.retain, split.heldout)
    run = run_reinit(model, parts, Recipe(epochs=10, batch=20), Budget(1.5 * 180), 0, layers=2)
    assert run.cost == 280  # 14 steps of 20: ends of epochs do not fall on 1.5
    assert (run.setup_cost, run.failed, run.points[-1].step) == (0.0, False, 14)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


def section_of(values):
    rows = [ScoreRow("t", m, s, "gap", v, 5, False) for m, pair in values.items() for s, v in enumerate(pair)]
    return TaskSection("t", "About.", rows)


def test_nearest_ranks_methods_by_their_mean_and_leaves_out_references():
    task = section_of({"A": (3.0, 5.0), "B": (1.0, 2.0), ORIGINAL: (0.0, 0.0), FLOOR: (1.0, 1.0)})
    assert nearest(task) == ["t, gap, nearest to Retrain first: B 1.50, A 4.00 (floor 1.00)."]


def test_the_reading_follows_from_the_numbers():
    gaps = {"A": (3.0, 5.0, 4.0), "B": (1.0, 3.1, 1.9), "C": (5.0, 3.0, 4.0), FLOOR: (2.0, 3.0, 2.5)}
    rows = [ScoreRow("t", m, s, "gap", v, 5, False) for m, found in gaps.items() for s, v in enumerate(found)]
    for method, (ua, ra, ta) in {
        "A": (20.0, 98.0, 50.0),
        RETRAIN: (60.0, 99.0, 51.0),
        FLOOR: (65.0, 99.0, 51.0),
    }.items():
        rows += [ScoreRow("t", method, 0, k, v, 5, None) for k, v in (("UA", ua), ("RA", ra), ("TA", ta))]
    costs = [Cost("t", "A", gradients=40.0, of_retraining=0.4, target_cost=10.0, budget=41.0)]
    costs.append(Cost("t", "C", gradients=42.0, of_retraining=0.42, budget=41.0))
    said = reading(TaskSection("t", "About.", rows, costs=costs), "A")
    assert said == [
        # B − A: −2, −1.9, −2.1, standard error .1/√3; C − A: 2, −2, 0, standard error 2/√3
        "t: by gap A is farther than B (by 2.00 ± 0.06); not told apart from C (+0.00 ± 1.15).",
        "t: within two standard errors of the floor's gap (2.50): B.",  # 2.5 + 2 · .5/√3 = 3.08
        "t: A forgets less than a retraining; its UA 20.0 (60.0), RA 98.0 (99.0), TA 50.0 (51.0), Retrain's in "
        "brackets.",
        "t: A took 40 % of a retraining (10 % before its first step); over the budget by more than 1 %: C.",
    ]


def test_one_seed_tells_nothing_apart():
    said = reading(section_of({"A": (3.0,), "B": (1.0,)}), "A")
    assert said == ["t: by gap A is not told apart from B (-2.00)."]  # no error is known, and none is printed


def test_results_are_written_and_read_back(tmp_path):
    page = Page("bench", {}, ["B is first."], [section_of({"A": (3.0, 5.0)})], {"torch": "x"}, "ofmu bench t")
    write_results(tmp_path, "t", page)
    rows, extra = read_scores(tmp_path / "t.json")
    assert rows == page.rows
    assert extra["command"] == "ofmu bench t"
    text = (tmp_path / "t.md").read_text()
    assert "    ofmu bench t\n" in text
    assert "| A | 2 | 4.00 ± 1.41 |" in text
    assert "## In short\n\n- B is first." in text
    assert "## Notes" not in text


def test_without_data_the_benchmark_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.delenv("OFMU_DATA_DIR", raising=False)
    with pytest.raises(UserError, match=r"cifar10-ci.*OFMU_DATA_DIR"):
        BENCHMARKS["cifar10-ci"](tmp_path, 1, True, print)


@needs_images
@pytest.mark.slow
def test_smoke_runs_every_method_on_both_requests_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("OFMU_STORE", str(tmp_path / "store"))
    said = []
    page = BENCHMARKS["cifar10-ci"](tmp_path, 3, True, said.append)
    assert [task.name for task in page.tasks] == list(TASKS)
    names = {ORIGINAL, RETRAIN, FLOOR, *(NAMES[method] for method in METHODS)}
    for task in page.tasks:
        assert {row.method for row in task.rows} == names
        assert {cost.method for cost in task.costs} == names
        assert {row.seed for row in task.rows} == {0}
    assert {row.n for row in page.rows if row.metric == "TA" and row.task.endswith("class")} == {900}
    assert list(tmp_path.iterdir()) == []
    assert json.dumps(said).count("is there") == 6


def test_every_method_of_the_table_has_a_name():
    assert {*METHODS} <= {*NAMES}
    assert REINIT in METHODS
