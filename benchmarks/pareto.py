"""One picture of quality against cost: python benchmarks/pareto.py RESULTS.json --out PNG [--task NAME …]."""

from __future__ import annotations

import argparse
from pathlib import Path

from ofmu.benchmarks.pareto.page import picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="pareto.json as `ofmu bench pareto` writes it")
    parser.add_argument("--out", type=Path, required=True, help="the PNG to write, such as docs/pareto.png")
    parser.add_argument("--task", nargs="*", default=[], help="a line of panels each; the first by default")
    parser.add_argument("--metric", nargs="*", default=["gap", "PS"], help="a panel each")
    options = parser.parse_args()
    print(picture(options.results, options.out, options.task, options.metric))


if __name__ == "__main__":
    main()
