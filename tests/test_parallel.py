"""Two processes give what one gives, whatever the engine, the derivatives and the shares."""

from __future__ import annotations

import json

from processes import together


def most(name: str) -> float:
    """The largest relative distance that is allowed."""
    if "float64" in name:
        return 1e-7
    return 1e-5 if "exact" in name else 1e-3


def test_three_outer_iterations_on_two_processes_end_where_one_process_does(tmp_path):
    together("agree", tmp_path)
    found = json.loads((tmp_path / "agree.json").read_text())
    print("\n".join(f"{distance:9.1e}  {name}" for name, distance in found.items()))
    assert len(found) == 27
    assert {name: distance for name, distance in found.items() if not distance <= most(name)} == {}


def test_refusals_export_errors_of_one_process_and_a_resumed_run(tmp_path):
    together("small_cases", tmp_path)
