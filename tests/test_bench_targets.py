"""What targets are worth: metrics by hand, models and estimates that are kept, sentences made from numbers."""

import numpy as np
import pytest

from ofmu.benchmarks.study import Cell
from ofmu.benchmarks.targets.bench import Plan, _cell, check, page_of, sentences
from ofmu.benchmarks.targets.grounds import ImageGround, TextGround
from ofmu.benchmarks.targets.measure import METRICS, target_rows
from ofmu.benchmarks.tofu_choice import smoke_setting
from ofmu.benchmarks.vision import references
from ofmu.cli.exits import MISTAKE
from ofmu.cli.main import run
from ofmu.data.forget_request import parse_forget
from ofmu.engine import targets_image
from ofmu.engine.store import Store
from ofmu.engine.targets_named import IMAGE, TEXT
from ofmu.errors import UserError
from ofmu.report.model import FLOOR, ORIGINAL, RETRAIN, TaskSection
from toy_shop import toy_shop


def test_metrics_by_hand():
    tau, gold = np.array([0.0, np.log(2), 3.0]), np.array([0.0, np.log(4), 1.0])
    found = {name: measure(tau, gold) for name, measure in METRICS.items()}
    # ranks 1 2 3 and 1 3 2: ρ = 1 − 6·2/(3·8) = 1/2
    assert found["target rank"] == pytest.approx(0.5)
    assert found["target error"] == pytest.approx((np.log(2) + 2) / 3)
    assert found["target bias"] == pytest.approx((2 - np.log(2)) / 3)
    assert found["target PS"] == pytest.approx(100 * (0.25 + np.exp(-1) - np.exp(-3)) / 3)


def test_equal_targets_have_no_ranks():
    rows = {row.metric: row for row in target_rows("t", "constant", 0, np.ones(4), np.arange(4.0))}
    assert rows["target rank"].value is None
    assert "no ranks" in rows["target rank"].missing
    assert rows["target error"].value == pytest.approx(1.0)


@pytest.fixture
def ground(tmp_path):
    return ImageGround(toy_shop(tmp_path), parse_forget("random:0.1"))


def test_every_image_source_is_measured_and_nothing_is_made_twice(ground, monkeypatch):
    trainings = []
    for module in (references, targets_image):
        train = module.trained
        monkeypatch.setattr(module, "trained", lambda *given, train=train: trainings.append(1) or train(*given))
    first = _cell(ground, 0, (), lambda line: None)
    made = len(trainings)
    assert made == 3 + 5  # the references; two from scratch, three heads (`reset` trains elsewhere)
    again = _cell(ground, 0, (), lambda line: None)
    assert len(trainings) == made
    assert again.rows == first.rows
    assert {row.method for row in first.rows} == {ORIGINAL, FLOOR, *IMAGE}
    spent = {one.method: one.samples for one in first.spent}
    assert set(spent) == {ORIGINAL, RETRAIN, FLOOR, *IMAGE}
    assert spent["constant"] == pytest.approx(60 / 3)
    page = page_of([ground], {ground.name: [first]}, "c", "seeds 1 to 2")
    assert page.verdict[0] == "Not finished. Missing: seeds 1 to 2."
    costs = {cost.method: cost for cost in page.tasks[0].costs}
    assert costs["constant"].of_retraining == pytest.approx(20 / 144)


def test_text_sources_that_lack_something_are_missing_with_the_reason(tmp_path):
    setting, _ = smoke_setting()
    found = _cell(TextGround(setting, Store(tmp_path)), 0, ("constant", "base", "alternatives"), lambda line: None)
    assert {row.method for row in found.rows} == {ORIGINAL, FLOOR, "constant", "base", "alternatives"}
    lacking = {row.method: row.missing for row in found.rows if row.metric == "target error" and row.missing}
    assert list(lacking) == ["base"]
    assert "--base" in lacking["base"]
    assert "base" in TEXT


def test_the_sentences_follow_from_the_numbers():
    cells = []
    for seed, noise in enumerate((0.0, 0.01, 0.02)):
        gold, cell = np.arange(5.0), Cell(seed)
        for name, off in ((FLOOR, 0.1), ("reset", 1.0), ("head", 0.5 + noise), ("constant", 3.0)):
            cell.rows += target_rows("t", name, seed, gold + off, gold)
        cells.append(cell)
    task = TaskSection("t", "d", [row for cell in cells for row in cell.rows])
    said = sentences(task, "reset")[1]
    assert said.startswith(
        "target error, best first: head 0.51, reset 1.00, constant 3.00 (a second Retrain 0.10)."
    )
    assert said.endswith("Better than the default (reset), told apart: head -0.49 [-0.51, -0.47].")


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan(data=("mnist",)), "--data: found mnist"),
        (Plan(data=("digits",), sources=("alike",)), "--sources: found alike; expected some of constant, head"),
        (Plan(seeds=0), "--seeds: found 0"),
    ],
)
def test_mistakes_are_found_before_anything_is_loaded(plan, expected):
    with pytest.raises(UserError, match=expected):
        check(plan)


def test_a_mistake_on_the_command_line_is_one_message(capsys, tmp_path):
    assert run(["bench", "targets", "--sources", "magic", "--out", str(tmp_path)]) == MISTAKE
    assert "--sources: found magic" in capsys.readouterr().err
