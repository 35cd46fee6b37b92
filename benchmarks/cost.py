"""What OFMU's derivatives and loops cost.

python benchmarks/cost.py [--smoke] [--out DIR] [--repeats N] [--only NAME …]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

import torch

from ofmu.benchmarks.convergence.studies import plain
from ofmu.benchmarks.cost.measure import measure
from ofmu.benchmarks.cost.page import write
from ofmu.benchmarks.cost.workloads import workloads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="the smallest form: no number in it means anything")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="the workloads to run")
    options = parser.parse_args()
    if options.smoke and options.out == Path(__file__).parent / "results":
        parser.error("--smoke needs --out: it would overwrite the results that are kept with the code")
    torch.set_num_threads(1)
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")
    command = "python benchmarks/cost.py" + (" --smoke --out DIR" if options.smoke else "")
    environment = f"torch {torch.__version__}, float32, {platform.machine()}, {options.repeats} repeats"
    found = []
    for name, make in workloads(options.smoke).items():
        if options.only is None or name in options.only:
            print(name, file=sys.stderr)
            found.append(plain(measure(make(), 2 if options.smoke else options.repeats)))
            write(found, options.out, command, environment)  # a long run may be cut short
    print(options.out / "cost.md")


if __name__ == "__main__":
    main()
