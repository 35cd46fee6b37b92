"""Open questions 2 and 4: one thing differs, differences by hand, one run looked at twice is two, a tiny whole."""

import importlib.util
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from ofmu.benchmarks.experiment import Budget, run_method
from ofmu.benchmarks.image_scores import view_image
from ofmu.benchmarks.questions import bench, page, run
from ofmu.benchmarks.questions.bench import DIRECTIONS, Found, Plan, Tried, best, judged, rows_of
from ofmu.benchmarks.questions.differences import over_all, shown, side, whole, within
from ofmu.benchmarks.questions.ground import ground_of
from ofmu.benchmarks.questions.run import Look, Outcome, holds, watched
from ofmu.benchmarks.questions.variants import BASE, BASE_TITLE, VARIANTS, chosen
from ofmu.benchmarks.questions.words import answer, by_question, convergence
from ofmu.benchmarks.vision.references import Workshop
from ofmu.benchmarks.vision.setting import Setting
from ofmu.data.forget_request import parse_forget
from ofmu.data.images import CIFAR10_CLASSES, ImageSplits
from ofmu.engine.prepare import Sources, prepare
from ofmu.engine.store import Store
from ofmu.engine.training import Recipe
from ofmu.errors import UserError
from ofmu.report.model import FLOOR, ORIGINAL, ScoreRow
from ofmu.report.scores import read_scores
from ofmu.tasks import TensorSamples

RANDOM = parse_forget("random:0.1")
ONE_THING = {"similarity": {"beta", "similarity"}, "penalty": {"penalty"}, "priority": {"priority"}}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.title)
def test_a_variant_differs_from_the_base_in_one_thing(variant):
    for value in variant.values:
        made = variant.make(value)
        differ = {field.name for field in fields(BASE) if getattr(made, field.name) != getattr(BASE, field.name)}
        assert differ <= ONE_THING[variant.question]
        assert differ - {"similarity"}  # the cosine is the preset's too, at β = 0


def test_every_variant_has_as_many_values_and_a_title_of_its_own():
    assert {len(set(variant.values)) for variant in VARIANTS} == {3}
    made = [repr(variant.make(value)) for variant in VARIANTS for value in variant.values]
    assert len(set(made)) == len(made)
    assert len({variant.title for variant in VARIANTS}) == len(VARIANTS)


def test_variants_are_named_by_how_they_begin():
    assert [one.title for one in chosen(["cosine", "ratio"])] == ["cosine", "ratio-balanced"]
    assert chosen([]) == list(VARIANTS)
    with pytest.raises(UserError, match=r"--variants: found 'cosines'; did you mean 'cosine'\? .* ratio-balanced"):
        chosen(["ratio", "cosines"])
    with pytest.raises(UserError, match="found 'fixed'"):  # three begin so
        chosen(["fixed"])


def row(method, seed, value, metric="gap", task="a at 1"):
    missing = "why not" if value is None else None
    return ScoreRow(task, method, seed, metric, value, 0 if value is None else 5, DIRECTIONS[metric], missing)


def test_differences_by_hand():
    rows = [row(BASE_TITLE, seed, 1.0) for seed in range(3)]
    rows += [row("cosine", seed, 2.0 + seed) for seed in range(3)] + [row(FLOOR, 0, 0.0)]
    found = within(rows, "a at 1", "gap")
    assert set(found) == {"cosine"}
    # mean 2, s = 1, t(.975, 2) = 4.302653: reach 4.302653/√3
    assert found["cosine"].mean == pytest.approx(2.0)
    assert found["cosine"].high == pytest.approx(2 + 4.302653 / 3**0.5)
    assert shown(found["cosine"]) == "+2.00 [-0.48, +4.48]"
    assert side([found["cosine"]]) == "not told apart"


def test_sets_are_averaged_within_a_seed_before_the_interval():
    rows = []
    for seed, (first, second) in enumerate([(1.0, 3.0), (2.0, 4.0), (2.0, None)]):
        for task, value in (("a at 1", first), ("b at 1", second)):
            rows += [row(BASE_TITLE, seed, 0.0, task=task), row("hinge", seed, value, task=task)]
    found = over_all(rows, ["a at 1", "b at 1"], "gap")["hinge"]
    assert found.seeds == 3
    assert found.mean == pytest.approx((2 + 3 + 2) / 3)  # the last seed has one set alone
    assert over_all(rows, ["b at 1"], "gap")["hinge"].seeds == 2
    assert over_all(rows, ["c at 1"], "gap") == {}
    unfinished = [one for one in rows if one.task == "a at 1" or one.seed == 0]
    assert whole(unfinished, ["a at 1", "b at 1"]) == ["a at 1"]
    assert whole(rows, ["a at 1", "b at 1"]) == ["a at 1", "b at 1"]


def test_sides_by_hand():
    rows = [row(BASE_TITLE, seed, 5.0, metric) for seed in range(3) for metric in ("gap", "W1")]
    rows += [row("cosine", seed, 4.0 + seed / 100, "gap") for seed in range(3)]
    rows += [row("cosine", seed, 6.0 + seed / 100, "W1") for seed in range(3)]
    nearer, farther = (within(rows, "a at 1", metric)["cosine"] for metric in ("gap", "W1"))
    assert side([nearer, None]) == "nearer"
    assert side([farther]) == "farther"
    assert side([nearer, farther]) == "both ways"
    assert side([None]) == "not run"
    assert side([within([*rows[:1], row("cosine", 0, 9.0)], "a at 1", "gap")["cosine"], None]) == "one seed alone"
    assert shown(nearer).startswith("**-0.99 [")
    assert shown(None) == "–"


def test_the_target_holds_at_nine_tenths_of_its_mean():
    tau = torch.tensor([1.0, 3.0])
    assert holds(torch.tensor([0.61, 9.0]), tau)  # (.61 + 3)/2 > 1.8 = .9 · 2
    assert not holds(torch.tensor([9.0, 2.5]), tau)  # (1 + 2.5)/2: the excess of one does not serve the other


def test_the_value_of_least_score_is_chosen_and_failures_are_none():
    variant = VARIANTS[0]
    tried = [Tried(0.1, 5.0), Tried(0.03, None, "diverged"), Tried(0.3, 4.0)]
    assert best(variant, tried) == 0.3
    assert best(variant, []) == best(variant, [Tried(0.3, None, "diverged")]) == variant.values[0]
    looks = [Look(0.1, {"gap": 1.0, "W1": 3.0}, {}), Look(0.2, {"gap": 2.0, "W1": 2.0}, {})]
    assert judged(0.1, Outcome(looks, None, "the budget is spent", False)).score == pytest.approx(2.0)
    assert judged(0.1, Outcome(looks, None, "step 3: it diverged", True)).score is None
    lacking = [Look(0.1, {"W1": 3.0}, {"gap": "no attack"})]
    assert judged(0.1, Outcome(lacking, None, "the budget is spent", False)).missing == "gap or W1 is missing"


def test_what_a_run_has_not_is_missing_with_the_reason():
    plan = Plan(budgets=(0.1, 0.2))
    outcome = Outcome([Look(0.1, {"gap": 1.0}, {"PS": "no pair"}, 4, 2.5)], None, "step 5: it diverged", True)
    rows = {(one.task, one.metric): one for one in rows_of(RANDOM, "hinge", 0, outcome, plan, 11)}
    assert rows["random:0.1 at 0.1", "gap"].value == 1.0
    assert rows["random:0.1 at 0.1", "rounds"].value == 4.0
    assert rows["random:0.1 at 0.1", "PS"].missing == "no pair"
    assert rows["random:0.1 at 0.2", "gap"].missing == "step 5: it diverged"
    assert rows["random:0.1 at 0.2", "rounds to target"].missing == "it did not hold: step 5: it diverged"
    text = page.page(replace(plan, forget=("random:0.1",)), Found(list(rows.values())), "c", {})
    assert "random:0.1 at 0.2, hinge, seed 0, gap: step 5: it diverged" in text


def test_the_first_paragraph_names_who_is_nearer():
    plan = Plan(forget=("a",), budgets=(1.0,), variants=tuple(chosen(["cosine", "ratio", "retain"])))
    rows = [row(BASE_TITLE, seed, 5.0, metric) for seed in range(3) for metric in ("gap", "W1", "PS")]
    rows += [row("cosine", seed, 6.0 + seed / 100, "PS") for seed in range(3)]
    rows += [row("retain → forget", seed, 4.0 + seed / 100, "gap") for seed in range(3)]
    rows += [row(BASE_TITLE, seed, 9.0, "rounds to target") for seed in range(3)]
    rows += [row("ratio-balanced", seed, 7.0 + seed / 100, "rounds to target") for seed in range(3)]
    text = answer(rows, plan)
    assert "Of 3 variants" in text
    assert "1 (*retain → forget*) is nearer" in text
    assert "Similarity term: at 1 of a retraining 1 of 1 farther. Penalty schedule: " in text
    assert "1 of 1 not run. Forget/retain priority: at 1 of a retraining 1 of 1 nearer." in text
    assert "Similarity term, at 1 of a retraining. a: farther: *cosine*." in by_question(rows, plan)
    assert any("ewer rounds: *ratio-balanced*" in line for line in convergence(rows, plan))
    rows += [row(BASE_TITLE, seed, 2.0, "cost to target") for seed in range(3)]
    rows += [row("ratio-balanced", 0, 5.0, "cost to target"), row("ratio-balanced", 1, None, "cost to target")]
    assert "penalty schedule 0.78 × and 2.50 × (3 of 3 runs reached it)." in answer(rows, plan)
    nothing = answer([one for one in rows if not one.method.startswith("retain")], plan)
    assert "none is nearer" in nothing


def part(name, n):
    generator = torch.Generator().manual_seed(n)
    pixels = torch.randn(n, 1, 8, 8, generator=generator)
    return TensorSamples(pixels, torch.arange(n) % 10, [f"{name}/{i}" for i in range(n)])


@pytest.fixture
def ground(tmp_path):
    data = ImageSplits(part("train", 300), part("test", 60), CIFAR10_CLASSES, (0.0,), (1.0,))
    setting = Setting("toy", "toy", "cnn", Recipe(3, 32, 4e-3), 160, 60, 40, share=1.2)
    shop = Workshop(data, setting, Store(tmp_path / "store"), torch.device("cpu"), lambda line: None)
    return ground_of(shop, RANDOM, 0)


def test_one_run_looked_at_twice_is_two_runs(ground):
    """What the first budget's look has is what a run of that budget leaves, prepared anew."""
    method = VARIANTS[0].make(0.1)
    both = watched(ground, method, (1.0, 0.6))
    assert [look.budget for look in both.looks] == [0.6, 1.0]
    assert both.looks[0].rounds < both.looks[1].rounds
    data, budget = ground.request.data, Budget(0.6 * ground.whole, nearest=True)
    prepared = prepare(ground.original, "image", data, method, Sources(recipe=ground.request.recipe), 0)
    alone = run_method(ground.original, prepared, data, method, budget)
    losses = view_image(alone.model, ground.request.parts).forget_losses
    assert both.looks[0].values["forget loss"] == pytest.approx(float(losses.mean()), abs=1e-6)
    assert both.looks[0].cost == pytest.approx(alone.cost / 256)


def test_a_run_is_kept_and_an_early_end_serves_all_later_budgets(ground, monkeypatch):
    easy = replace(BASE, hold=1e-6, rounds=0, settled=False)
    first = run.kept(ground, "easy", easy, (0.8, 1.2))
    assert first.ended == "the target holds"
    assert first.looks[0].values == first.looks[1].values
    monkeypatch.setattr(run, "watched", None)  # would be called
    assert run.kept(ground, "easy", easy, (1.2, 0.8)) == first


def test_a_target_that_holds_at_once_held_after_no_round(ground, monkeypatch):
    monkeypatch.setattr(run, "HOLD", 0.0)
    outcome = watched(ground, BASE, (1.0,))
    assert outcome.held == (0, ground.prepared.cost / 256)


def command():
    path = Path(__file__).parents[1] / "benchmarks" / "questions.py"
    spec = importlib.util.spec_from_file_location("questions", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_tiny_whole(tmp_path, capsys):
    variants = tuple(chosen(["hinge", "augmented", "forget → retain and back"]))
    plan = Plan("digits", ("random:0.1",), 1, (0.6,), 1, variants, floor=True, smoke=True)
    found = command().run(plan, Store(tmp_path / "store"), tmp_path, "the command")
    rows, extra = read_scores(tmp_path / "questions.json")
    assert rows == found.rows
    assert {one.method for one in rows} == {ORIGINAL, FLOOR, BASE_TITLE, *(one.title for one in variants)}
    assert extra["left"] == ""
    text = (tmp_path / "questions.md").read_text(encoding="utf-8")
    assert "    the command" in text
    assert text.count("| augmented Lagrangian |") >= 2
    assert bench.task_at(RANDOM, 0.6) in {one.task for one in rows}


def test_impossible_plans_are_refused():
    for wrong, words in (
        ({"values": 4}, "--values"),
        ({"seeds": 0}, "--seeds"),
        ({"budgets": (0.0,)}, "--budgets"),
    ):
        with pytest.raises(UserError, match=words):
            Plan(**wrong)
