"""What --parallel means, by what a launcher says."""

from __future__ import annotations

import pytest

from ofmu.engine.launched import ALONE, chosen, joined, world_size
from ofmu.errors import UserError


def launched(patch, **variables):
    for name in ("RANK", "WORLD_SIZE"):
        patch.delenv(name, raising=False)
    for name, value in variables.items():
        patch.setenv(name, value)


@pytest.mark.parametrize(
    ("asked", "variables", "meant"),
    [
        (None, {}, "none"),
        ("none", {}, "none"),
        (None, {"RANK": "0", "WORLD_SIZE": "1"}, "none"),
        ("fsdp2", {"RANK": "0", "WORLD_SIZE": "1"}, "fsdp2"),
        (None, {"RANK": "1", "WORLD_SIZE": "4"}, "ddp"),
        ("fsdp2", {"RANK": "1", "WORLD_SIZE": "4"}, "fsdp2"),
    ],
)
def test_ddp_is_the_default_where_several_processes_were_launched(monkeypatch, asked, variables, meant):
    launched(monkeypatch, **variables)
    assert chosen(asked) == meant


def test_a_choice_that_does_not_fit_the_launcher_is_refused(monkeypatch):
    launched(monkeypatch)
    with pytest.raises(UserError, match="ddp needs processes that a launcher started"):
        chosen("ddp")
    launched(monkeypatch, RANK="0", WORLD_SIZE="2")
    with pytest.raises(UserError, match="found none with 2 launched processes"):
        chosen("none")
    launched(monkeypatch, WORLD_SIZE="two")
    with pytest.raises(UserError, match="WORLD_SIZE: found 'two'"):
        world_size()


def test_one_process_needs_nobody():
    with joined("none") as processes:
        assert processes is ALONE
        assert processes.leads
        assert processes.gather("x") == ["x"]
        assert processes.of_leader(lambda: 3) == 3
        with pytest.raises(ZeroDivisionError), processes.together():
            assert 1 / 0
