"""OFMU's convergence claims, measured.

python benchmarks/convergence.py [--smoke] [--out DIR] [--only PART …]

With --only, such as `--only network/noise`, parts are measured again and join what is in OUT/convergence.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

from ofmu.benchmarks.convergence.page import write
from ofmu.benchmarks.convergence.studies import measure, studies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="the smallest form: no number in it means anything")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parts = [f"{problem}/{name}" for problem, found in studies(False, print).items() for name in found]
    parser.add_argument("--only", nargs="+", choices=parts, default=[], metavar="PART", help=", ".join(parts))
    options = parser.parse_args()
    if options.smoke and options.out == Path(__file__).parent / "results":
        parser.error("--smoke needs --out: it would overwrite the results that are kept with the code")
    torch.set_num_threads(1)
    start = time.monotonic()
    results = measure(
        options.smoke,
        lambda line: print(f"{time.monotonic() - start:6.0f} s  {line}", file=sys.stderr),
        options.only,
    )
    command = "python benchmarks/convergence.py" + (" --smoke --out DIR" if options.smoke else "")
    environment = f"torch {torch.__version__}, float64, {platform.machine()}"
    if options.only:
        results, command, environment = joined(results, options.out / "convergence.json", options.only)
    write(results, options.out, command, environment)
    print(options.out / "convergence.md")


def joined(found: dict[str, Any], file: Path, only: list[str]) -> tuple[dict[str, Any], str, str]:
    """(results, command, environment) of the file, with some parts as they were found now."""
    kept = json.loads(file.read_text(encoding="utf-8"))
    again = kept.get("measured again", {}) | {
        part: " ".join(["python benchmarks/convergence.py", *sys.argv[1:]]) for part in only
    }
    results = {name: kept[name] | found[name] for name in found} | {"measured again": again}
    return results, kept["command"], kept["environment"]


if __name__ == "__main__":
    main()
