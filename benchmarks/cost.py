"""What OFMU's derivatives and loops cost.

python benchmarks/cost.py [--smoke] [--out DIR] [--repeats N] [--compiled | --memory | --recipe] [--only NAME …]

With --only the run may be done in pieces: what is measured joins the workloads that are in OUT/cost.json already.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

import torch

from ofmu.benchmarks.convergence.studies import plain
from ofmu.benchmarks.cost.cheaper import compiled_way
from ofmu.benchmarks.cost.measure import Bench, measure, memory_row, recipe_rows
from ofmu.benchmarks.cost.page import write, write_compiled, write_memory
from ofmu.benchmarks.cost.workloads import growing, workloads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="the smallest form: no number in it means anything")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compiled", action="store_true", help="∇Φ traced and compiled instead (a C++ compiler)")
    parser.add_argument("--memory", action="store_true", help="the memory of ∇Φ as the batch grows, and no times")
    parser.add_argument("--recipe", action="store_true", help="the default recipe alone, to join what is there")
    parser.add_argument("--only", nargs="+", choices=list(workloads(False)), help="the workloads to run")
    options = parser.parse_args()
    if options.smoke and options.out == Path(__file__).parent / "results":
        parser.error("--smoke needs --out: it would overwrite the results that are kept with the code")
    torch.set_num_threads(1)
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")
    command = " ".join(["python benchmarks/cost.py", *sys.argv[1:]])
    environment = f"torch {torch.__version__}, float32, {platform.machine()}, {options.repeats} repeats"
    if options.memory:
        rows = [memory_row(make()) for make in growing(options.smoke)]
        write_memory(rows, options.out, command, environment.rpartition(",")[0])
        return
    found = []
    for name, make in workloads(options.smoke).items():
        if options.only is None or name in options.only:
            print(name, file=sys.stderr)
            repeats = 2 if options.smoke else options.repeats
            if options.compiled:
                w = make()
                found.append(plain(compiled_way(w, Bench(w, repeats).ratios)))
                write_compiled(found, options.out, command, environment)
            elif options.recipe:
                w = make()
                if w.backends is None:
                    rows = plain(recipe_rows(Bench(w, repeats)))
                    write([{"name": w.name, "recipe": rows, "recipe command": command}], options.out)
            else:
                row = {**plain(measure(make(), repeats)), "command": command, "recipe command": command}
                write([{**row, "environment": environment}], options.out)


if __name__ == "__main__":
    main()
