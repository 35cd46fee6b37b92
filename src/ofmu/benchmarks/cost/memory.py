"""Peak memory of a call from torch's own allocation events: exact to the byte, however small the tensors.

Resident set size is too coarse for small models. The profiler records every allocation and release of the CPU
allocator, workspaces of convolutions included; their running sum over time is the memory in use beyond what was
there before the call.
"""

from __future__ import annotations

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def peak(action: Callable[[], object]) -> int:
    """Most bytes in use at one time during the call, beyond what was in use before it; results count."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as found:
        kept = action()
    del kept
    assert found.profiler is not None
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most
