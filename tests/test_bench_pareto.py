"""Quality against cost: bounds by hand, sentences made from numbers, figures, runs that share models."""

import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from ofmu.benchmarks.image_choices import parse_choices
from ofmu.benchmarks.pareto.bench import BUDGETS, Plan, check
from ofmu.benchmarks.pareto.curves import frontier
from ofmu.benchmarks.pareto.ground import Found, Spot, label_of
from ofmu.benchmarks.pareto.images import QUALITIES, ImageGround
from ofmu.benchmarks.pareto.page import page_of, picture, read, write
from ofmu.benchmarks.pareto.text import gap
from ofmu.benchmarks.pareto.verdict import bound, sentences
from ofmu.benchmarks.study import Spent
from ofmu.benchmarks.vision import references
from ofmu.cli.exits import MISTAKE
from ofmu.cli.main import run
from ofmu.data.fashion import COARSE, GROUPS
from ofmu.data.forget_request import parse_forget
from ofmu.data.images import FASHION_CLASSES
from ofmu.errors import UserError
from ofmu.report.closer import closer
from ofmu.report.figures import Frontier, Mark
from ofmu.report.model import FLOOR, ORIGINAL, RETRAIN, ScoreRow
from ofmu.report.page import render
from toy_shop import toy_shop

TASK = "toy: random:0.1"
FLOORS = {"gap": (1.0, 1.0, 1.0), "PS": (10.0, 10.0, 10.0)}


def scored(method, seed, **values):
    return [ScoreRow(TASK, method, seed, metric, value, 10, False) for metric, value in values.items()]


def found_of(methods, share=0.1, budget=0.1):
    """methods: title → metric → a value a seed; the floor is 1 in gap and 10 in PS."""
    found = Found()
    for seed in range(3):
        floor = {metric: values[seed] for metric, values in FLOORS.items()}
        found.references(seed, scored(FLOOR, seed, **floor), [])
        for method, metrics in methods.items():
            spot = Spot(TASK, method, budget, seed, share)
            values = {metric: numbers[seed] for metric, numbers in metrics.items()}
            found.run(spot, scored(spot.label, seed, **values), Spent(spot.label, 1.0, 1.0))
    return found


def said(methods, **more):
    return sentences(found_of(methods, **more), "OFMU", ("gap", "PS"), ["Re-init"])


def test_bounds_by_hand():
    # 1, 2, 3: mean 2, s = 1, t(.95, 2) = 2.919986; reach = 2.919986/√3 = 1.685854
    found = bound([1.0, 2.0, 3.0])
    assert (found.mean, found.seeds) == (2.0, 3)
    assert (found.low, found.high) == pytest.approx((0.314146, 3.685854), abs=1e-6)
    assert bound([1.0]).low is None


OURS = {"gap": (2.0, 2.1, 2.2), "PS": (12.0, 12.1, 12.2)}


def test_a_method_that_is_nearer_in_both_is_named():
    text = said({"OFMU": OURS, "NPO": {"gap": (1.0, 1.1, 1.1), "PS": (9.0, 9.0, 9.1)}})[0]
    assert text.startswith(
        "At 10 % of a retraining: NPO (gap by 1.03, at least 0.94; PS by 3.07, at least 2.97): "
    )
    assert "better than OFMU in gap and PS by more than 10 % of the floor" in text
    assert "no method" not in text


def test_a_method_that_is_nearer_in_one_alone_is_ruled_out():
    text = said({"OFMU": OURS, "NPO": {"gap": (0.5, 0.6, 0.7), "PS": (12.5, 12.6, 12.7)}})[0]
    assert "no method is shown to be better than OFMU" in text
    assert "; ruled out for NPO." in text


def test_a_difference_within_the_margin_does_not_count():
    # nearer by .05 and .5 in every seed: less than a tenth of the floors 1 and 10
    near = {"gap": (1.95, 2.05, 2.15), "PS": (11.5, 11.6, 11.7)}
    assert "ruled out for NPO" in said({"OFMU": OURS, "NPO": near})[0]


def test_what_seeds_do_not_settle_stays_open():
    text = said({"OFMU": OURS, "NPO": {"gap": (0.5, 3.0, 1.0), "PS": (8.0, 15.0, 9.0)}})[0]
    assert "neither shown nor ruled out for NPO" in text


def test_a_method_over_the_budget_is_compared_with_nobody():
    found = found_of({"OFMU": OURS, "NPO": OURS})
    found.spots = [replace(spot, share=0.2) if spot.method == "NPO" else spot for spot in found.spots]
    texts = sentences(found, "OFMU", ("gap", "PS"), [])
    assert not any("NPO (" in text or "ruled out" in text for text in texts)
    assert found.keeps("OFMU", 0.1)
    assert not found.keeps("NPO", 0.1)
    assert "OFMU took 30.0 %, more than the budget" in said({"OFMU": OURS, "NPO": OURS}, share=0.3)[0]


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (
            {"gap": (3.0, 3.1, 3.2), "PS": (12.0, 12.1, 12.2)},
            "OFMU is nearer to Retrain in gap and not farther in PS.",
        ),
        ({"gap": (3.0, 3.1, 3.2), "PS": (9.0, 9.1, 9.2)}, "OFMU is farther from Retrain in PS and nearer in gap."),
        ({"gap": (2.0, 2.1, 2.2), "PS": (12.0, 12.1, 12.2)}, "not told apart."),
    ],
)
def test_partial_re_initialisation_of_equal_cost(theirs, expected):
    text = said({"OFMU": OURS, "Re-init": theirs})[1]
    assert "Re-init minus OFMU (10.0 % against 10.0 % spent)" in text
    assert text.endswith(expected)


def test_the_floor_is_the_unit():
    text = said({"OFMU": OURS})[-1]
    # gap: mean 2.1 against 1; s = .1, reach 2.919986·.1/√3 = .1686
    assert "OFMU against the floor: gap 2.10 × (at most 2.27), PS 1.21 × (at most 1.23)." in text


def test_the_gap_of_text_is_the_mean_distance_of_three_probabilities():
    theirs = scored(RETRAIN, 0, forget_prob=0.03, retain_prob=0.99, unseen_prob=0.05, ks_p=1.0)
    mine = scored("NPO", 0, forget_prob=0.01, retain_prob=0.9, unseen_prob=0.06, ks_p=0.2, nll_error=1.0)
    row = gap(mine, theirs)
    assert (row.method, row.metric, row.n) == ("NPO", "prob_gap", 10)
    assert row.value == pytest.approx(100 * (0.02 + 0.09 + 0.01) / 3)
    absent = ScoreRow(TASK, "NPO", 0, "retain_prob", None, 0, missing="it diverged")
    row = gap([mine[0], absent, *mine[2:]], theirs)
    assert (row.metric, row.value, row.missing) == ("prob_gap", None, "it diverged")


def test_curves_stand_at_what_was_spent_with_the_interval_of_the_mean():
    found = found_of({"OFMU": OURS}, share=0.08)
    drawn = frontier(found, TASK, QUALITIES[0])
    (mark,) = drawn.curves["OFMU"]
    reach = 4.302653 * 0.1 / math.sqrt(3)  # t(.975, 2)
    assert (mark.x, mark.y) == pytest.approx((0.08, 2.1))
    assert (mark.low, mark.high) == pytest.approx((2.1 - reach, 2.1 + reach), abs=1e-6)
    assert drawn.levels[FLOOR].y == 1.0
    assert frontier(found, TASK, QUALITIES[3]) is None  # nothing has RA


FRONTIER = Frontier(
    "Toy <1>", "c", "gap", {"NPO": [Mark(0.1, 2.0, 1.0, 3.0)]}, {FLOOR: Mark(0, 1.0)}, (0.1,), True
)


def test_a_frontier_is_one_svg_that_says_its_numbers():
    root = ET.fromstring(closer(FRONTIER, {}, "f1"))
    texts = {part.tag.split("}")[-1]: part.text for part in root.iter() if part.text and part.text.strip()}
    assert texts["title"] == FRONTIER.title
    assert texts["desc"] == f"NPO: 2 at 10 %; {FLOOR} at 1"


@pytest.mark.parametrize(
    "make",
    [
        lambda: replace(FRONTIER, curves={}),
        lambda: replace(FRONTIER, curves={"NPO": [Mark(0.0, 1.0)]}),
        lambda: Mark(0.1, float("nan")),
        lambda: Mark(0.1, 1.0, low=0.5),
    ],
)
def test_wrong_figures_are_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()


@pytest.fixture
def ground(tmp_path):
    return ImageGround(
        toy_shop(tmp_path), parse_forget("random:0.1"), parse_choices(["reinit", "finetune"]), 1, 1, tmp_path
    )


def test_budgets_share_their_references_and_a_stopped_run_goes_on(ground, tmp_path, monkeypatch):
    trainings = []
    train = references.trained
    monkeypatch.setattr(references, "trained", lambda *given: trainings.append(given) or train(*given))
    found, looks = Found(), []
    ground.run(0, (0.5, 1.0), found, lambda: looks.append(len(found.spots)))
    assert len(trainings) == 3  # Original, Retrain and the floor, for both budgets
    assert looks == [1, 2, 3, 4]
    small, large = (found.share("FineTune", budget) for budget in (0.5, 1.0))
    assert small == pytest.approx(
        2 * 32 / 144
    )  # a retraining: 144 samples once; whole steps of 32, nearest to half
    assert large == pytest.approx(1.0)
    again = Found()
    ground.run(0, (0.5, 1.0), again, lambda: None)
    assert len(trainings) == 3
    assert again.rows == found.rows
    assert again.spots == found.spots
    page = page_of({ground.name: (ground, found)}, "t", "c", "seed 1", "tuned")
    assert page.verdict[0] == "Not finished. Missing: seed 1."
    html = render(page)
    assert "The figures under the results show it." in html
    write(tmp_path, "pareto", page, {ground.name: (ground, found)})
    kept, qualities = read(tmp_path / "pareto.json")[ground.name]
    assert tuple(qualities) == QUALITIES
    assert kept.spots == found.spots
    label = label_of("FineTune", 0.5)
    assert kept.values(label, "gap") == found.values(label, "gap")
    text = (tmp_path / "pareto.md").read_text(encoding="utf-8")
    assert f"| 50 % | FineTune | 1 | {100 * small:.1f} %" in text
    for name in (ORIGINAL, RETRAIN, FLOOR):
        assert f"|  | {name} | 1 | – |" in text
    assert picture(tmp_path / "pareto.json", tmp_path / "p.png").stat().st_size > 5000
    with pytest.raises(UserError, match=r"nothing of fashion in gap, PS; there is toy: random:0.1 \(gap, W1"):
        picture(tmp_path / "pareto.json", tmp_path / "p.png", ["fashion"])


def test_only_the_rivals_are_tuned(ground, monkeypatch):
    asked = []

    def tuned(shop, request, task, choices, trials, folder, seeds):
        asked.append((shop.setting.share, [choice.name for choice in choices], trials, seeds))
        return [type("T", (), {"choice": replace(choice, title="changed"), "words": "w"}) for choice in choices]

    monkeypatch.setattr("ofmu.benchmarks.pareto.images.tuned_choices", tuned)
    ground.choices, ground.trials = parse_choices(["npo", "ofmu"]), 4
    assert [choice.title for choice in ground._choices(0.2)] == ["changed", "OFMU"]
    assert asked == [(0.2, ["npo"], 4, range(1))]


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan(data=("mnist",)), "--data: found mnist; expected some of digits"),
        (Plan(budgets=(0.1, 2.0)), "--budgets: found .* up to 1"),
        (Plan(budgets=(0.1, 0.1)), "each once"),
        (Plan(seeds=0), "--seeds: found 0"),
        (Plan(data=("llama", "digits"), methods=("ofmu",)), "run them apart"),
        (Plan(data=("llama",), methods=("scrub",)), "--methods: found scrub; for text: "),
        (Plan(data=("llama",), forget=("class",)), "images alone"),
    ],
)
def test_mistakes_are_found_before_anything_is_loaded(plan, expected):
    with pytest.raises(UserError, match=expected):
        check(plan)


def test_a_mistake_on_the_command_line_is_one_message(capsys, tmp_path):
    assert run(["bench", "pareto", "--data", "mnist", "--out", str(tmp_path)]) == MISTAKE
    assert "--data: found mnist" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_was_asked():
    plan = Plan(("digits",), ("class",), ("ofmu", "head"), BUDGETS, None, 10, 4)
    assert plan.command == (
        "ofmu bench pareto --data digits --forget class --methods ofmu head --budgets 0.02 0.05 0.1 0.2 0.5 "
        "--trials 4 --seeds 10"
    )


def test_a_sneaker_is_footwear():
    groups = {name: GROUPS[coarse] for name, coarse in zip(FASHION_CLASSES, COARSE, strict=True)}
    assert {name for name, group in groups.items() if group == "footwear"} == {"Sandal", "Sneaker", "Ankle boot"}
    assert {name for name, group in groups.items() if group == "top"} == {
        "T-shirt/top",
        "Pullover",
        "Coat",
        "Shirt",
    }
    assert [groups[name] for name in ("Trouser", "Dress", "Bag")] == ["trouser", "dress", "bag"]
