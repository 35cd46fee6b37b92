"""The page on evidence names every attack, and nothing that does not exist."""

import re
from pathlib import Path

from ofmu.evidence.membership import QUESTIONS
from ofmu.evidence.outcome import power_words
from ofmu.evidence.plan import ATTACKS
from ofmu.report.lattice import ks_lattice

PAGE = (Path(__file__).parents[1] / "docs" / "evidence.md").read_text(encoding="utf-8")


def test_every_attack_is_on_the_page():
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert set(ATTACKS) <= named
    assert named - set(ATTACKS) == {"rmia"}


def test_its_numbers_are_what_the_code_says():
    for heldout, auc in ((200, ".641"), (40, ".678")):
        assert f"AUC of 0{auc} " in power_words(40, heldout)[0]
        assert auc in PAGE
    found = ks_lattice(40, 40)
    assert found.below is not None
    assert f"{found.below:.3f} and {found.above:.3f}".replace("0.", ".") in PAGE


def test_every_attack_has_a_line_of_its_controls():
    table = PAGE.split("## Controls")[1].split("## What is not here")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    named = {name.strip() for row in rows for name in row.split(",")}
    made = {
        "klom",
        "u-lira",
        "lira",
        "rmia",
        "probe",
        "lens",
        "direction-ablation",
        "prefill",
        "leak@k",
        "adapter-off",
    }
    assert set(QUESTIONS) | made | {"quantise-8", "quantise-4", "prune", "noise", "interpolate"} <= named
