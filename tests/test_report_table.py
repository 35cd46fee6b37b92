"""Tables: hand-computed means, spreads and leaders; a golden markdown table; widths of the terminal."""

import io

import pytest
from rich.console import Console

from ofmu.report.grid import decimals, grid, number
from ofmu.report.model import FLOOR, ORIGINAL, RETRAIN, Cost, ScoreRow
from ofmu.report.summary import leaders, methods_of, metrics_of, summarise
from ofmu.report.table import print_scores, to_markdown
from report_example import page


def rows(method, metric, values, better, n=40):
    return [
        ScoreRow(
            "digits",
            method,
            seed,
            metric,
            v,
            n if v is not None else 0,
            better,
            None if v is not None else "cut",
        )
        for seed, v in enumerate(values)
    ]


ROWS = [
    *rows("NPO", "UA", [18.0, 22.0], None),
    *rows("OFMU", "UA", [19.0, 20.0], None),
    *rows(RETRAIN, "UA", [20.0, 21.0], None),
    *rows(ORIGINAL, "UA", [0.0, 1.0], None),
    *rows("NPO", "gap", [None, 4.0], False),
    *rows("OFMU", "gap", [2.0, 3.0], False),
    *rows("Bad | one", "gap", [None, None], False),
]

GOLDEN = """\
### digits

| method | seeds | UA ≈Retrain (n=40) | gap ↓ (n=40) | gradients | of retraining | for targets | budget | seconds | peak MB | tuning |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
| Original | 2 | 0.50 ± 0.71 | – | – | – | – | – | – | – | – |
| Retrain | 2 | 20.50 ± 0.71 | – | – | – | – | – | – | – | – |
| OFMU | 2 | **19.50 ± 0.71** | 2.50 ± 0.71 | 120 | 31 % | 12 | 200 | 1.9 | – | one recipe |
| NPO | 2 | **20.00 ± 2.83** | 4.00 (1 of 2 seeds) | – | – | – | – | – | – | – |
| Bad \\| one | 2 | – | missing | – | – | – | – | – | – | – |

- missing: NPO, gap: seed 0: cut
- missing: Bad \\| one, gap: seed 0: cut; seed 1: cut

mean ± sd over seeds · ↑ higher, ↓ lower, ≈Retrain nearest to Retrain is best · bold: within one standard error of the best method.
"""  # noqa: E501


def test_the_markdown_table_is_as_it_was():
    costs = [Cost("digits", "OFMU", 120, 0.31, 12, 1.9, None, 200, "one recipe")]
    assert to_markdown(ROWS, costs) == GOLDEN


def test_without_a_retrain_no_column_asks_to_be_near_it():
    alone = [row for row in ROWS if row.method != RETRAIN]
    text = to_markdown(alone)
    assert "| UA (n=40) | gap ↓ (n=40) |" in text
    assert "Retrain" not in text
    assert grid(rows("OFMU", "attack_auc", [0.5], None), "digits").columns[0].arrow == "≈ 0.5"


def test_mean_spread_and_error_by_hand():
    cell = summarise(rows("OFMU", "UA", [1.0, 2.0, 6.0], True), "digits")["OFMU", "UA"]
    assert cell.mean == pytest.approx(3.0)
    assert cell.sd == pytest.approx(7**0.5)  # (4 + 1 + 9) / 2
    assert cell.error == pytest.approx((7 / 3) ** 0.5)


def test_one_seed_has_no_spread():
    assert grid(rows("OFMU", "UA", [3.0], True), "digits").lines[0].cells[0].text == "3.00"


def test_references_first_then_ofmu_then_the_others_as_they_come():
    given = [
        row
        for name in ("NPO", "OFMU (β = 0)", FLOOR, "GA", RETRAIN, ORIGINAL)
        for row in rows(name, "UA", [1.0], None)
    ]
    assert methods_of(given) == [ORIGINAL, RETRAIN, FLOOR, "OFMU (β = 0)", "NPO", "GA"]


def test_metrics_stand_with_their_question():
    given = [row for name in ("gap", "mine", "RA", "UA", "TA") for row in rows("OFMU", name, [1.0], None)]
    assert metrics_of(given) == ["UA", "RA", "TA", "gap", "mine"]


@pytest.mark.parametrize(
    ("better", "expected"), [(True, {"B"}), (False, {"A"}), (None, {"A"})], ids=["higher", "lower", "Retrain"]
)
def test_who_leads_depends_on_the_direction(better, expected):
    given = [
        *rows("A", "x", [1.0], better),
        *rows("B", "x", [9.0], better),
        *rows(RETRAIN, "x", [2.0], better),
    ]
    assert leaders(summarise(given, "digits"), ["A", "B", RETRAIN], "x", better) == expected


def test_nobody_leads_alone_without_retrain_or_with_a_lost_seed():
    pair = [*rows("A", "x", [1.0, 1.0], None), *rows("B", "x", [2.0, None], None)]
    table = summarise(pair, "digits")
    assert leaders(table, ["A", "B"], "x", None) == set()
    assert leaders(table, ["A", "B"], "x", True) == set()


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.00001, 3, "<0.001"),
        (-0.00001, 3, ">−0.001"),
        (0.0, 3, "0.000"),
        (-2.5, 2, "−2.50"),
        (1234.5, 0, "1234"),
    ],
)
def test_numbers_never_round_to_a_false_zero(value, digits, text):
    assert number(value, digits) == text


def test_a_column_has_one_number_of_decimals():
    assert [decimals(v) for v in ([0.1, 1.0], [0.1, 10.0, None], [2000.0], [])] == [3, 2, 0, 3]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_terminal_shows_every_method_and_number_whole(width):
    example = page()
    out = io.StringIO()
    costs = [cost for task in example.tasks for cost in task.costs]
    print_scores(example.rows, costs, Console(file=out, width=width))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for task in example.tasks:
        table = grid(task.rows, task.name)
        for line in table.lines:
            assert line.method in text
            assert all(cell.text in text for cell in line.cells)
        assert all(column.label.short in text for column in table.columns)


def test_distances_on_other_samples_have_a_table_of_their_own():
    given = rows("A", "gap", [1.0], False) + rows("A", "PS retain", [2.0], False)
    text = to_markdown(given, [Cost("digits", "A", gradients=5.0)])
    first, second = text.split("How near on other samples?")
    assert "gap" in first
    assert "PS, retain" not in first
    assert "| A | 1 | 2.00 |\n" in second
    assert "gradients" not in second


def test_terminal_markup_in_names_is_printed_not_obeyed():
    out = io.StringIO()
    print_scores(rows("[red]x[/red]", "UA", [1.0], None), console=Console(file=out, width=80))
    assert "[red]x[/red]" in out.getvalue()


def test_nothing_to_print_is_no_error():
    assert to_markdown([]) == ""
    print_scores([], console=Console(file=io.StringIO()))
