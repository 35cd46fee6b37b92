"""One self-contained HTML page: no network, light and dark, for a screen and for paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ofmu.errors import UserError
from ofmu.report.closer import closer
from ofmu.report.figures import Frontier
from ofmu.report.grid import Grid, grid, parts
from ofmu.report.labels import GROUPS, SECOND, Group, label
from ofmu.report.limits import limits_of
from ofmu.report.model import FLOOR, ORIGINAL, REFERENCES, RETRAIN, Page, TaskSection
from ofmu.report.path import trajectory_plot
from ofmu.report.plots import losses_plot, metric_dots
from ofmu.report.scores import write_text
from ofmu.report.style import DARK, Style, colours
from ofmu.report.summary import methods_of, metrics_of
from ofmu.report.table import cost_lines, cost_names

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

WIDEST = 7  # metric columns beside each other
METHODS = {
    ORIGINAL: "The model before unlearning.",
    RETRAIN: "A model trained in the same way without the forgotten samples: what unlearning should equal.",
    FLOOR: "A second, independent retraining: its distance to the first is due to chance alone.",
}


@dataclass(frozen=True)
class TaskView:
    """What the template prints of one task: text, tables, and figures as SVG."""

    section: TaskSection
    grid: Grid
    parts: list[list[tuple[str, list[int]]]]  # tables of (heading, columns)
    dots: dict[Group, Markup]
    losses: Markup | None
    path: Markup | None
    costs: list[tuple[str, list[str], str]]
    frontiers: list[tuple[Markup, str]]  # under the table, with their captions
    closer: list[tuple[Markup, str]]  # further figures

    @property
    def retrained(self) -> bool:
        """Whether a Retrain was measured: figures mark where it lies."""
        return any(row.method == RETRAIN for row in self.section.rows)

    @property
    def should_lie(self) -> str:
        """Where the forgotten samples' losses should lie, of what is drawn beside them."""
        losses = self.section.losses
        drawn = {
            "Retrain's does": losses is not None and losses.retrain is not None,
            "samples that nobody trained on lie": losses is not None and losses.unseen is not None,
        }
        return ", or where ".join(words for words, there in drawn.items() if there)


def render(page: Page) -> str:
    """The page as HTML. Whatever the page's texts hold is escaped.

    Raises UserError where jinja2 or matplotlib is not installed.
    """
    environment = _environment()
    methods = methods_of(page.rows)
    styles = colours([*methods, *(run.method for task in page.tasks for run in task.trajectories)])
    names = [label(metric) for metric in metrics_of(page.rows)]
    return environment.get_template("page.html").render(
        page=page,
        views=[_view(task, styles, f"t{index}") for index, task in enumerate(page.tasks)],
        meanings=[item for item in dict.fromkeys(names) if item.meaning],
        methods={name: text for name, text in METHODS.items() if name in methods},
        limits=limits_of(page),
        drawn_above=bool(page.tasks) and not any(task.dots for task in page.tasks),
        cost_columns=cost_names([cost for task in page.tasks for cost in task.costs]),
        references=REFERENCES,
        light=list(DARK),
        dark=DARK,
    )


def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise UserError('pages need jinja2, which is not installed: pip install "ofmu[report]"') from error
    return Environment(
        loader=PackageLoader("ofmu.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(path: Path, page: Page) -> Path:
    """Write the page whole or not at all; see `render`."""
    write_text(path, render(page))
    return path


def _view(task: TaskSection, styles: Mapping[str, Style], name: str) -> TaskView:
    from markupsafe import Markup  # our own SVG: every text in it was escaped when it was drawn

    table = grid(task.rows, task.name)
    dots: dict[Group, Markup] = {}
    for group, question in GROUPS.items():
        metrics = [column.metric for column in table.columns if column.label.group == group]
        if metrics and task.dots and group != SECOND:
            dots[group] = Markup(
                metric_dots(task.rows, metrics, styles, f"{name}-{group}", f"{question} {task.name}")
            )
    runs = [run for run in task.trajectories if run.points]
    figures = [
        (drawn, (Markup(closer(drawn, styles, f"{name}-c{number}")), f"{drawn.title}. {drawn.caption}"))
        for number, drawn in enumerate(task.figures)
    ]
    return TaskView(
        section=task,
        grid=table,
        parts=parts(table, lambda index: 1, WIDEST),
        dots=dots,
        losses=Markup(losses_plot(task.losses, f"{name}-losses")) if task.losses else None,
        path=Markup(trajectory_plot(runs, styles, f"{name}-path")) if runs else None,
        costs=cost_lines(task.costs),
        frontiers=[pair for drawn, pair in figures if isinstance(drawn, Frontier)],
        closer=[pair for drawn, pair in figures if not isinstance(drawn, Frontier)],
    )
