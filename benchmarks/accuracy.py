"""How exact the derivatives are, beside dense Hessians.

python benchmarks/accuracy.py [--out DIR] [--only NETWORK …]
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

import torch

from ofmu.benchmarks.accuracy.measure import accuracy
from ofmu.benchmarks.accuracy.page import write
from ofmu.benchmarks.accuracy.problems import DOUBLE, NETS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument(
        "--only", nargs="+", choices=list(NETS), default=list(NETS), help="the networks to look at"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for precision, names in (("float32", NETS), ("float64", DOUBLE)):
        for name in names:
            if name in options.only:
                print(f"{precision}: {name}", file=sys.stderr)
                found += accuracy(name, precision)
    command = " ".join(["python benchmarks/accuracy.py", *sys.argv[1:]])
    write(found, options.out, command, f"torch {torch.__version__}, {platform.machine()}")
    print(options.out / "accuracy.md")


if __name__ == "__main__":
    main()
