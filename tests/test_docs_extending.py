"""The page on methods, targets and metrics of one's own: its files, lines and tests run as printed."""

import json
import re
import sys
from pathlib import Path

import pytest

import tofu_world
from cli_world import text_world
from ofmu.benchmarks.tofu import carry_out, method_names
from ofmu.benchmarks.tofu_choice import Plan
from ofmu.benchmarks.token_pass import FORGET_METRICS
from ofmu.cli.main import run
from ofmu.engine.targets_named import IMAGE
from ofmu.methods import METHODS

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """Every block of the page, in order: files are written and importable, all others run."""
    folder = tmp_path_factory.mktemp("own")
    modules = []
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        known = dict(METHODS), dict(IMAGE), dict(FORGET_METRICS)
        for block in BLOCKS:
            name = re.match(r"# file: (\w+)\.py\n", block)
            if name is None:
                exec(compile(block, "docs/extending.md", "exec"), {})
            else:
                (folder / f"{name[1]}.py").write_text(block, encoding="utf-8")
                modules.append(name[1])
        yield modules
        for dictionary, before in zip((METHODS, IMAGE, FORGET_METRICS), known, strict=True):
            dictionary.clear()
            dictionary.update(before)
        for module in modules:
            sys.modules.pop(module, None)


def test_the_page_has_three_files_three_lines_and_three_tests(extended):
    assert extended == ["alternate", "middle", "recall"]
    assert len(BLOCKS) == 9
    lines = [line for block in BLOCKS for line in block.splitlines() if re.match(r"[A-Z_]+\[", line)]
    assert [line.split(" =")[0] for line in lines] == [
        'METHODS["alternate"]',
        'IMAGE["middle"]',
        'FORGET_METRICS["recalled"]',
    ]


def test_the_commands_know_the_new_method_and_the_new_metric(extended, tmp_path, capsys):
    world = text_world(tmp_path)
    assert world.unlearn(tmp_path / "out", "--method", "alternate", "--steps", "2", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["method"] for row in rows} >= {"alternate", "Original"}
    (row,) = (row for row in rows if row["metric"] == "recalled" and row["method"] == "alternate")
    assert row["low"] <= row["value"] <= row["high"]
    assert row["n"] == 6
    assert run(["unlearn", "--model", "x", "--method", "alternat", "--out", str(tmp_path / "o")]) == 2
    assert "did you mean 'alternate'" in capsys.readouterr().err


def test_the_language_benchmark_knows_both(extended, tmp_path):
    assert "alternate" in method_names("all")
    page = carry_out(tofu_world.bench(tmp_path, tofu_world.setting(), Plan(("alternate",), 1, 2, "x"), []))
    found = {(row.method, row.metric): row for row in page.rows}
    assert found["alternate", "forget_prob"].value is not None
    (row,) = (row for (method, metric), row in found.items() if metric == "recalled" and method == "alternate")
    assert row.n == len(tofu_world.setting().groups.forget)
    assert "| alternate | 2 |" in (tmp_path / "tofu.md").read_text(encoding="utf-8")
