"""Who is in which group: no person is in two, development forgets others, and what cannot be is refused."""

import os
from pathlib import Path

import pytest

from ofmu.benchmarks.attacked.tofu import unseen_people
from ofmu.benchmarks.tofu_split import people_split, tofu_split
from ofmu.errors import UserError

HERE = Path(os.environ.get("OFMU_DATA_DIR", "nowhere"))
needs_tofu = pytest.mark.skipif(not (HERE / "tofu").is_dir(), reason="OFMU_DATA_DIR names no directory with tofu/")


def ids_of(records):
    return {record.id for record in records}


def authors_of(records):
    return sorted({record.meta["author"] for record in records})


def assert_apart(groups):
    for i, group in enumerate(groups):
        assert group
        for other in groups[i + 1 :]:
            assert not ids_of(group) & ids_of(other)
            assert not {r.prompt for r in group} & {r.prompt for r in other}


def four(groups):
    return [groups.forget, groups.retain, groups.heldout, groups.unseen]


def test_embedded_people_are_in_one_group_each_and_development_has_others():
    split = people_split(1, 2, questions=8)
    for groups in (split.report, split.development):
        assert_apart(four(groups))
        assert [len(group) for group in four(groups)] == [8, 16, 16, 16]
        assert groups.trained == [*groups.retain, *groups.forget]
    people = [{record.meta["person"] for record in groups.trained} for groups in (split.report, split.development)]
    assert not people[0] & people[1]


@needs_tofu
def test_the_default_authors_are_those_of_the_stored_runs():
    split = tofu_split("authors:198-199")
    report, development = split.report, split.development
    assert [authors_of(group) for group in four(report)] == [[198, 199], [0, 1], [100, 101, 102, 103], [50, 51]]
    assert [authors_of(group) for group in four(development)][:2] == [[190, 191], [2, 3]]
    assert_apart([*four(report), development.forget, development.retain])
    assert [record.meta["author"] for record in report.trained][::20] == [0, 1, 198, 199]
    assert report.asked == list(report.retain)
    assert tofu_split("forget01", 2).report == report


@needs_tofu
def test_a_published_split_keeps_everybody_else_and_calibrates_on_other_people():
    split = tofu_split("forget05")
    assert authors_of(split.report.forget) == list(range(190, 200))
    assert authors_of(split.report.retain) == list(range(190))
    assert authors_of(split.development.forget) == list(range(180, 190))
    assert not ids_of(split.development.retain) & ids_of(split.report.forget)  # no trial keeps what is reported
    assert ids_of(split.development.remaining) == ids_of(split.report.trained) - ids_of(split.development.forget)
    assert ids_of(split.development.trained) == ids_of(split.report.trained)
    assert [r.id for r in split.development.trained] == [
        r.id for r in split.report.trained
    ]  # one original serves both
    assert len(split.report.asked) == 400
    assert len(split.report.kept) == 400
    assert all("author" not in record.meta for record in [*split.report.heldout, *split.report.unseen])


@needs_tofu
def test_ranges_and_lists_of_authors_and_how_many_are_kept():
    split = tofu_split("authors:5,180-181", keep=1)
    assert authors_of(split.report.forget) == [5, 180, 181]
    assert authors_of(split.report.retain) == [0]
    assert len(authors_of(split.development.forget)) == 3


@pytest.mark.parametrize(
    ("asked", "keep", "match"),
    [
        ("forget02", None, "expected forget01"),
        ("authors:", None, "expected forget01"),
        ("authors:199-198", None, "ranges from low to high"),
        ("authors:1,1", None, "every author once"),
        ("authors:57", None, "names author 57"),
        ("authors:198-199999999", None, "expected forget01"),  # no range of a billion is made
        ("authors:1", 0, "--keep: found 0"),
        ("authors:0-19", None, "have no wrong answers"),
        ("forget10", 175, "too few"),
    ],
)
def test_what_cannot_be_is_refused(asked, keep, match):
    with pytest.raises(UserError, match=match):
        tofu_split(asked, keep)


@needs_tofu
def test_attacks_ask_unseen_authors_that_can_be_asked_in_other_words_and_are_nobody_else():
    split = tofu_split("authors:198-199")
    unseen = unseen_people(split.report, split.development)
    assert authors_of(unseen) == [180, 181]
    assert all(isinstance(record.meta["paraphrased_question"], str) for record in unseen)
    met = [record for g in (split.report, split.development) for part in (g.trained, g.heldout) for record in part]
    assert not ids_of(unseen) & ids_of(met)


@needs_tofu
def test_attacks_ask_the_unseen_people_themselves_where_no_such_author_is_left():
    whole = tofu_split("forget01")
    assert unseen_people(whole.report, whole.development) is whole.report.unseen
    few = tofu_split("authors:180-197")
    assert unseen_people(few.report, few.development) is few.report.unseen
