"""Open questions 2 and 4 of the paper: other similarities, penalty schedules, a priority that moves.

python benchmarks/questions.py [--benchmark digits] [--forget random:0.1 hardest:0.1 entangled:1] [--seeds 5]
    [--budgets 0.3 0.6] [--values 3] [--variants TITLE …] [--floor] [--out DIR]

Each variant differs in one thing from OFMU's safeguarded preset. DIR gets questions.md and questions.json as seeds
end; models and runs are kept in the store ($OFMU_STORE), and the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from ofmu.benchmarks.questions.bench import Found, Plan, run_plan
from ofmu.benchmarks.questions.page import write
from ofmu.benchmarks.questions.variants import chosen
from ofmu.benchmarks.study import environment, one_thread
from ofmu.engine.store import Store, default_root
from ofmu.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", default="digits", help="an image benchmark of `ofmu bench`")
    parser.add_argument("--forget", nargs="+", default=list(Plan.forget), help="forget sets")
    parser.add_argument("--seeds", type=int, default=Plan.seeds)
    parser.add_argument(
        "--budgets", nargs="+", type=float, default=list(Plan.budgets), help="shares of a retraining"
    )
    parser.add_argument(
        "--values", type=int, default=Plan.values, help="values tried of each variant (1: no tuning)"
    )
    parser.add_argument("--variants", nargs="+", default=[], help="titles, or how they begin; all by default")
    parser.add_argument("--floor", action="store_true", help="train a second Retrain too, for every set and seed")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument(
        "--smoke", action="store_true", help="the smallest form, which writes nothing that is kept"
    )
    given = parser.parse_args()
    one_thread()
    command = " ".join(["python benchmarks/questions.py", *sys.argv[1:]])
    try:
        plan = _plan(given)
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder) / "store") if given.smoke else Store(default_root(os.environ))
            run(plan, store, Path(folder) if given.smoke else given.out, command)
    except UserError as error:
        parser.error(str(error))


def _plan(given: argparse.Namespace) -> Plan:
    variants = tuple(chosen(given.variants))
    if given.smoke:
        return Plan(given.benchmark, ("random:0.1",), 1, (0.6,), 1, variants, floor=True, smoke=True)
    return Plan(
        given.benchmark,
        tuple(given.forget),
        given.seeds,
        tuple(given.budgets),
        given.values,
        variants,
        given.floor,
    )


def run(plan: Plan, store: Store, out: Path, command: str) -> Found:
    """All of a plan, with files and lines as results come."""
    start = time.process_time()
    made = environment("one thread")

    def say(line: str) -> None:
        print(f"{time.process_time() - start:6.0f} CPU s  {line}", file=sys.stderr, flush=True)

    return run_plan(plan, store, say, lambda found: write(plan, found, out, command, made))


if __name__ == "__main__":
    main()
