"""The benchmark's page from its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...data.forget_request import FORMS, ForgetRequest, parse_forget
from ...data.image_pools import ABOUT
from ...engine.prepare import UNIT
from ...report.figures import Drawn
from ...report.model import Page, TaskSection
from ..paired import floor_sentence, sentence
from ..reading import DISTANCES, nearest, nearest_of, nothing_known, reading
from ..study import Cell, environment, machine, section
from .own import source_of
from .setting import Setting
from .studies import Study, studies_of
from .tuned import OBJECTIVE, Tuned

OURS = "OFMU"
APART = (  # what of the development sets is in reported scores
    "A development set has a seed of its own, for classes another class; images of a random one may be in "
    "reported forget sets too. The development images that stand for the test set are in no reported score."
)


def sections_of(
    setting: Setting,
    cells: Mapping[str, Sequence[Cell]],
    tuned: Mapping[str, Sequence[Tuned]],
    figures: Mapping[str, Sequence[Drawn]],
) -> list[TaskSection]:
    """One section a request, with the tuning of each method in its costs."""
    found = []
    for task, done in cells.items():
        if not done:
            continue
        words = {one.choice.title: one.words for one in tuned.get(task, ())}
        made = section(task, about(setting, task), done, batch=UNIT["image"], tuning="none: the preset")
        costs = [replace(cost, tuning=words.get(cost.method, cost.tuning)) for cost in made.costs]
        found.append(replace(made, costs=costs, figures=tuple(figures.get(task, ()))))
    return found


def page_of(setting: Setting, sections: Sequence[TaskSection], command: str, left: str) -> Page:
    """The page; left: what is still missing, in words, which then stands first."""
    sections = list(sections)
    verdict = [f"Not finished. Missing: {left}."] if left else []
    for task in sections:
        verdict += sentences_of(task)
    for kind, study in series_in(sections).items():
        verdict += study.sentences
        last = max(i for i, task in enumerate(sections) if request_in(task.name).kind == kind)
        sections[last] = replace(sections[last], figures=(*sections[last].figures, *study.figures))
    return Page(
        title=f"ofmu bench {setting.name}",
        request={
            "To be forgotten": "; ".join(f"{text}: {meaning(text)}" for text in setting.requests),
            "To be kept": "all other training images",
            "Methods": f"{', '.join(setting.methods)}, each with {budget(setting)}",
        },
        verdict=verdict,
        tasks=sections,
        environment=environment(machine()),
        command=command,
        limits=[
            f"{setting.train:,} training images: numbers compare with each other, not with published ones.",
            f"Tuned settings minimise {OBJECTIVE}. {APART}",
            "Two methods are told apart where the interval of their paired differences leaves out 0.",
            "Seconds are wall time, other work on the machine included: compare gradient-equivalents.",
            "Methods without an exit rule spend the whole budget, wherever that leads.",
        ],
    )


def series_in(sections: Sequence[TaskSection]) -> dict[str, Study]:
    """The series of requests that the sections make up, by kind."""
    requests = {task.name: request_in(task.name) for task in sections}
    return studies_of(requests, [row for task in sections for row in task.rows])


def sentences_of(task: TaskSection) -> list[str]:
    """What a request's numbers say: the order by distance, each method against the floor, and against OFMU.

    Without OFMU, against the method of the least gap, which is then said.
    """
    ours = OURS if any(row.method == OURS for row in task.rows) else nearest_of(task)
    found = [floor_sentence(task.rows, metric) for metric in DISTANCES]
    if ours is not None and ours != OURS:
        found.append(f"compared with {ours}, the method of the least gap in this table: OFMU is not in it.")
    said = [*nothing_known(task), *nearest(task), *(f"{task.name}: {text}" for text in found if text)]
    if ours is None:
        return said
    paired = [sentence(task.rows, metric, ours) for metric in DISTANCES]
    return [*said, *reading(task, ours), *(f"{task.name}: {text}" for text in paired if text)]


def request_in(task: str) -> ForgetRequest:
    """The request that a task's name ends in."""
    return parse_forget(task.split(": ", 1)[1])


def meaning(text: str) -> str:
    """What a request means, in words."""
    return FORMS[parse_forget(text).kind][1]


def budget(setting: Setting) -> str:
    """What a method may spend, in words."""
    return f"at most {100 * setting.share:.0f} % of a retraining, targets and start included"


def about(setting: Setting, task: str) -> str:
    """The paragraph above a table."""
    noise = f" ({100 * setting.noise:.0f} % of all labels are wrong)" if setting.noise else ""
    recipe = setting.recipe
    images = ABOUT.get(setting.data.removesuffix("-coarse")) or source_of(setting)
    return (
        f"Images: {images}. {setting.model}, trained from scratch on {setting.train:,} images{noise} for "
        f"{recipe.epochs:g} epochs ({recipe.rule}, rate {recipe.lr:g}, batch {recipe.batch}). Forgotten: "
        f"{meaning(str(request_in(task)))}. {setting.heldout:,} other images are held out for targets, "
        f"{setting.development:,} for tuning; the table's test set is none of these. Every method may spend "
        f"{budget(setting)}."
    )
