"""The vision benchmark: its parts, its store, its tuning, its files, and its smallest run end to end."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ofmu.benchmarks.catalogue import BENCHMARKS
from ofmu.benchmarks.experiment import Budget
from ofmu.benchmarks.image_choices import parse_choice, parse_choices
from ofmu.benchmarks.image_scores import view_of
from ofmu.benchmarks.paired import floor_sentence
from ofmu.benchmarks.reading import nearest, reading
from ofmu.benchmarks.reinit import run_reinit
from ofmu.benchmarks.results import write_results
from ofmu.benchmarks.study import Cell, machine
from ofmu.benchmarks.tuning import Options, Range, Trial, Tried
from ofmu.benchmarks.vision import bench, ensembles, references, runs, seen, tuned
from ofmu.benchmarks.vision.bench import VisionOptions, missing, run_vision
from ofmu.benchmarks.vision.cell import split_of, vision_cell
from ofmu.benchmarks.vision.figures import feature_clouds
from ofmu.benchmarks.vision.own import own_pool, own_setting
from ofmu.benchmarks.vision.page import sentences_of
from ofmu.benchmarks.vision.references import Workshop, memorisation_scores, reference
from ofmu.benchmarks.vision.setting import SETTINGS, Setting, setting_of
from ofmu.benchmarks.vision.split import TUNING, development_request, draw, label_count, split
from ofmu.cli.exits import MISTAKE
from ofmu.cli.main import run
from ofmu.data.forget_request import parse_forget
from ofmu.data.images import CIFAR10_CLASSES, ImageSplits
from ofmu.engine.classifiers import build_classifier
from ofmu.engine.measure import Usage
from ofmu.engine.measuring import Monitor
from ofmu.engine.prepare import Parts
from ofmu.engine.store import Store
from ofmu.engine.training import Recipe
from ofmu.errors import UserError
from ofmu.losses import class_nll
from ofmu.methods.published import PUBLISHED
from ofmu.report.model import FLOOR, ORIGINAL, RETRAIN, Cost, Page, ScoreRow, TaskSection
from ofmu.report.scores import read_scores, write_scores
from ofmu.report.table import cost_names
from ofmu.tasks import TensorSamples

SETTING = Setting("toy", "toy", "cnn", Recipe(1, 32, 4e-3), 160, 60, 40, ensemble=2)
RANDOM, CLASS = parse_forget("random:0.1"), parse_forget("class")


def part(name, n, classes=10):
    generator = torch.Generator().manual_seed(n)
    labels = torch.arange(n) % classes
    return TensorSamples(torch.randn(n, 3, 8, 8, generator=generator), labels, [f"{name}/{i}" for i in range(n)])


@pytest.fixture
def data():
    """Noise in the shape of CIFAR-10, 8 × 8."""
    return ImageSplits(part("train", 300), part("test", 100), CIFAR10_CLASSES, (0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def shop(data, tmp_path):
    return Workshop(data, SETTING, Store(tmp_path / "store"), torch.device("cpu"), lambda line: None)


def cut(data, seed, request, setting=SETTING):
    return split(draw(data, seed, setting), request, seed)


@pytest.mark.parametrize("request_", [RANDOM, CLASS])
@pytest.mark.parametrize("seed", [0, 3, 14])
def test_the_parts_are_disjoint_and_training_is_forget_and_retain(data, request_, seed):
    found = cut(data, seed, request_)
    parts = [set(p.ids) for p in (found.forget, found.retain, found.heldout, found.development, found.test)]
    assert sum(map(len, parts)) == len(set.union(*parts))  # no id twice
    assert set(found.train.ids) == parts[0] | parts[1]
    assert len(found.train) == 160
    assert all(id.startswith("test/") for id in found.test.ids)
    labels = {id: int(label) for id, label in zip(data.train.ids, data.train.labels, strict=True)}
    assert [labels[id] for id in found.forget.ids] == found.forget.labels.tolist()


def test_no_seed_trains_on_a_development_image(data):
    apart = set(cut(data, 0, RANDOM).development.ids)
    for seed in (1, 2, TUNING):
        found = cut(data, seed, RANDOM)
        assert set(found.development.ids) == apart
        assert not apart & (set(found.train.ids) | set(found.heldout.ids))


@pytest.mark.parametrize("seed", [0, 7, 12])
def test_a_forgotten_class_is_in_no_other_part(data, seed):
    found = cut(data, seed, CLASS)
    assert found.forgotten_classes == (seed % 10,)
    assert set(found.forget.labels.tolist()) == {seed % 10}
    for other in (found.retain, found.heldout, found.development, found.test):
        assert set(other.labels.tolist()) == set(range(10)) - {seed % 10}
    assert len(found.test) == 90


def test_both_requests_of_a_seed_share_their_training_set_and_seeds_do_not(data):
    random, whole = (cut(data, 2, request) for request in (RANDOM, CLASS))
    assert random.train.ids == whole.train.ids
    assert set(whole.heldout.ids) <= set(random.heldout.ids)
    assert random.train.ids != cut(data, 3, RANDOM).train.ids


def test_mislabelled_samples_carry_their_wrong_labels_into_the_training_set(data):
    found, clean = cut(data, 1, parse_forget("mislabelled:0.1")), cut(data, 1, RANDOM)
    changed = [row for row in range(160) if found.train.labels[row] != clean.train.labels[row]]
    assert changed == found.forget_rows
    assert len(changed) == 16


def test_a_subclass_leaves_every_other_part_but_its_coarse_class_stays(data):
    fine = (data.train.labels.clone(), data.test.labels.clone())
    for samples in (data.train, data.test):
        samples.labels = samples.labels // 5
    found = cut(replace(data, classes=("a", "b"), fine=fine), 0, parse_forget("subclass:3"))
    for other in (found.retain, found.heldout, found.test):
        assert {int(id.split("/")[1]) % 10 for id in other.ids} == set(range(10)) - {3}
        assert set(other.labels.tolist()) == {0, 1}
    assert set(found.forget.labels.tolist()) == {0}


def test_too_few_images_are_refused(data):
    with pytest.raises(UserError, match=r"found 250 \+ 60 \+ 40, expected at most the 300"):
        draw(data, 0, replace(SETTING, train=250))


@pytest.mark.parametrize(("asked", "tuned_on"), [("class:3", (8,)), ("classes:1+6", (0, 2)), ("class", ())])
def test_other_classes_are_tuned_on(asked, tuned_on):
    assert development_request(parse_forget(asked), 10).classes == tuned_on


@pytest.mark.parametrize(
    ("classes", "seeds", "tuned_on"), [(10, 5, ()), (10, 10, None), (3, 2, (2,)), (3, 5, None)]
)
def test_without_a_number_a_class_is_tuned_on_that_no_seed_reports(classes, seeds, tuned_on):
    if tuned_on is None:
        with pytest.raises(UserError, match=f"{classes} classes and {seeds} seeds.*--seeds {classes - 1} "):
            development_request(CLASS, classes, range(seeds))
        return
    found = development_request(CLASS, classes, range(seeds))
    assert found.classes == tuned_on
    own = found.classes or (TUNING % classes,)  # without a number the development seed's own
    assert not set(own) & {seed % classes for seed in range(seeds)}
    assert development_request(RANDOM, classes, range(seeds)) == RANDOM


def test_tuning_of_a_class_forgets_one_that_is_not_reported(data, shop, tmp_path, monkeypatch):
    asked, ground = [], SimpleNamespace(score=lambda choice: Tried(1.0))
    monkeypatch.setattr(tuned, "development", lambda shop, moved, task: asked.append(moved) or ground)
    few = replace(shop, data=replace(data, classes=("a", "b", "c")))
    tuned.tuned_choices(few, CLASS, "t", parse_choices(["finetune"]), 2, tmp_path, range(2))
    assert [str(one) for one in asked] == ["class:2"]
    with pytest.raises(UserError, match="3 classes and 5 seeds"):
        tuned.tuned_choices(few, CLASS, "t", parse_choices(["finetune"]), 2, tmp_path, range(5))


def test_a_subclass_is_tuned_on_a_class_half_way_round_the_fine_ones(data):
    coarse = replace(data, classes=("a", "b"), fine=(data.train.labels, data.test.labels))
    asked = parse_forget("subclass:7")
    assert label_count(coarse, asked) == 10
    assert development_request(asked, label_count(coarse, asked)).classes == (2,)
    assert label_count(coarse, CLASS) == 2


def test_label_noise_is_the_same_for_all_seeds_and_touches_its_share(data):
    noisy = [draw(data, seed, replace(SETTING, noise=0.25)) for seed in (0, 1)]
    known = [dict(zip(d.train.ids, d.train.labels.tolist(), strict=True)) for d in noisy]
    assert all(known[0][id] == known[1][id] for id in known[0].keys() & known[1].keys())
    wrong = sum(int(id.split("/")[1]) % 10 != label for id, label in known[0].items())
    assert 20 <= wrong <= 60  # of 160, a quarter


def counted(monkeypatch):
    seen = []
    train = references.trained
    monkeypatch.setattr(references, "trained", lambda *given: seen.append(given[1]) or train(*given))
    return seen


def test_a_reference_comes_from_the_store_the_second_time(data, shop, monkeypatch):
    seen = counted(monkeypatch)
    random, whole = (cut(data, 0, request) for request in (RANDOM, CLASS))
    first, spent = reference(shop, random, 0, "t", ORIGINAL)
    again, same = reference(shop, whole, 0, "u", ORIGINAL)  # the other request's original is the same model
    assert [part.ids for part in seen] == [random.train.ids]
    assert (spent.samples, spent.seconds) == (same.samples, same.seconds)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    for parts, name in ((random, RETRAIN), (random, FLOOR), (whole, RETRAIN)):
        reference(shop, parts, 0, "t", name)
    assert [part.ids for part in seen[1:]] == [random.retain.ids, random.retain.ids, whole.retain.ids]
    other = replace(shop, setting=replace(SETTING, recipe=replace(SETTING.recipe, lr=1e-3)))
    reference(other, random, 0, "t", ORIGINAL)
    wrong = replace(random, train=replace(random.train, labels=(random.train.labels + 1) % 10))
    reference(shop, wrong, 0, "t", ORIGINAL)
    assert len(seen) == 6  # another recipe is another model, and so are other labels


def test_a_cell_trains_on_nothing_held_out_and_resumes_without_training(shop, monkeypatch):
    seen, ran = counted(monkeypatch), []
    once = runs.run_choice
    monkeypatch.setattr(runs, "run_choice", lambda *given, **more: ran.append(1) or once(*given, **more))
    choices, told = parse_choices(["finetune", "reinit"]), []
    cell, models = vision_cell(shop, CLASS, "t", 4, choices, lambda cell: told.append(len(cell.rows)))
    parts = split_of(shop, CLASS, 4)
    apart = {*parts.heldout.ids, *parts.test.ids, *parts.development.ids}
    assert len(seen) == 3
    assert not set().union(*(part.ids for part in seen)) & apart
    assert not set(seen[1].ids) & set(parts.forget.ids)
    assert told == sorted(set(told))  # rows grow with every method
    assert len(told) == len(ran) == 2
    assert {row.method for row in cell.rows} == {ORIGINAL, RETRAIN, FLOOR, "FineTune", "Re-init"} == set(models)
    again, _ = vision_cell(shop, CLASS, "t", 4, choices, lambda cell: None)
    assert (len(seen), len(ran)) == (3, 2)
    assert again.rows == cell.rows
    assert again.spent == cell.spent
    assert all(-1 <= point.cosine <= 1 for point in cell.trajectories[0].points)
    ours, gold = models["FineTune"].view.confidence["retain"], models[RETRAIN].view.confidence["retain"]
    rows = {row.metric: row for row in cell.rows if row.method == "FineTune"}
    assert rows["PS retain"].value == pytest.approx(100 * np.abs(ours - gold).mean())
    assert rows["PS retain"].n == len(parts.retain)
    assert {
        f"{metric} {part}" for metric in ("KL", "agreement", "W1", "PS") for part in ("retain", "test")
    } <= set(rows)


def test_a_method_that_refuses_is_missing_with_its_reason_and_stops_no_other(shop, tmp_path):
    choices = parse_choices(["ssd:alpha=50", "reinit"])
    path = tmp_path / "rows.json"  # written after every method, as a benchmark does
    cell, models = vision_cell(shop, RANDOM, "t", 0, choices, lambda cell: write_scores(path, cell.rows, {}))
    assert read_scores(path)[0] == cell.rows
    title = choices[0].title
    refused = [row for row in cell.rows if row.method == title]
    assert {row.metric for row in refused} == {row.metric for row in cell.rows if row.method == FLOOR}
    assert all(row.value is None and "alpha is 50" in str(row.missing) for row in refused)
    assert "alpha is 50" in cell.notes[0]
    assert title not in models
    assert any(row.method == "Re-init" and row.value is not None for row in cell.rows)


def test_every_model_but_the_floor_has_a_panel():
    view = view_of(
        {"retain": np.zeros((5, 3)), "forget": np.zeros((4, 3))}, {"retain": [0] * 5, "forget": [0] * 4}
    )
    one = seen.Seen(view, np.zeros((1, 3)), np.random.RandomState(0).randn(9, 2), ([], []))
    names = [ORIGINAL, RETRAIN, FLOOR, *(f"method {number}" for number in range(10))]
    panels = feature_clouds(dict.fromkeys(names, one)).panels
    assert list(panels) == [name for name in names if name != FLOOR]
    assert [len(panels[ORIGINAL][group]) for group in ("kept", "forgotten")] == [5, 4]


def test_a_gpu_is_named_and_its_memory_is_what_counts(monkeypatch):
    assert "core machine" in machine()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    assert machine().startswith("Some GPU, ")
    usage = Usage(1.0, 1.0, 5, 10, False, 7)
    assert [usage.peak_on(torch.device(name)) for name in ("cuda", "cpu")] == [7, 10]
    costs = [
        Cost("t", "A", peak_mb=1.0, gpu=True),
        Cost("t", "B", peak_mb=1.0),
        Cost("t", RETRAIN),
    ]
    assert [cost_names(found)[-1] for found in (costs[:1] + costs[2:], costs[1:], costs)] == [
        "peak GPU MB",
        "peak MB",
        "peak MB, GPU or process",
    ]


def test_klom_is_zero_for_copies_of_the_retrains_and_large_for_others():
    gold = {name: [np.random.RandomState(i).randn(40) for i in range(6)] for name in ensembles.PARTS}
    far = {name: [values + 50 for values in found] for name, found in gold.items()}
    some = {name: [np.where(np.arange(40) < 4, v + 50, v) for v in found] for name, found in gold.items()}
    same, moved, tail = (ensembles.rows_of("t", "A", ours, gold, 0) for ours in (gold, far, some))
    names = [f"KLoM {part}{end}" for part in ("forget", "test", "retain") for end in ("", " p95")]
    assert [(row.metric, row.value, row.n) for row in same] == [(name, 0, 40) for name in names]
    assert all(row.value > 5 for row in moved)
    assert tail[0].value == pytest.approx(0.1 * moved[0].value, rel=0.2)  # a tenth of the samples has all of it
    assert tail[1].value > 5  # the 95th percentile lies in that tenth


def test_an_ensemble_trains_each_side_once(shop, monkeypatch):
    seen = counted(monkeypatch)
    choices = parse_choices(["finetune"])
    rows = ensembles.klom_rows(shop, RANDOM, "t", choices, 2)
    assert {(row.method, row.metric) for row in rows} == {
        (method, f"KLoM {part}{end}")
        for method in (ORIGINAL, FLOOR, "FineTune")
        for part in ensembles.PARTS
        for end in ("", " p95")
    }
    parts = split_of(shop, RANDOM, 0)
    assert [len(part) for part in seen] == [len(parts.retain)] * 4 + [len(parts.train)] * 2
    assert ensembles.klom_rows(shop, RANDOM, "t", choices, 2) == rows
    assert len(seen) == 6


def test_relearning_stops_when_the_samples_are_back(shop):
    parts = split_of(shop, CLASS, 0)
    model, _ = reference(shop, parts, 0, "t", RETRAIN)
    recipe = Recipe(5, 2, 5e-2)
    costs, values = seen.relearned(model, parts.forget, recipe, 90.0)
    assert costs[0] == 0
    assert values[0] < 90 <= values[-1]
    assert all(value < 90 for value in values[:-1])
    assert costs == sorted(set(costs))
    found = seen.seen_reference(shop, parts, RETRAIN, model, 777, 90.0)
    row = seen.relearn_row("t", RETRAIN, 0, replace(found, relearn=([0.0, 256.0], [0.0, 100.0])), 50.0)
    assert row.value == 0.5  # half of a gradient-equivalent of 256 samples
    late = seen.relearn_row("t", RETRAIN, 0, replace(found, relearn=([0.0, 256.0], [0.0, 10.0])), 50.0)
    assert late.missing == "not back within 1"
    assert seen.relearned(model, parts.forget, recipe, 0.0) == ([0.0], [values[0]])


def test_memorisation_scores_see_what_only_its_own_models_know(shop, monkeypatch):
    drawn = draw(shop.data, 0, shop.setting)
    n = len(drawn.train)

    def logits(model, samples):  # a model that knows its own training samples and nothing else
        mine = torch.tensor([id in model for id in samples.ids])
        return torch.where(mine[:, None] & torch.eye(10)[samples.labels].bool(), 20.0, 0.0)

    monkeypatch.setattr(references, "image_logits", logits)
    monkeypatch.setattr(Workshop, "trained", lambda self, title, samples, seed: (set(samples.ids), None))
    assert memorisation_scores(shop, drawn, 0) == pytest.approx(np.full(n, 0.9), abs=1e-6)
    with pytest.raises(UserError, match="even"):
        memorisation_scores(replace(shop, setting=replace(SETTING, ensemble=3)), drawn, 0)


def test_tuning_picks_the_best_trial_on_the_development_part_and_is_read_back(shop, tmp_path, monkeypatch):
    asked = []

    def score(ground, choice):
        asked.append((ground.seed, choice.method.descent.lr, set(ground.request.parts.test.ids)))
        return Tried(abs(choice.method.descent.lr - 3e-3))

    monkeypatch.setattr(tuned.Development, "score", score)
    choices = parse_choices(["finetune", "ofmu-paper:lazy=0"][:1])
    (found,) = tuned.tuned_choices(shop, RANDOM, "t", choices, 4, tmp_path, range(5))
    assert len(found.trials) == len(asked) == 4
    assert asked[0][1] == 1e-3  # trial 0 is the preset
    assert {seed for seed, *_ in asked} == {TUNING}
    apart = set(split_of(shop, RANDOM, 0).development.ids)
    assert all(ids == apart for *_, ids in asked)
    best = min((rate for _, rate, _ in asked), key=lambda rate: abs(rate - 3e-3))
    assert found.choice.method.descent.lr == best
    assert "4 trials on a development forget set" in found.words
    (again,) = tuned.tuned_choices(shop, RANDOM, "t", choices, 4, tmp_path, range(5))
    assert again == found
    assert len(asked) == 4
    assert tuned.tuned_choices(shop, RANDOM, "t", choices, 1, tmp_path, range(5))[0].words == "none: the preset"


def test_a_setting_at_the_end_of_its_range_is_said():
    space = {"rate": Range(1e-4, 1e-2), "share": Range(0.0, 1.0, log=False), "rounds": Options((2, 5, 10))}
    space["layers"] = Options((1, 2, 0))  # 0: half of them, so that no end is an end
    for values, said in (
        ({"rate": 1.2e-4, "share": 0.5, "rounds": 5, "layers": 1}, "; at the low end of its range: rate"),
        (
            {"rate": 1.3e-4, "share": 0.04, "rounds": 2, "layers": 0},
            "; at the low end of its range: share, rounds",
        ),
        ({"rate": 9e-3, "share": 0.94, "rounds": 5, "layers": 2}, "; at the high end of its range: rate"),
        ({"rate": 1e-3, "share": 0.06, "rounds": 5, "layers": 2}, "layers 2"),
    ):
        found = tuned.Tuned(parse_choice("npo"), [Trial(0, values, 1.0)], space)
        assert found.words.endswith(said)
    both = tuned.Tuned(parse_choice("npo"), [Trial(0, {"rate": 1e-4, "rounds": 10}, 1.0)], space).words
    assert both.endswith("at the low end of its range: rate; at the high end of its range: rounds")


def test_what_is_missing_is_said():
    cell = type("C", (), {"rows": [ScoreRow("t", "NPO", 1, "gap", 1.0, 5, False)], "seed": 1})()
    choices = [parse_choice("npo"), parse_choice("finetune")]
    assert missing("t", cell, choices, range(2, 4), ["u"]) == (
        "t: seed 1 of FineTune; seeds 2, 3 of all methods. u: everything"
    )
    assert missing("t", cell, choices[:1], [], []) == ""


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_names_requests_and_methods_there_are(key):
    setting = setting_of(*key)
    assert [str(parse_forget(text)) for text in setting.requests] == list(setting.requests)
    assert len(parse_choices(setting.methods)) == len(setting.methods)


def test_the_salun_scale_takes_the_published_settings_and_budget(monkeypatch):
    taken = []

    def stop(shop, request, task, choices, *rest):
        taken.extend(choices)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "load_pool", lambda name: None)
    monkeypatch.setattr(bench, "tuned_choices", stop)
    for scale in ("salun", "cpu"):
        options = VisionOptions(methods=("salun", "scrub", "npo"), scale=scale)
        with pytest.raises(KeyboardInterrupt):
            run_vision("cifar10", Path("unused"), 1, True, print, options)
    salun, scrub, npo = taken[:3]
    assert (salun.method, scrub.method) == (PUBLISHED["salun"], PUBLISHED["scrub"])
    assert (salun.method.descent.rule, salun.method.descent.lr) == ("sgd", 0.013)
    assert tuned.Tuned(salun).words == "none: the published setting"
    assert npo == parse_choice("npo")
    assert taken[3:] == parse_choices(["salun", "scrub", "npo"])
    setting = setting_of("cifar10", "salun")
    assert setting.share * setting.recipe.epochs == pytest.approx(10)


def test_settings_chosen_before_are_reported_on_seeds_of_their_own(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "load_pool", lambda name: None)
    monkeypatch.setattr(bench, "workshop", lambda *given: replace(shop, setting=given[0]))
    monkeypatch.setattr(bench, "figures_of", lambda *given: [])
    monkeypatch.setenv("OFMU_STORE", str(tmp_path / "store"))
    ran = []

    def cell(shop, request, task, seed, choices, finished):
        ran.append((seed, [choice.method.descent.lr for choice in choices]))
        return Cell(seed), {}

    monkeypatch.setattr(bench, "vision_cell", cell)
    options = VisionOptions(("class",), methods=("npo:descent.lr=0.002", "finetune"), numbers=(7, 5))
    page = run_vision("digits", tmp_path, 3, False, lambda line: None, options)
    rate = parse_choice("finetune").method.descent.lr
    assert ran == [(7, [0.002, rate]), (5, [0.002, rate])]
    assert "--seed-numbers 7 5" in page.command
    with pytest.raises(UserError, match="--seed-numbers: found 999 in 4 999, expected"):
        run_vision("digits", tmp_path, 3, False, print, replace(options, numbers=(4, 999)))
    with pytest.raises(UserError, match="expected each once"):
        run_vision("digits", tmp_path, 3, False, print, replace(options, numbers=(4, 4)))


def test_a_given_setting_stands_in_the_column_of_tuning():
    npo, both = parse_choices(["npo:descent.lr=0.002", "finetune"]), parse_choices(["npo", "npo:descent.lr=0.002"])
    assert [choice.title for choice in npo] == ["NPO", "FineTune"]
    assert [choice.title for choice in both] == ["NPO", "NPO (descent.lr 0.002)"]
    assert tuned.Tuned(npo[0]).words == "none: the preset, with descent.lr 0.002 as given"


def test_a_scale_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="expected for digits one of cpu"):
        setting_of("digits", "salun")


def test_reinit_spends_its_budget_and_leaves_the_original_alone(data):
    split = cut(data, 0, RANDOM, replace(SETTING, train=200, heldout=60))
    model = build_classifier("resnet8", 10, 3, 8, 0).eval()
    before = [p.detach().clone() for p in model.parameters()]
    parts = Parts(split.forget, split.retain, split.heldout)
    done = run_reinit(model, parts, Recipe(epochs=10, batch=20), Budget(1.5 * 180), 0, layers=2)
    assert done.cost == 280  # 14 steps of 20: ends of epochs do not fall on 1.5
    assert (done.setup_cost, done.failed, done.points[-1].step) == (0.0, False, 14)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before, done.model.parameters(), strict=True))


def section_of(values):
    rows = [ScoreRow("t", m, s, "gap", v, 5, False) for m, pair in values.items() for s, v in enumerate(pair)]
    return TaskSection("t", "About.", rows)


def test_nearest_ranks_methods_by_their_mean_and_leaves_out_references():
    task = section_of({"A": (3.0, 5.0), "B": (1.0, 2.0), ORIGINAL: (0.0, 0.0), FLOOR: (1.0, 1.0)})
    assert nearest(task) == ["t, gap, nearest to Retrain first: B 1.50, A 4.00 (floor 1.00)."]


def test_an_original_that_learnt_nothing_is_said_first():
    def task(original):
        rows = [ScoreRow("t", m, 0, "UA", v, 5, None) for m, v in ((ORIGINAL, original), (RETRAIN, 60.0))]
        return TaskSection("t", "About.", rows)

    assert "there is nothing to forget here" in sentences_of(task(90.0))[0]
    assert sentences_of(task(2.0)) == []


def test_the_reading_follows_from_the_numbers():
    rows = []
    for method, (ua, ra, ta) in {
        "A": (20.0, 98.0, 50.0),
        RETRAIN: (60.0, 99.0, 51.0),
        FLOOR: (65.0, 99.0, 51.0),
    }.items():
        rows += [ScoreRow("t", method, 0, k, v, 5, None) for k, v in (("UA", ua), ("RA", ra), ("TA", ta))]
    costs = [Cost("t", "A", gradients=40.0, of_retraining=0.4, target_cost=10.0, budget=41.0)]
    costs.append(Cost("t", "C", gradients=42.0, of_retraining=0.42, budget=41.0))
    assert reading(TaskSection("t", "About.", rows, costs=costs), "A") == [
        "t: A forgets less than a retraining; its UA 20.0 (60.0), RA 98.0 (99.0), TA 50.0 (51.0), Retrain's in "
        "brackets.",
        "t: A took 40 % of a retraining (10 % before its first step); over the budget by more than 1 %: C.",
    ]


def test_only_a_paired_interval_tells_a_method_from_a_second_retrain():
    # minus the floor: A 1, 1, 1.3 (mean 1.1, t(.975, 2) · s/√3 = 4.303 · .1 = .43), B 2, −1, .5, C −.5 each
    gaps = {"A": (3.0, 4.0, 3.8), "B": (4.0, 2.0, 3.0), "C": (1.5, 2.5, 2.0), FLOOR: (2.0, 3.0, 2.5)}
    assert floor_sentence(section_of(gaps).rows, "gap") == (
        "gap, methods minus a second Retrain, mean and 95 % interval over 3 paired seeds: C -0.50 [-0.50, -0.50]; "
        "B +0.50 [-3.23, +4.23]; A +1.10 [+0.67, +1.53]. Farther from Retrain than a second Retrain: A; nearer "
        "than one: C; not told from one with 3 seeds, which is not to say equal: B."
    )
    assert floor_sentence(section_of({"A": (3.0, 4.0)}).rows, "gap") == ""
    one = floor_sentence(section_of({"A": (9.0,), FLOOR: (1.0,)}).rows, "gap")
    assert one.endswith("A +8.00. Not told from one with 1 seed, which is not to say equal: A.")


def test_without_ofmu_the_best_method_is_compared_with_the_others():
    said = sentences_of(section_of({"A": (3.0, 5.0), "B": (1.0, 2.0), ORIGINAL: (0.0, 0.0)}))
    assert said == [
        "t, gap, nearest to Retrain first: B 1.50, A 4.00.",
        "t: compared with B, the method of the least gap in this table: OFMU is not in it.",
        "t: gap, others minus B, mean and 95 % interval over 2 paired seeds: A +2.50 [-3.85, +8.85].",
    ]
    with_ours = sentences_of(section_of({"A": (3.0, 5.0), "B": (1.0, 2.0), "OFMU": (4.0, 4.0)}))
    assert not any("compared with" in text for text in with_ours)
    assert "gap, others minus OFMU" in with_ours[1]


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


@pytest.mark.slow
def test_smoke_runs_every_method_on_both_requests_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("OFMU_STORE", str(tmp_path / "store"))
    said: list[str] = []
    methods = ("ofmu", "npo", "reinit")
    page = run_vision("digits", tmp_path, 3, True, said.append, VisionOptions(methods=methods, trials=2))
    assert [task.name for task in page.tasks] == ["digits: random:0.1", "digits: class"]
    names = {ORIGINAL, RETRAIN, FLOOR, "OFMU", "NPO", "Re-init"}
    for task in page.tasks:
        assert {row.method for row in task.rows} == names
        assert {cost.method for cost in task.costs} == names
        assert {row.seed for row in task.rows} == {0}
        assert all("2 trials" in cost.tuning for cost in task.costs if cost.method in ("OFMU", "NPO", "Re-init"))
    assert list(tmp_path.iterdir()) == []
    assert (
        json.dumps(said).count("is trained") == 8
    )  # two originals, and for each request two Retrains and one for tuning
    assert "--methods ofmu npo reinit --trials 2 --smoke" in page.command


def test_a_stopped_run_goes_on_and_its_files_say_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("OFMU_STORE", str(tmp_path / "store"))
    monkeypatch.setitem(
        SETTINGS, ("digits", "cpu"), replace(SETTINGS["digits", "cpu"], recipe=Recipe(1, 64), train=200)
    )
    ran, once = [], runs.run_choice

    def stops(*given, **more):
        ran.append(given[0].name)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return once(*given, **more)

    monkeypatch.setattr(runs, "run_choice", stops)
    options = VisionOptions(("random:0.1",), methods=("finetune", "npo"))
    with pytest.raises(KeyboardInterrupt):
        run_vision("digits", tmp_path / "out", 2, False, lambda line: None, options)
    text = (tmp_path / "out" / "digits.md").read_text()
    assert "Not finished. Missing: digits: random:0.1: seeds 1 of all methods." in text
    drawn = (tmp_path / "out" / "report.html").read_text()
    assert "Features before the last layer" in drawn
    monkeypatch.setattr(bench, "write_page", lambda path, page: None)
    page = run_vision("digits", tmp_path / "out", 2, False, lambda line: None, options)
    assert ran == ["finetune", "npo", "finetune", "finetune", "npo"]  # what was done is not done again
    assert {row.seed for row in page.rows if row.method == "NPO"} == {0, 1}
    text = (tmp_path / "out" / "digits.md").read_text()
    assert "Not finished" not in text
    assert "the method of the least gap in this table: OFMU is not in it" in text
    assert (tmp_path / "out" / "digits.json").exists()


def own_images(folder, counts):
    rng = np.random.RandomState(0)
    for part, count in counts.items():
        for name, tint in (("cats", 60), ("dogs", 130), ("owls", 200)):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(tint + rng.randint(-60, 60, (8, 8)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return folder


def test_sixty_images_of_ones_own_go_through(tmp_path, monkeypatch):
    folder = own_images(tmp_path / "photos", {"train": 20, "test": 4})
    monkeypatch.setattr(bench, "write_page", lambda path, page: None)
    options = VisionOptions(("random:0.2",), "cnn", ("finetune",), data=str(folder))
    page = run_vision("images", tmp_path / "out", 1, True, lambda line: None, options)
    (task,) = page.tasks
    assert {row.method for row in task.rows} == {ORIGINAL, RETRAIN, FLOOR, "FineTune"}
    counts = {row.metric: row.n for row in task.rows if row.method == "FineTune" and row.value is not None}
    assert (counts["UA"], counts["RA"], counts["TA"]) == (
        8,
        34,
        12,
    )  # 42 of 60 trained on, a fifth of them forgotten
    assert f"Images: {folder}. cnn, trained" in task.description
    assert f"ofmu bench images --data {folder}" in page.command


def test_what_is_kept_of_ones_own_images_is_named_after_their_pixels(tmp_path):
    folder = own_images(tmp_path, {"train": 20, "test": 4})

    def names():
        pool = own_pool(str(folder), None)
        return own_setting(str(folder), pool, model=None, requests=(), methods=()), pool.train.ids

    first, ids = names()
    assert (first.train, first.heldout, first.development, first.recipe.epochs) == (42, 9, 9, 60)
    assert names() == (first, ids)
    with Image.open(folder / "test" / "owls" / "3.png") as image:
        pixels = np.array(image)
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(folder / "test" / "owls" / "3.png")
    assert names()[0].data != first.data  # tuning trials are found by the setting
    Image.fromarray(pixels).save(folder / "train" / "owls" / "3.png")
    assert not set(names()[1]) & set(ids)  # models are found by the ids: all are normalised by other numbers
    for file in (folder / "train").rglob("*.png"):
        if int(file.stem) > 4:
            file.unlink()
    with pytest.raises(UserError, match="found 15 training images, expected at least 20"):
        own_pool(str(folder), None)


def test_while_the_ensembles_train_their_absence_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "load_pool", lambda name: None)
    monkeypatch.setattr(bench, "tuned_choices", lambda *given: [])
    monkeypatch.setattr(
        bench, "_seeds", lambda shop, request, task, *rest: rest[2].cells.update({task: [Cell(0)]})
    )
    found = []

    def looks(*given):
        found.append((tmp_path / "digits.md").read_text())
        return []

    monkeypatch.setattr(bench, "klom_rows", looks)
    options = VisionOptions(("random:0.1", "class"), ensemble=3)
    monkeypatch.setenv("OFMU_STORE", str(tmp_path / "store"))
    page = run_vision("digits", tmp_path, 1, False, lambda line: None, options)
    assert "Missing: digits: random:0.1: KLoM, 3 models a side. digits: class: everything." in found[0]
    assert "Missing: digits: class: KLoM, 3 models a side." in found[1]
    assert not any("Missing" in line for line in page.verdict)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("digits --forget randm:0.1", "did you mean 'random'?"),
        ("digits --forget random:0.1 random:.1", "random:0.1 is named twice; name each request once"),
        ("digits --forget deciles decile:3", "decile:3 is named twice"),
        ("digits --methods ofmo", "did you mean 'ofmu'?"),
        ("digits --model resnet19", "did you mean 'resnet18'?"),
        ("digits --scale salun", "expected for digits one of cpu"),
        ("digits --ensemble 1", "at least 2 models a side"),
        ("digits --trials 0", "found 0, expected at least 1"),
        ("planted --forget random:0.1", "only for the benchmarks digits, fashion"),
        ("digit", "did you mean digits?"),
        ("images", "--data: images needs a folder with train and test images"),
        ("digits --data photos", "--data, --size: only for the benchmark images, found digits"),
        ("images --data photos --scale salun", "expected for images cpu"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_message(words, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("OFMU_STORE", str(tmp_path / "store"))
    code = run(["bench", *words.split(), "--smoke", "--out", str(tmp_path / "out")])
    assert code == MISTAKE
    assert expected in " ".join(capsys.readouterr().err.split())


def test_the_watched_cosine_is_that_of_the_gradients():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3, bias=False))
    data = TensorSamples(torch.randn(6, 1, 2, 2), torch.arange(6) % 3, [str(i) for i in range(6)])
    forget, retain = data.subset([0, 1]), data.subset([2, 3, 4, 5])
    grads = []
    for part in (forget, retain):
        loss = torch.nn.functional.cross_entropy(model(part.pixels), part.labels)
        grads.append(torch.autograd.grad(loss, list(model.parameters()))[0].flatten())
    seen = Monitor(forget, retain, None, class_nll, cosine=True).look(model)
    assert seen["cosine"] == pytest.approx(float(torch.cosine_similarity(*grads, dim=0)), abs=1e-6)
    dark = TensorSamples(torch.zeros(2, 1, 2, 2), torch.tensor([0, 1]), ["a", "b"])
    assert "cosine" not in Monitor(dark, retain, None, class_nll, cosine=True).look(model)  # no gradient, no angle
