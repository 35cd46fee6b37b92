"""What a piece of work cost: wall seconds, processor seconds, peak memory."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Usage:
    """What was used between two moments.

    wall_seconds: time on the clock. cpu_seconds: processor time of all threads of this process. start_bytes,
    peak_bytes: resident memory of the process when it began and at its highest. process_wide: the peak is
    that of the process since its start, only an upper bound, since this system cannot reset it.
    cuda_peak_bytes: the highest memory that torch had allocated on any one CUDA device, None without CUDA.
    """

    wall_seconds: float
    cpu_seconds: float
    start_bytes: int | None
    peak_bytes: int
    process_wide: bool
    cuda_peak_bytes: int | None

    def peak_on(self, device: torch.device) -> int:
        """The peak of the memory that counts on a device: what torch allocated on CUDA, else the process's."""
        cuda = self.cuda_peak_bytes if device.type == "cuda" else None
        return self.peak_bytes if cuda is None else cuda


class Meter:
    """A context manager that measures what happens inside it; meters may nest, in one thread.

    Read `usage` afterwards. The high-water mark of resident memory (VmHWM) is reset on entry where Linux
    allows it, so the peak is of this period and no sampling misses it. Work that CUDA still has queued is
    waited for.
    """

    _active: list[Meter] = []  # noqa: RUF012 - shared: an inner meter's reset must not lose an outer one's peak

    def __init__(self) -> None:
        self._usage: Usage | None = None
        self._peak = self._cuda_peak = 0

    @property
    def usage(self) -> Usage:
        """What was used. Raises: RuntimeError before the meter is left."""
        if self._usage is None:
            raise RuntimeError("Meter.usage: the meter still runs; read it after the `with` block")
        return self._usage

    def __enter__(self) -> Self:
        """Start measuring."""
        self._peak = self._cuda_peak = 0
        self._collect()
        self._process_wide = not _reset_high_water()
        for device in _devices():
            torch.cuda.reset_peak_memory_stats(device)
        self._start_bytes = _status("VmRSS")
        Meter._active.append(self)
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop measuring."""
        for device in _devices():
            torch.cuda.synchronize(device)
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        self._collect()
        Meter._active.remove(self)
        cuda = self._cuda_peak if torch.cuda.is_available() else None
        peak = _process_peak() if self._process_wide else self._peak
        self._usage = Usage(wall, cpu, self._start_bytes, peak, self._process_wide, cuda)

    @staticmethod
    def _collect() -> None:
        """Tell every running meter the peaks since the last reset."""
        high = _status("VmHWM") or 0
        cuda = max((torch.cuda.max_memory_allocated(device) for device in _devices()), default=0)
        for meter in Meter._active:
            meter._peak, meter._cuda_peak = max(meter._peak, high), max(meter._cuda_peak, cuda)


def _devices() -> range:
    return range(torch.cuda.device_count() if torch.cuda.is_available() else 0)


def _status(name: str) -> int | None:
    """A field of /proc/self/status in bytes, or None where there is none."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(name + ":")]
    return int(found[0]) * 1024 if found else None


def _reset_high_water() -> bool:
    """Set VmHWM to the memory resident now; whether that worked."""
    if _status("VmHWM") is None:
        return False
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _process_peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
