"""Controls put together: false alarms pooled by hand, the tables that come of them, and rows kept in the store."""

import re
from dataclasses import replace

import pytest

from ofmu.benchmarks.attacked.controls import Outcome, each_attack, kept, outcome_of, pooled
from ofmu.benchmarks.attacked.pages import Controls, controls_page, section, write_sections
from ofmu.benchmarks.attacked.rows import Row, attacked, detected, looks, named, reasons, table
from ofmu.engine.prepare import Parts
from ofmu.engine.store import Store
from ofmu.evidence.case import Case
from ofmu.evidence.finding import Finding
from small import images, net


def outcome(name, p, verdict="not detected"):
    return Outcome(name, 0.5, p, verdict)


def test_false_alarms_are_counted_over_seeds_and_attacks():
    quiet = [outcome("a", 0.4), outcome("b", 0.9), Outcome("c", None, None, "not tested", "why")]
    loud = [outcome("a", 0.01, "remembered"), outcome("b", 0.04), outcome("c", 0.06)]
    found = pooled([quiet, loud])
    assert (found.alarms, found.tests, found.rate) == (2, 5, 0.4)
    assert (found.families, found.seeds) == (1, 2)
    # P(2 or more of 5 at .05) = 1 − .95⁵ − 5·.05·.95⁴
    assert found.p == pytest.approx(1 - 0.95**5 - 0.25 * 0.95**4)
    assert found.families_p == pytest.approx(1 - 0.95**2)
    assert each_attack([quiet, loud]) == {"a": (1, 2), "b": (1, 2), "c": (0, 1)}
    with pytest.raises(ValueError, match="at least 2"):
        pooled([quiet])


def test_outcomes_are_made_once(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return [Finding("loss", "membership", "?", missing="no rows")]

    first = kept(tmp_path, "c", 0, make)
    assert (
        kept(tmp_path, "c", 0, make)
        == first
        == [outcome_of(Finding("loss", "membership", "?", missing="no rows"))]
    )
    assert kept(tmp_path, "c", 1, make) == first
    assert len(calls) == 2


def test_the_controls_page_names_every_attack_and_the_pooled_rate():
    rows = [outcome("loss", 1e-9, "remembered"), Outcome("u-lira", None, None, "not tested", "no shadows")]
    seeds = [[outcome("loss", 0.5)], [outcome("loss", 0.01)]]
    images = Controls({"memorised": rows, "too well": rows}, seeds)
    texts = Controls({"hidden": rows}, [[replace(row, error=0.04) for row in seed] for seed in seeds])
    page = controls_page("cmd", "made", 5, {"images": images, "texts": texts})
    assert "| loss | **0.50 (1e-09)** | **0.50 (1e-09)** | 1 of 2 | – |" in page
    assert "| loss | **0.50 (1e-09)** | 1 of 2 | 0.040 |" in page
    assert "| u-lira | – | – | – | – |" in page
    assert "images: 1 of 2 tests, 50.0%" in page
    assert "together: 2 of 4 tests, 50.0%" in page


def test_rows_of_a_model_come_from_the_store_the_second_time(tmp_path):
    case = Case("image", net(0), Parts(images(20, 1), images(20, 2), images(20, 3)), (net(1), net(2)), net(3))
    said = []
    store = Store(tmp_path)
    first = attacked(case, ("quantise", "lira"), store, {"model": 0}, "m", said.append)
    assert said == ["m: quantise"]
    assert attacked(case, ("quantise", "lira"), store, {"model": 0}, "m", said.append) == first
    assert said == ["m: quantise"]
    attacked(case, ("quantise",), store, {"model": 1}, "m", said.append)
    assert len(said) == 2  # another model
    assert [row.attack for row in first] == ["quantise-8", "quantise-4", "lira"]
    assert first[-1].missing is not None
    assert "training.json" in first[-1].missing
    assert first[0].named == ()  # 20 unseen rows resolve no rate


def test_what_is_named_at_few_false_alarms_is_shown_where_it_is_resolvable(tmp_path):
    case = Case("image", net(0), Parts(images(20, 1), images(20, 2), images(120, 3)), (net(1), net(2)), net(3))
    found = attacked(case, ("mia",), Store(tmp_path), {"model": 0}, "m", lambda _: None)
    again = attacked(case, ("mia",), Store(tmp_path), {"model": 0}, "m", lambda _: None)
    assert found == again
    lines = named({"M": found, "N": [Row("loss", "membership", 0.7)]})
    assert lines[0] == "| attack | M | N |"
    row = next(line for line in lines if line.startswith("| loss "))
    assert re.fullmatch(r"\| loss \| \d+\.\d% \[\d+\.\d%, \d+\.\d%\] / – \| – \|", row)  # 120 rows: .1 % is not
    assert row in section("T", "cmd", "made", [], {"M": found, "N": [Row("loss", "membership", 0.7)]})
    assert named({"N": [Row("loss", "membership", 0.7)]}) == []


def test_tables_say_what_is_detected_after_correction_and_what_only_looks_forgotten(tmp_path):
    def rows(*p):
        families = ("membership", "recovery", "recovery")
        return [Row(f"a{i}", families[i], 0.7, 0.2, 0.05, each, blind=i == 2) for i, each in enumerate(p)]

    models = {"M": rows(0.5, 0.001, 0.9), "N": rows(0.001, 0.04, 0.9), "O": rows(0.5, 0.9, 0.6)}
    models["O"].append(Row("b", "inside", missing="no layers"))
    assert detected(models["N"]) == {"a0": pytest.approx(0.003)}
    lines = table(models)
    assert lines[2] == "| a0 | +0.200 ± 0.050 | **+0.200 ± 0.050** | +0.200 ± 0.050 |"
    assert lines[4].count("*blind* +0.200") == 3
    assert lines[5] == "| b | – | – | not tested |"
    said = looks(models)
    assert said[0] == "M **only looks forgotten**: a1 bring the rows back."
    assert "answers alone" in said[1]
    assert "no attack detects" in said[2]
    below = Row("prune", "recovery", 0.3, -0.2, 0.05, 1e-9)
    gradients = Row("gradient-norm", "membership", 0.7, 0.2, 0.05, 1e-9)
    seen, both = looks({"P": [below], "Q": [below, gradients]})
    assert seen == "P: prune show rows that were forgotten too well."
    assert both.startswith("Q **only looks forgotten**: gradient-norm tells them apart by its weights; prune")
    assert "answers" not in both
    probe = Row("probe conv1", "inside", 0.7, 0.2, 0.05, 1e-9)
    assert looks({"R": [probe]}) == ["R **only looks forgotten**: probe conv1 tell them apart inside."]
    assert reasons(models) == ["b: no layers (O)"]
    models["M"][1] = replace(models["M"][1], extra=("steps to half: 2", "retrained: 4"))
    models["N"][1] = replace(models["N"][1], extra=("steps to half: 8",))
    write_sections(tmp_path, "x", section("X", "cmd", "made", [], models))
    file = write_sections(tmp_path, "y", section("Y", "cmd", "made", [], models))
    text = file.read_text()
    assert text.index("## X") < text.index("## Y")
    assert "- a1\n  - M: steps to half: 2; retrained: 4\n  - N: steps to half: 8\n" in text
