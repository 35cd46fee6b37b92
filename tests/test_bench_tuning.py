"""Method choices, paired intervals, series of requests: by hand."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from scipy import stats

from ofmu.benchmarks.image_choices import (
    KNOBS,
    PROCEDURES,
    Reinit,
    Sizes,
    image_methods,
    parse_choice,
    parse_choices,
    space_of,
)
from ofmu.benchmarks.paired import differences, interval, sentence
from ofmu.benchmarks.settings import with_values
from ofmu.benchmarks.study import in_one_thread
from ofmu.benchmarks.tuning import Options, Range, Tried, tune
from ofmu.benchmarks.vision import bench
from ofmu.benchmarks.vision.page import page_of, sections_of
from ofmu.benchmarks.vision.setting import SETTINGS
from ofmu.benchmarks.vision.studies import expanded, forget_gap, slopes, studies_of, utility_loss
from ofmu.data.forget_request import parse_forget
from ofmu.errors import UserError
from ofmu.report.model import FLOOR, ORIGINAL, RETRAIN, ScoreRow, TaskSection
from ofmu.report.series import series_png


@pytest.mark.parametrize("name", image_methods())
def test_every_image_method_has_a_space_around_its_preset(name):
    choice = parse_choice(name)
    space, preset = space_of(choice)
    assert set(preset) == set(space)
    assert with_values(choice.method, preset) == choice.method
    for key, dimension in space.items():
        if isinstance(dimension, Range):
            assert dimension.low <= preset[key] <= dimension.high, key
        else:
            assert preset[key] in dimension.values
    if space:  # every point is a valid setting
        made = tune(space, preset, 4, lambda values: Tried(0.0) if choice.tuned(values) else Tried(None))
        assert all(trial.score is not None for trial in made)


def test_every_knob_belongs_to_a_method():
    assert set(KNOBS) <= set(image_methods())
    assert set(PROCEDURES) < set(image_methods())
    assert "rmu" not in image_methods()


def test_choices_in_words():
    assert parse_choice("npo:descent.lr=0.002,forget_weight=2").title == "NPO (descent.lr 0.002, forget_weight 2)"
    assert parse_choice("npo:descent.lr=0.002").method.descent.lr == 0.002
    assert parse_choice("reinit:layers=3").method == Reinit(3)
    assert parse_choice("head-half").method == Reinit(0, frozen=True)
    assert [choice.title for choice in parse_choices(["ofmu", "ofmu:beta=0.5"])] == ["OFMU", "OFMU (beta 0.5)"]


def test_what_the_user_fixes_is_not_tuned():
    space, preset = space_of(parse_choice("npo:forget_weight=1"))
    assert list(space) == list(preset) == ["descent.lr"]
    assert space["descent.lr"] == space_of(parse_choice("npo"))[0]["descent.lr"]
    assert list(space_of(parse_choice("salun:of.descent.lr=0.01,share=0.5"))[0]) == ["of.forget_weight"]
    assert space_of(parse_choice("head:layers=1,rate=1"))[0] == {}


def test_a_space_holds_what_the_run_can_have():
    """SSD selects nothing from alpha = n/n_f on; SCRUB's rounds end with a pass over D_r: (7 − 4)/(4 + 4) etc."""
    half = Sizes(50, 50, 1e9)
    space, preset = space_of(parse_choice("ssd"), half)
    assert (space["alpha"].low, space["alpha"].high, preset["alpha"]) == (0.95, 1.9, 1.9)
    assert space_of(parse_choice("ssd"), Sizes(1, 999, 1e9))[0]["alpha"] == Range(1.0, 100.0)
    tenth = space_of(parse_choice("ssd"), Sizes(10, 90, 1e9))
    assert (tenth[0]["alpha"], tenth[1]["alpha"]) == (Range(1.0, 9.5), 3.0)
    for passes, expected in ((1.5, (1,)), (2.7, (1, 2)), (4.3, (1, 2, 3)), (1e3, (1, 2, 3, 5, 10, 20))):
        budget = 4 / 3 * 90 + passes * 4 / 3 * 100
        space, preset = space_of(parse_choice("scrub"), Sizes(10, 90, budget))
        assert space["rounds"] == Options(expected)
        assert preset["rounds"] == min(10, expected[-1])
    assert "alpha" not in space_of(parse_choice("ssd:alpha=2"), half)[0]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "much"])
def test_a_setting_is_a_finite_number(value):
    with pytest.raises(UserError, match=f"--methods: found '{value}' in .*, expected a number, finite"):
        parse_choice(f"npo:forget_weight={value}")


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["ofmo"], "did you mean 'ofmu'?"),
        (["rmu"], "For images: ofmu"),
        (["npo:weight=2"], "no field 'weight'; fields: forget, retain, descent"),
        (["npo:forget_weight"], "expected field=value"),
        (["npo:forget_weight=two"], "expected a number"),
        (["npo", "npo"], "NPO is named twice"),
        (["ofmu,npo"], "separate methods by spaces: --methods ofmu npo"),
        (["head:layers=1.5"], "layers: found 1.5, expected a whole number"),
        (["npo:descent=1"], "give one of descent.rule, descent.lr"),
        (["npo:descent.lr=-1"], "lr: found -1"),
        (["head:rate=-1"], "a rate above 0"),
        (["reinit:layers=-1"], "layers of 0 (half of them) or more"),
        (["scrub:rounds=-3"], "rounds of 0 or more"),
        (["npo:forget_weight=-1"], "a negative weight turns forgetting into learning"),
    ],
)
def test_a_wrong_choice_is_named(texts, words):
    with pytest.raises(UserError) as error:
        parse_choices(texts)
    assert words in str(error.value)


def test_an_interval_is_students():
    values = [1.0, 2.0, 4.0, 5.0]
    mean, low, high = interval(values)
    expected = stats.t.interval(0.95, 3, loc=3.0, scale=stats.sem(values))
    assert (mean, low, high) == (3.0, *map(pytest.approx, expected))
    assert interval([2.0]) == (2.0, None, None)


def rows_of(metric, values, task="t"):
    return [ScoreRow(task, m, s, metric, v, 5, None) for m, found in values.items() for s, v in found.items()]


def test_differences_are_paired_by_seed():
    rows = rows_of("gap", {"OFMU": {0: 1.0, 1: 5.0}, "B": {0: 2.0, 1: 7.0, 2: 0.0}, FLOOR: {0: 9.0, 1: 9.0}})
    (found,) = differences(rows, "gap", "OFMU")
    assert (found.other, found.mean, found.seeds) == ("B", 1.5, 2)  # 1 and 2: the third seed has no pair
    assert found.high == pytest.approx(1.5 + 12.706 * 0.5, abs=1e-3)
    assert sentence(rows, "gap", "OFMU") == (
        "gap, others minus OFMU, mean and 95 % interval over 2 paired seeds: B +1.50 [-4.85, +7.85]."
    )
    assert sentence(rows, "gap", "nobody") == ""


def series(kind, losses):
    """Requests kind:x with a TA of 90 − losses[method](x, seed), a UA of 10; Retrain has 90 and 15."""
    rows, requests = [], {}
    for x in range(4):
        task = f"toy: {kind}:{x / 4 if kind == 'entangled' else x:g}"
        requests[task] = parse_forget(task.split(": ")[1])
        for seed in (0, 1):
            rows += rows_of("TA", {m: {seed: 90 - f(x, seed)} for m, f in losses.items()}, task)
            rows += rows_of("UA", {m: {seed: 10.0} for m in losses}, task)
            rows += rows_of("TA", {RETRAIN: {seed: 90.0}}, task) + rows_of("UA", {RETRAIN: {seed: 15.0}}, task)
    return requests, rows


def test_a_series_shows_the_slope_of_utility_loss_over_difficulty():
    requests, rows = series("decile", {"OFMU": lambda x, seed: 1.0, "NPO": lambda x, seed: (2 + seed) * x})
    study = studies_of(requests, rows)["decile"]
    gap, loss = study.figures
    assert loss.lines["NPO"] == [(0, 0), (1, 2.5), (2, 5.0), (3, 7.5)]
    assert loss.reach["NPO"] == pytest.approx([0, 0.5, 1.0, 1.5])  # values 2x and 3x: standard error x/2
    assert {y for _, y in loss.lines["OFMU"]} == {1.0}
    assert {y for _, y in gap.lines["OFMU"]} == {5.0}
    assert "OFMU +0.00 [+0.00, +0.00]" in study.sentences[1]
    assert "NPO +2.50" in study.sentences[1]
    values = {x: utility_loss([r for r in rows if r.task == f"toy: decile:{x}"]) for x in range(4)}
    assert slopes(values, "NPO")[0] == pytest.approx(2.5)
    assert forget_gap(rows[:8])["OFMU"][0] == 5.0


def test_a_series_is_drawn_beside_the_tables(tmp_path):
    names = ["OFMU", "NPO", "A", "B", "C", "D", "E", "F"]  # more than there are colours
    requests, rows = series("decile", {name: lambda x, seed, k=k: k * x for k, name in enumerate(names)})
    sections = [TaskSection(t, "About.", [row for row in rows if row.task == t]) for t in requests]
    page = page_of(SETTINGS["digits", "cpu"], sections, "ofmu bench digits", "")
    bench._pictures("digits", page, tmp_path, print)
    assert [path.name for path in tmp_path.iterdir()] == ["digits-deciles.png"]
    with Image.open(tmp_path / "digits-deciles.png") as drawn:
        assert drawn.size[0] > 2 * drawn.size[1]
    bench._pictures("digits", replace(page, tasks=page.tasks[:2]), tmp_path / "none", print)
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match="panels: found none"):
        series_png([], tmp_path / "x.png")


def test_a_series_needs_three_requests_of_one_kind():
    requests, rows = series("entangled", {"NPO": lambda x, seed: x})
    assert set(studies_of(requests, rows)) == {"entangled"}
    assert studies_of(dict(list(requests.items())[:2]), rows) == {}
    assert studies_of(requests, [row for row in rows if row.task.endswith(":0")]) == {}


def test_a_series_is_written_by_one_word():
    assert expanded(["deciles", "class"]) == (*(f"decile:{d}" for d in range(10)), "class")
    assert expanded(["entanglement"])[-1] == "entangled:1"


def test_the_page_of_a_series_has_its_figures_and_what_is_missing():
    requests, rows = series("decile", {"OFMU": lambda x, seed: 1.0, ORIGINAL: lambda x, seed: 0.0})
    sections = [TaskSection(t, "About.", [row for row in rows if row.task == t]) for t in requests]
    page = page_of(SETTINGS["digits", "cpu"], sections, "ofmu bench digits", "seed 3")
    assert page.verdict[0] == "Not finished. Missing: seed 3."
    assert any(line.startswith("Sample difficulty: utility loss, slope") for line in page.verdict)
    assert [len(task.figures) for task in page.tasks] == [0, 0, 0, 2]
    assert sections_of(SETTINGS["digits", "cpu"], {"toy: class": []}, {}, {}) == []


def test_a_benchmark_leaves_the_process_as_it_was():
    threads = torch.get_num_threads()
    tiny = torch.tensor(1e-310, dtype=torch.float64)
    with in_one_thread():
        assert torch.get_num_threads() == 1
        assert float(tiny * 1.0) == 0.0
    assert torch.get_num_threads() == threads
    assert float(tiny * 1.0) != 0.0
