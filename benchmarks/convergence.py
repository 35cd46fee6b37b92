"""OFMU's convergence claims, measured: python benchmarks/convergence.py [--smoke] [--out DIR]."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path

import torch

from ofmu.benchmarks.convergence.page import write
from ofmu.benchmarks.convergence.studies import measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="the smallest form: no number in it means anything")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if options.smoke and options.out == Path(__file__).parent / "results":
        parser.error("--smoke needs --out: it would overwrite the results that are kept with the code")
    torch.set_num_threads(1)
    start = time.monotonic()
    results = measure(
        options.smoke, lambda line: print(f"{time.monotonic() - start:6.0f} s  {line}", file=sys.stderr)
    )
    command = "python benchmarks/convergence.py" + (" --smoke --out DIR" if options.smoke else "")
    write(results, options.out, command, f"torch {torch.__version__}, float64, {platform.machine()}")
    print(options.out / "convergence.md")


if __name__ == "__main__":
    main()
