"""Several methods on one task over several seeds: cells that run apart and come together as a report's section."""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from .. import __version__
from ..report.model import AnswerRow, Answers, Cost, Losses, ScoreRow, TaskSection, Trajectory
from .experiment import Run

NAMES = {  # a method's name in tables
    "ofmu": "OFMU",
    "ofmu-matched": "OFMU, matched",
    "ofmu-safeguarded": "OFMU, rounds only",
    "ofmu-both": "OFMU, both terms",
    "ofmu-paper": "OFMU as printed",
    "finetune": "FineTune",
    "gradascent": "GradAscent",
    "graddiff": "GradDiff",
    "kl": "KL-retain",
    "npo": "NPO",
    "simnpo": "SimNPO",
    "graddiff-bounded": "GradDiff, bounded",
    "idkdpo": "IdkDPO",
    "rmu": "RMU",
    "undial": "UNDIAL",
    "pcgrad": "PCGrad",
    "mgda": "MGDA",
    "upgrad": "UPGrad",
    "neggrad-plus": "NegGrad+",
    "randomlabel": "Random label",
    "salun": "SalUn",
    "scrub": "SCRUB",
    "ssd": "SSD",
    "iu": "IU",
    "reinit-1": "Re-init 1",
    "reinit-2": "Re-init 2",
    "reinit-half": "Re-init half",
    "head-1": "Head 1",
    "head-2": "Head 2",
    "head-half": "Head half",
}


@dataclass(frozen=True)
class Spent:
    """What one run of one method took. samples, setup, budget and retraining in sample-gradients.

    peak_bytes: of the GPU's memory where `gpu`, else of the process's.
    """

    method: str
    samples: float
    seconds: float
    setup: float = 0.0
    peak_bytes: int | None = None
    budget: float | None = None
    ended: str = ""
    gpu: bool = False


def titled(method: str) -> str:
    """A method's name in tables: its own where it is not one of ours."""
    return NAMES.get(method, method)


@dataclass
class Cell:
    """All that one seed of one task gave: plain data, so that it can come from another process."""

    seed: int
    rows: list[ScoreRow] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)
    trajectories: list[Trajectory] = field(default_factory=list)
    losses: Losses | None = None
    answers: list[AnswerRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_run(self, task: str, method: str, run: Run, budget: float, rows: Sequence[ScoreRow]) -> None:
        """Take in a finished run with its scores."""
        name = titled(method)
        self.rows += rows
        self.trajectories.append(Trajectory(task, name, self.seed, run.points))
        self.spent.append(
            Spent(name, run.cost, run.seconds, run.setup_cost, run.peak_bytes, budget, run.ended, run.gpu)
        )
        if run.failed:
            self.notes.append(f"{name}, seed {self.seed}: {run.ended}")


def run_cells(cells: Sequence[Callable[[], Cell]], jobs: int, done: Callable[[Cell], None]) -> list[Cell]:
    """All cells, `jobs` at a time in processes of one thread each; `done` is told of each; order is kept."""
    if jobs == 1:
        found = []
        for cell in cells:
            found.append(cell())
            done(found[-1])
        return found
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=one_thread) as pool:
        futures = [pool.submit(cell) for cell in cells]
        for future in futures:
            future.add_done_callback(lambda ready: None if ready.exception() else done(ready.result()))
        return [future.result() for future in futures]


def one_thread() -> None:
    """Make this process compute in one thread, and fast where numbers vanish."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # saturated softmaxes leave denormals, which a CPU is slow at
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def machine() -> str:
    """How the machine is used as things stand, in words: the GPU where there is one, threads, cores."""
    threads = torch.get_num_threads()
    many = "one thread" if threads == 1 else f"{threads} threads"
    words = f"{many} of a shared {os.cpu_count()}-core machine"
    return f"{torch.cuda.get_device_name()}, {words}" if torch.cuda.is_available() else words


@contextmanager
def in_one_thread() -> Iterator[None]:
    """`one_thread` for a while: the process computes afterwards as it did before. Serves as a decorator too."""
    threads, flushed = torch.get_num_threads(), float(torch.tensor(1e-310, dtype=torch.float64) * 1.0) == 0.0
    one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)


def environment(how: str) -> dict[str, str]:
    """Versions and machine for a page; `how` says in words how the machine was used."""
    return {
        "ofmu": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {how}",
    }


def section(
    name: str,
    description: str,
    cells: Sequence[Cell],
    *,
    batch: int,
    tuning: str | Mapping[str, str],
    notes: Sequence[str] = (),
) -> TaskSection:
    """One section of a page from the cells of all seeds; losses, answers and paths are those of the first seed.

    batch: samples in a gradient-equivalent. tuning: in words, how the methods' settings were found; of all, or by
    the method's name.
    """
    first = min(cells, key=lambda cell: cell.seed)
    return TaskSection(
        name,
        description,
        [row for cell in cells for row in cell.rows],
        trajectories=first.trajectories,
        losses=first.losses,
        answers=Answers(name, first.answers) if first.answers else None,
        costs=_costs(name, cells, batch, tuning),
        notes=[*notes, *(note for cell in cells for note in cell.notes)],
    )


def _costs(task: str, cells: Sequence[Cell], batch: int, tuning: str | Mapping[str, str]) -> list[Cost]:
    by_method: dict[str, list[Spent]] = {}
    for cell in cells:
        for spent in cell.spent:
            by_method.setdefault(spent.method, []).append(spent)
    retraining = [spent.samples for spent in by_method.get("Retrain", [])]
    whole = statistics.fmean(retraining) if retraining else None
    costs = []
    for method, runs in by_method.items():
        samples = statistics.fmean(run.samples for run in runs)
        peaks = [run.peak_bytes for run in runs if run.peak_bytes is not None]
        words = tuning if isinstance(tuning, str) else tuning.get(method, "none")
        budgets = [run.budget for run in runs if run.budget is not None]
        costs.append(
            Cost(
                task,
                method,
                gradients=samples / batch,
                of_retraining=samples / whole if whole else None,
                target_cost=statistics.fmean(run.setup for run in runs) / batch,
                seconds=statistics.fmean(run.seconds for run in runs),
                peak_mb=max(peaks) / 2**20 if peaks else None,
                budget=max(budgets) / batch if budgets else None,
                tuning=words if budgets else "trained as the original was",
                gpu=bool(runs) and all(run.gpu for run in runs),
            )
        )
    return costs
