"""What OFMU's exit rule asks for, and what of it a model misses."""

from __future__ import annotations

from ..core.oracle import Oracle
from ..core.terms import Loss
from ..tasks import Samples, Task
from .ofmu_fields import OFMUFields

LOST = 0.1  # of what the original knew of D_r beyond unseen rows: so much less is said, and counts as not reached
ROWS = 1024  # of D_r that are looked at, evenly spread


def forgotten(method: OFMUFields, task: Task, oracle: Oracle) -> tuple[float, float] | None:
    """(the forget objective's mean over D_f, the least that `hold` asks for); None where nothing is asked."""
    if method.hold is None or task.targets is None:
        return None
    loss = method.forget.bind(task)
    value = mean_over(task.forget.samples, task.forget_batch, oracle, loss)
    return value, method.hold * float(task.targets.per_sample.mean())


def missed(method: OFMUFields, task: Task, oracle: Oracle) -> list[str]:
    """What does not hold of the model as it is, in sentences; empty where all does, or nothing is asked.

    Of D_f: its objective is below what `hold` asks for. Of D_r, where repair has a level: more than `LOST` of the
    way from the original's loss to the unseen level is lost, as after a start that was too short to learn D_r
    again. Costs a forward pass over D_f and `ROWS` of D_r.
    """
    said = []
    asked = forgotten(method, task, oracle)
    if asked is not None and asked[0] < asked[1]:
        said.append(f"the forget objective is {asked[0]:.3g} on the rows to forget, {asked[1]:.3g} is asked for")
    unseen = task.unseen_level
    if method.slack is not None and unseen is not None and unseen > task.retain_level:
        most = task.retain_level + LOST * (unseen - task.retain_level)
        value = mean_over(task.retain.samples, task.retain_batch, oracle, task.loss, ROWS)
        if value > most:
            said.append(
                f"the rows to keep are not known as before: mean loss {value:.3g}, it was "
                f"{task.retain_level:.3g} (and is {unseen:.3g} on unseen rows)"
            )
    return said


def mean_over(samples: Samples, size: int, oracle: Oracle, loss: Loss, most: int | None = None) -> float:
    """The mean of `loss` over a data set, or over `most` of its rows, without a gradient; `size` at a time."""
    n = len(samples)
    rows = range(n) if most is None or n <= most else [i * n // most for i in range(most)]
    total = 0.0
    for start in range(0, len(rows), size):
        total += float(oracle.values(loss, samples.batch(rows[start : start + size])).per_sample().sum())
    return total / len(rows)
