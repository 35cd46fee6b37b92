"""The page: self-contained, escaped, complete, and whole whatever part of the data is absent."""

import re
import warnings
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest
from PIL import Image

from ofmu.errors import UserError
from ofmu.report.labels import LABELS, label
from ofmu.report.limits import limits_of
from ofmu.report.model import RETRAIN, Losses, Page, ScoreRow, TaskSection, Trajectory
from ofmu.report.page import render, write_page
from ofmu.report.picture import demo_picture
from ofmu.report.plots import losses_plot
from ofmu.report.style import DARK, OTHERS, colours
from report_example import page, rows_of

EVIL = '<script>alert("x")</script>'
SECTIONS = [
    "asked",
    "verdict",
    "results",
    "forgotten",
    "kept",
    "path",
    "cost",
    "answers",
    "limits",
    "reproduce",
]


class Reader(HTMLParser):
    """Collects tags, attributes, ids and text; checks that tags close in order."""

    VOID = ("meta", "br", "img", "link", "input", "hr")

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.attributes, self.tags, self.text = [], [], [], [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def html():
    return render(page())


def bare(**changes):
    task = TaskSection("only", "", rows_of("only", {"OFMU": (1.0,)}, {"UA": None}, 1, {}))
    return replace(Page("T", {}, [], [task], {}, "ofmu"), **changes)


def test_retrain_is_named_only_where_there_is_one(html):
    assert "the band are Retrain." in unescape(html)
    assert "where Retrain's does, or where samples that nobody trained on lie." in unescape(html)
    metrics = {"UA": None, "RA": True, "forget_loss": None}
    rows = rows_of("only", {"OFMU": (1.0, 2.0, 3.0)}, metrics, 1, {})
    losses = Losses("only", before=[0.1, 0.2], after=[1.0, 2.0], unseen=[1.0, 3.0])
    alone = TaskSection("only", "", rows, losses=losses)
    found = unescape(render(bare(tasks=[alone])))
    assert "Mean and spread over seeds." in found
    assert "After unlearning the hill should lie where samples that nobody trained on lie." in found
    assert "Dashed line and band" not in found
    assert "the band are Retrain" not in found
    assert "Retrain's" not in found
    both = [alone, replace(page().tasks[0], losses=None)]  # a Retrain of another task is none of this one
    assert unescape(render(bare(tasks=both))).count("Mean and spread over seeds.<") == 2


def test_nothing_is_loaded_from_anywhere(html):
    reader = Reader(html)
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    for name, value in reader.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith("#"), (name, value)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_tags_close_ids_are_unique_and_references_resolve(html):
    reader = Reader(html)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    used = [v[1:] for k, v in reader.attributes if k == "href"] + re.findall(r"url\(#([^)]*)\)", html)
    used += [part for k, v in reader.attributes if k == "aria-labelledby" for part in v.split()]
    assert set(used) <= set(reader.ids)


def test_sections_come_in_order_and_every_figure_has_a_title(html):
    assert [i for i in Reader(html).ids if i in SECTIONS] == SECTIONS
    assert html.count("<svg") == html.count('<svg role="img"') == html.count("<title id=") == 15


def test_every_method_metric_and_number_is_there(html):
    text, example = Reader(html).text, page()
    for row in example.rows:
        assert row.method in text
        assert label(row.metric).short in text
        assert label(row.metric).meaning in text
    assert all(sentence in text for sentence in [*example.verdict, *limits_of(example), example.command])


def test_a_missing_number_says_missing_and_why():
    row = ScoreRow("only", "NPO", 0, "UA", None, 0, None, missing="the model gave NaN")
    example = bare()
    html = render(replace(example, tasks=[replace(example.tasks[0], rows=[*example.tasks[0].rows, row])]))
    line = re.search(r"<tr[^>]*><td>NPO</td>.*?</tr>", html).group()
    assert re.findall(r"<td[^>]*>(.*?)</td>", line) == ["NPO", "1", "missing"]
    assert "Missing: NPO, UA: seed 0: the model gave NaN" in Reader(html).text


def test_whatever_is_given_is_escaped():
    example = page()
    rows = [replace(row, method=EVIL, metric=row.metric + EVIL, task=EVIL) for row in example.tasks[2].rows[:3]]
    answers = example.tasks[2].answers
    task = TaskSection(
        EVIL, EVIL, rows,
        [Trajectory(EVIL, EVIL, 0, example.tasks[0].trajectories[0].points)],
        replace(example.tasks[2].losses, task=EVIL, method=EVIL),
        replace(answers, rows=[replace(r, before=EVIL, after=EVIL, question=EVIL) for r in answers.rows]),
        [replace(example.tasks[2].costs[0], method=EVIL, tuning=EVIL)], [EVIL],
    )  # fmt: skip
    html = render(Page(EVIL, {EVIL: EVIL}, [EVIL], [task], {EVIL: EVIL}, EVIL, [EVIL], EVIL))
    reader = Reader(html)
    assert "script" not in reader.tags
    assert reader.text.count(EVIL) > 20
    assert reader.open == []


def test_names_in_any_script_and_with_mathematics_are_drawn():
    names = {"$x^2": (1.0,), "_hidden": (2.0,), "忘却": (3.0,), "a & b": (4.0,)}
    rows = rows_of("only", names, {"UA": None}, 2, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = Reader(render(bare(tasks=[TaskSection("only", "", rows)]))).text
    assert all(text.count(name) >= 2 for name in names)


def test_the_page_stands_without_retrain_targets_answers_or_anything():
    example = page(answers=False)
    tasks = []
    for task in example.tasks[1:]:
        runs = [
            replace(run, points=[replace(p, target=None, retain_level=None) for p in run.points])
            for run in task.trajectories
        ]
        rows = [row for row in task.rows if not row.method.startswith(RETRAIN)]
        tasks.append(
            replace(task, rows=rows, trajectories=runs, losses=replace(task.losses, retrain=None, unseen=None))
        )
    text = Reader(render(replace(example, tasks=tasks))).text
    assert "no model was retrained" in text
    assert "no losses on samples that nobody trained on" in text
    assert "--show-forgotten" in text
    assert "Mira Olsen" not in text
    empty = Reader(render(Page("T", {}, [], [TaskSection("none", "", [])], {}, "ofmu"))).text
    assert "none: nothing was measured." in empty


def test_answers_are_shown_when_they_are_given(html):
    assert "She grew up in a village by the sea." in html
    assert "--show-forgotten" not in html


def test_limits_follow_from_the_data():
    found = " ".join(limits_of(bare()))
    assert "one seed, so the spread between runs is unknown" in found
    assert "rest on 40 samples only" in found
    assert "KS p of" not in found
    ks = ScoreRow("a", RETRAIN, 0, "ks_p", 0.5, 40, True)
    assert "either side of .05 are 0.029 and 0.054" in " ".join(
        limits_of(bare(tasks=[TaskSection("a", "", [ks])]))
    )
    few = limits_of(bare(tasks=[TaskSection("a", "", [replace(ks, n=3)])]))
    assert "a: KS p of 3 against 3 questions is never below 0.1." in few
    assert "only one retraining" in " ".join(
        limits_of(
            bare(tasks=[TaskSection("a", "", rows_of("a", {RETRAIN: (1.0,)}, {"UA": None}, 2, {"UA": 500}))])
        )
    )


def test_a_page_is_written_whole_and_the_same_each_time(tmp_path):
    path = write_page(tmp_path / "deep" / "page.html", bare())
    assert path.read_text(encoding="utf-8") == render(bare())


def test_losses_below_zero_empty_or_not_finite_are_refused():
    for bad in ([-0.1], [], [float("nan")]):
        with pytest.raises(ValueError, match="before"):
            Losses("t", before=bad, after=[1.0])


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [1.0] * 500, [0.2, 0.21]])
def test_degenerate_losses_are_drawn(values):
    assert "nan" not in re.sub(r"<text.*?</text>", "", losses_plot(Losses("t", values, values), "x")).lower()


def test_the_median_of_each_group_is_told_to_a_reader_who_cannot_see():
    svg = losses_plot(Losses("t", before=[0.001, 0.01, 0.1], after=[1.0, 3.0, 9.0]), "x")
    assert "median 0.01; After" in svg
    assert "median 3<" in svg


def test_colours_are_kept_between_pages_and_differ_on_one():
    names = ["NPO", "GradDiff", "SimNPO", "mine", "yours", "OFMU", RETRAIN]
    styles = colours(names)
    assert len({styles[name] for name in names}) == len(names)
    assert colours(["GradDiff", "OFMU"]) == {name: styles[name] for name in ("GradDiff", "OFMU")}
    assert colours(names[::-1]) == styles
    assert len(colours([f"m{i}" for i in range(20)])) == 20
    assert set(OTHERS) <= set(DARK)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", [c for c in DARK if c not in ("#ffffff", "#d9dee4")])
def test_colours_stand_out_on_white_and_on_dark(colour):
    for fore, back in ((colour, "#ffffff"), (DARK[colour], DARK["#ffffff"])):
        high, low = sorted((luminance(fore), luminance(back)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 3  # WCAG 2.2, 1.4.11: graphical objects


def test_the_demo_picture_is_wide_for_two_halves_and_narrow_for_one(tmp_path):
    example = page()
    with Image.open(demo_picture(example, tmp_path / "both.png")) as both:
        width = both.width
    with Image.open(demo_picture(replace(example, tasks=example.tasks[2:]), tmp_path / "one.png")) as one:
        assert width == 2 * one.width
    with pytest.raises(UserError, match="no task with gap and W1"):
        demo_picture(bare(), tmp_path / "none.png")


def test_labels_explain_themselves():
    for name, known in LABELS.items():
        assert known.meaning.endswith("."), name
    assert label("Forget-Quality") == label("ks p") == LABELS["ks_p"]
    assert label("My metric").group == "other"


def test_a_section_holds_the_rows_of_its_own_task_only():
    with pytest.raises(ValueError, match="name the tasks"):
        TaskSection("mine", "", rows_of("yours", {"OFMU": (1.0,)}, {"UA": None}, 1, {}))
