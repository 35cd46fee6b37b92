"""How much memory is to be had: on a GPU what its driver says, else what the kernel and the control groups do.

Pages of files that were read are given back when they are asked for, so they count as free: most of a machine's
memory is filled with them after a while. A container has what its control group allows, whatever the machine has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def free_memory(device: torch.device) -> int | None:
    """Free bytes on the device; None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available()


def available(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """Bytes that this process can still take without swapping; None where nobody says.

    MemAvailable (else the free pages), and no more than any control group above this process leaves: limit − used
    + pages of files not used lately. proc, cgroups: where both are mounted.
    """
    known = [] if (system := _system(proc)) is None else [system]
    return min([*known, *_allowed(proc, cgroups)], default=None)


def _system(proc: Path) -> int | None:
    found = _fields(proc / "meminfo").get("MemAvailable:")
    if found is not None:
        return 1024 * found
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _allowed(proc: Path, cgroups: Path) -> Iterator[int]:
    """What is left of every limit above this process, of both versions of control groups."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        number, controllers, own = line.split(":", 2)
        if number == "0":
            mount, names = cgroups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            mount = cgroups / "memory"
        else:
            continue
        place = Path(own.lstrip("/"))
        for group in (place, *place.parents):  # a container may see its own group at the mount, whatever its name
            left = _left(mount / group, *names)
            if left is not None:
                yield left


def _left(group: Path, limit: str, used: str, cached: str) -> int | None:
    try:
        most, taken = int(_text(group / limit)), int(_text(group / used))
    except ValueError:  # "max", or no such file
        return None
    return max(0, most - taken + _fields(group / "memory.stat").get(cached, 0))


def _fields(path: Path) -> dict[str, int]:
    """The lines "name number …" of a file."""
    rows = [line.split() for line in _text(path).splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _text(path: Path) -> str:
    """What the file says; nothing where it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
