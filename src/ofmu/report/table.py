"""Tables: on the terminal (rich) and as markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ofmu.report.grid import ABSENT, MISSING, Cell, Column, Grid, decimals, grid, number, parts
from ofmu.report.labels import GROUPS, SECOND
from ofmu.report.model import REFERENCES, RETRAIN, Cost, ScoreRow
from ofmu.report.summary import tasks_of

COST_COLUMNS = (
    ("gradients", "gradients"),
    ("of_retraining", "of retraining"),
    ("target_cost", "for targets"),
    ("budget", "budget"),
    ("seconds", "seconds"),
    ("peak_mb", "peak MB"),
)


def caption(rows: Sequence[ScoreRow]) -> str:
    """How the tables of these rows are read."""
    near = ", ≈Retrain nearest to Retrain" if any(row.method == RETRAIN for row in rows) else ""
    return (
        f"mean ± sd over seeds · ↑ higher, ↓ lower{near} is best · "
        "bold: within one standard error of the best method"
    )


def score_tables(rows: Sequence[ScoreRow], width: int = 100) -> list[Table]:
    """Tables no wider than `width` columns: metrics that do not fit go on in a further table."""
    tables = []
    for task in tasks_of(rows):
        whole = grid(rows, task)
        for headings, columns in _chunks(whole, width):
            title = " · ".join([task] if len(columns) == len(whole.columns) else [task, *headings])
            tables.append(_score_table(whole, columns, escape(title)))
    return tables


def print_scores(rows: Sequence[ScoreRow], costs: Sequence[Cost] = (), console: Console | None = None) -> None:
    """Print all score tables, the reasons for what is missing, and the costs."""
    console = console or Console()
    for table in score_tables(rows, console.width):
        console.print(table)
    for task in tasks_of(rows):
        for note in grid(rows, task).notes:
            console.print(f"[dim]{MISSING}: {escape(task)}, {escape(note)}[/dim]")
    if rows:
        console.print(f"[dim]{caption(rows)}[/dim]")
    for task in dict.fromkeys(cost.task for cost in costs):
        console.print(cost_table([cost for cost in costs if cost.task == task]))


def _chunks(whole: Grid, width: int) -> list[tuple[list[str], list[int]]]:
    """Headings and column numbers of tables that fit beside the method names."""

    def needed(index: int) -> int:
        column = whole.columns[index]
        cells = [line.cells[index].text for line in whole.lines]
        return max(map(len, [column.label.short, column.arrow, column.n, *cells])) + 2

    names = max(len(line.method) for line in whole.lines) + len("  seeds")
    tables = parts(whole, needed, width - names)
    return [([name for name, _ in table], [i for _, columns in table for i in columns]) for table in tables]


def _score_table(whole: Grid, columns: Sequence[int], title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("method", no_wrap=True)
    table.add_column("seeds", justify="right", no_wrap=True)
    for index in columns:
        head = whole.columns[index]
        names = filter(None, [escape(head.label.short), head.arrow, head.n])
        table.add_column("\n".join(names), justify="right", no_wrap=True)
    for line in whole.lines:
        style = "dim" if line.method in REFERENCES else None
        cells = [_styled(line.cells[index]) for index in columns]
        table.add_row(escape(line.method), str(line.seeds), *cells, style=style)
    return table


def _styled(cell: Cell) -> str:
    if cell.mean == MISSING:
        return f"[yellow]{MISSING}[/yellow]"
    return f"[bold]{cell.text}[/bold]" if cell.best else cell.text


def cost_lines(costs: Sequence[Cost]) -> list[tuple[str, list[str], str]]:
    """(method, one text per COST_COLUMNS, tuning in words); what was not measured is "–"."""
    digits = {name: decimals([getattr(cost, name) for cost in costs]) for name, _ in COST_COLUMNS}
    digits |= {"seconds": 1, "peak_mb": 0, "gradients": 0, "target_cost": 0, "budget": 0}
    lines = []
    for cost in costs:
        values = [(name, getattr(cost, name)) for name, _ in COST_COLUMNS]
        texts = [
            ABSENT if v is None else _percent(v) if k == "of_retraining" else number(v, digits[k])
            for k, v in values
        ]
        lines.append((cost.method, texts, cost.tuning))
    return lines


def cost_names(costs: Sequence[Cost]) -> list[str]:
    """The headings of COST_COLUMNS; the memory's says whose it is where it is not the process's."""
    gpu = {cost.gpu for cost in costs if cost.peak_mb is not None}
    memory = {frozenset({True}): "peak GPU MB", frozenset({True, False}): "peak MB, GPU or process"}
    return [memory.get(frozenset(gpu), name) if key == "peak_mb" else name for key, name in COST_COLUMNS]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"


def cost_table(costs: Sequence[Cost]) -> Table:
    """What each method took: gradient-equivalents, share of retraining, seconds, memory; tuning below."""
    title = f"{escape(costs[0].task)}: cost" if costs else "cost"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for name in cost_names(costs):
        table.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
    tuned: dict[str, list[str]] = {}
    for method, texts, tuning in cost_lines(costs):
        table.add_row(escape(method), *texts)
        tuned.setdefault(tuning, []).append(method)
    lines = [f"tuning of {', '.join(methods)}: {tuning}" for tuning, methods in tuned.items()]
    table.caption, table.caption_justify, table.caption_style = escape("\n".join(lines)), "left", "dim"
    return table


def to_markdown(rows: Sequence[ScoreRow], costs: Sequence[Cost] = ()) -> str:
    """The tables of all tasks as markdown, with cost columns and a note for all that is missing."""
    parts = [_markdown_task(grid(rows, task), [c for c in costs if c.task == task]) for task in tasks_of(rows)]
    return "\n\n".join(parts) + f"\n\n{caption(rows)}.\n" if parts else ""


def _markdown_task(whole: Grid, costs: Sequence[Cost]) -> str:
    costly = {method: [*texts, _plain(tuning)] for method, texts, tuning in cost_lines(costs)}
    names = [*cost_names(costs), "tuning"] if costs else []
    second = [i for i, column in enumerate(whole.columns) if column.label.group == SECOND]
    first = [i for i in range(len(whole.columns)) if i not in second]
    lines = _markdown_lines(whole, first, names, costly)
    if second:
        lines += ["", f"{GROUPS[SECOND]}", "", *_markdown_lines(whole, second, [], {})]
    notes = [f"- {MISSING}: {_plain(note)}" for note in whole.notes]
    return "\n".join([f"### {_plain(whole.task)}", "", *lines, *([""] if notes else []), *notes])


def _markdown_lines(
    whole: Grid, columns: Sequence[int], names: Sequence[str], costly: Mapping[str, Sequence[str]]
) -> list[str]:
    """A table of some columns, and of further ones by `names` with their cells by method."""
    lines = [_markdown_row(["method", "seeds", *(_head(whole.columns[i]) for i in columns), *names])]
    lines.append("|---|" + "---:|" * (1 + len(columns) + len(names)))
    for line in whole.lines:
        cells = [line.cells[i] for i in columns]
        texts = [f"**{cell.text}**" if cell.best else cell.text for cell in cells]
        extra = costly.get(line.method, [ABSENT] * len(names)) if names else []
        lines.append(_markdown_row([_plain(line.method), str(line.seeds), *texts, *extra]))
    return lines


def _head(column: Column) -> str:
    return " ".join(filter(None, [_plain(column.label.short), column.arrow, column.n and f"({column.n})"]))


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text that cannot break a table row or start markup."""
    for mark in "\\`*_|<>[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
