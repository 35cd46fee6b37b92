"""Free memory as the kernel's files tell it."""

from __future__ import annotations

import os

import pytest
import torch

from ofmu.core import memory
from ofmu.core.memory import available, free_memory

K = 1024


@pytest.fixture
def machine(tmp_path):
    """Writes files of /proc and /sys/fs/cgroup; gives what is available by them."""

    def found(files: dict[str, str]) -> int | None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return available(tmp_path / "proc", tmp_path / "cgroup")

    return found


MEMINFO = {"proc/meminfo": "MemTotal:  9000 kB\nMemFree:    10 kB\nMemAvailable:  5000 kB\nHugePages_Total:  0\n"}


def _two(group: str, most: object, used: int, inactive: int = 0) -> dict[str, str]:
    return {
        f"cgroup/{group}/memory.max": f"{most}\n",
        f"cgroup/{group}/memory.current": f"{used}\n",
        f"cgroup/{group}/memory.stat": f"anon 1\nfile 3000\ninactive_file {inactive}\nactive_file 7\n",
    }


def _one(group: str, most: int, used: int, inactive: int = 0) -> dict[str, str]:
    return {
        f"cgroup/memory/{group}/memory.limit_in_bytes": f"{most}\n",
        f"cgroup/memory/{group}/memory.usage_in_bytes": f"{used}\n",
        f"cgroup/memory/{group}/memory.stat": f"inactive_file 1\ntotal_inactive_file {inactive}\n",
    }


def test_the_page_cache_counts_as_free(machine):
    assert machine(MEMINFO) == 5000 * K


@pytest.mark.parametrize(
    ("groups", "left"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", **_two("a/b", 3000, 2000, 500)}, 1500),
        ({"proc/self/cgroup": "0::/a/b\n", **_two("a/b", "max", 2000), **_two("a", 9000, 2000)}, 7000),
        ({"proc/self/cgroup": "0::/a\n", **_two("a", 3000, 4000)}, 0),
        ({"proc/self/cgroup": "0::/a\n", **_two("a", 10**12, 4000)}, 5000 * K),
        ({"proc/self/cgroup": "0::/\n", **_two("", 3000, 1000)}, 2000),
        ({"proc/self/cgroup": "0::/of/the/host\n", **_two("", 3000, 1000)}, 2000),
        ({"proc/self/cgroup": "0::/gone\n"}, 5000 * K),
        ({"proc/self/cgroup": "3:cpu:/\n2:memory:/a\n", **_one("a", 3000, 2000, 500)}, 1500),
        ({"proc/self/cgroup": "2:hugetlb,memory:/host\n0::/x\n", **_one("", 3000, 2000)}, 1000),
        ({"proc/self/cgroup": "2:memory:/\n", **_one("", 2**63 - 4096, 2000)}, 5000 * K),
    ],
)
def test_a_container_has_what_its_control_groups_leave(machine, groups, left):
    assert machine({**MEMINFO, **groups}) == left


def test_where_there_are_no_such_files_the_free_pages_count_if_anything(machine, monkeypatch):
    values = {"SC_AVPHYS_PAGES": 7, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", values.__getitem__)
    assert machine({}) == 7 * 4096

    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert machine({}) is None
    assert machine({"proc/self/cgroup": "0::/a\n", **_two("a", 3000, 2000)}) == 1000


def test_the_processors_memory_is_what_is_available(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 5)
    assert free_memory(torch.device("cpu")) == 5
