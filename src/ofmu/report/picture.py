"""One picture of a whole demo: forgetting in vision on the left, in text on the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ofmu.errors import UserError
from ofmu.report.labels import label
from ofmu.report.model import Page, TaskSection
from ofmu.report.plots import metric_panel
from ofmu.report.style import INK, MUTED, colours, figure, spread_out, to_png
from ofmu.report.summary import methods_of

# By label (keys differ between callers), with what a reader who knows no metric is told.
VISION = {"gap": "gap: points away from Retrain", "W1": "W1: confidence away from Retrain"}
TEXT = {"forget NLL": "loss on the forgotten answers", "retain prob.": "probability of the kept answers"}
LEGEND = "dot: mean over seeds · bar: ± standard deviation · faint dots: single seeds · dashed line: Retrain"


def demo_picture(page: Page, path: Path) -> Path:
    """Write a PNG of the last vision task (gap, W1) and the last text task (forget NLL, retain probability).

    One half alone where the page has only that kind. Raises UserError where it has neither.
    """
    halves = [half for wanted in (VISION, TEXT) if (half := _half(page.tasks, wanted)) is not None]
    if not halves:
        raise UserError(
            f"the page '{page.title}' has no task with {' and '.join(VISION)} or {' and '.join(TEXT)}; "
            "expected at least one for the picture"
        )
    most = max(len(methods_of(task.rows)) for task, _ in halves)
    styles = colours(methods_of(page.rows))
    with figure(5.7 * len(halves), 0.29 * most + 1.5, "demo") as made:
        spread_out(made)
        columns = made.subfigures(1, len(halves), wspace=0.03, squeeze=False)[0]
        for part, (task, metrics) in zip(columns, halves):
            panels = part.subplots(1, 2, sharey=True)
            for panel, metric in zip(panels, metrics):
                metric_panel(panel, task.rows, styles, metric)
                panel.set_title((VISION | TEXT)[label(metric).short], fontsize=8.5, color=INK)
                panel.set_xlabel(_hint(task, metric), fontsize=8)
            part.suptitle(task.name, x=0.02, ha="left", fontsize=11.5, fontweight="bold", color=INK)
        made.supxlabel(LEGEND, fontsize=7.5, color=MUTED, x=0.99, ha="right")
        return to_png(made, path)


def _half(tasks: Sequence[TaskSection], wanted: Mapping[str, str]) -> tuple[TaskSection, list[str]] | None:
    for task in reversed(tasks):
        found = {label(row.metric).short: row.metric for row in task.rows}
        if all(short in found for short in wanted):
            return task, [found[short] for short in wanted]
    return None


def _hint(task: TaskSection, metric: str) -> str:
    better = next(row.higher_is_better for row in task.rows if row.metric == metric)
    return {True: "higher is better →", False: "← lower is better", None: "nearest Retrain is best"}[better]
