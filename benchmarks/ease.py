"""Whether held-out images foretell what Retrain scores on the forget set: as they are, weighted by classes, and by
ease too.

python benchmarks/ease.py [--benchmarks digits …] [--forget random:0.1 decile:0 …] [--seeds 0 1 2] [--out FILE]

Of each request: Retrain's mean confidence in the labels of forgotten samples, and how far its (weighted) mean on
held-out ones is from it. Retrain saw neither, so the distance is the error of the evidence. Models are taken from
the store ($OFMU_STORE) where they are there.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

from ofmu.benchmarks.vision.bench import task_name, workshop
from ofmu.benchmarks.vision.cell import split_of
from ofmu.benchmarks.vision.references import Workshop, reference
from ofmu.benchmarks.vision.setting import setting_of
from ofmu.benchmarks.vision.split import VisionSplit
from ofmu.data.forget_request import ForgetRequest, parse_forget
from ofmu.engine.ground import Search
from ofmu.engine.matching import matched_weights, traits_of
from ofmu.engine.measuring import sample_losses
from ofmu.engine.store import Store, default_root
from ofmu.engine.work import work
from ofmu.losses import class_nll
from ofmu.report.model import RETRAIN
from ofmu.report.scores import write_text
from ofmu.tasks import Samples

COLUMNS = ("request", "Retrain on D_f", "as they are", "by classes", "and ease", "effective held-out samples")
READING = """\
Points of confidence: Retrain's mean on the forget set, and the root mean square over seeds of how far its mean on
held-out images is from that: as they are, weighted to D_f's classes, and to its ease too. Effective samples:
1 / sum of squared weights, of all held-out ones."""


def confidence(model: Module, samples: Samples) -> Tensor:
    """float64 [n], in points: the model's probabilities of the labels."""
    return 100 * (-sample_losses(model, samples, class_nll).double()).exp()


def errors_of(shop: Workshop, parts: VisionSplit, retrain: Module) -> list[float]:
    """[Retrain's mean on D_f, three errors in points (too high: above 0), effective held-out samples]."""
    allowed = Search().testing * shop.setting.share * shop.setting.recipe.epochs * len(parts.retain)
    unit = work(retrain.requires_grad_(True), parts.retain).both
    (forget, heldout), _ = traits_of(parts.retain, [parts.forget, parts.heldout], allowed * unit)
    ours, theirs = (float(confidence(retrain, parts.forget).mean()), confidence(retrain, parts.heldout))
    weights = [
        torch.full_like(theirs, 1 / len(theirs)),
        matched_weights(forget.of_classes(), heldout.of_classes()),
        matched_weights(forget, heldout),
    ]
    return [ours, *(float((w * theirs).sum()) - ours for w in weights), 1 / float(weights[-1].square().sum())]


def row_of(shop: Workshop, request: ForgetRequest, seeds: list[int]) -> str:
    """A line of the table: the mean over seeds of Retrain's, root mean squares of the errors."""
    found = []
    for seed in seeds:
        parts = split_of(shop, request, seed)
        retrain = reference(shop, parts, seed, task_name(shop.setting, request), RETRAIN)[0]
        found.append(errors_of(shop, parts, retrain))
    ours, *errors, effective = zip(*found, strict=True)
    sizes = [math.sqrt(statistics.fmean(e * e for e in each)) for each in errors]
    left = f"{statistics.fmean(effective):.0f} of {len(parts.heldout)}"
    return _line([str(request), *(f"{number:.1f}" for number in (statistics.fmean(ours), *sizes)), left])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Runs what is asked for, and writes a table a benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmarks", nargs="+", default=["digits", "fashion", "cifar10"])
    parser.add_argument("--forget", nargs="+", default=["random:0.1"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    torch.set_num_threads(1)
    store = Store(default_root(os.environ))
    command = " ".join(["python benchmarks/ease.py", *sys.argv[1:]])
    text = f"# Does ease foretell Retrain?\n\nMade by `{command}`.\n\n{READING}\n\n"
    for benchmark in given.benchmarks:
        setting = setting_of(benchmark, "cpu")
        lines = [f"## {benchmark}, seeds {given.seeds}\n", _line(COLUMNS), "|---" * len(COLUMNS) + "|"]
        for request in map(parse_forget, given.forget):
            shop = workshop(setting, request, store, lambda words: print(words, file=sys.stderr, flush=True))
            lines.append(row_of(shop, request, given.seeds))
            print(lines[-1], flush=True)
        text += "\n".join(lines) + "\n\n"
        if given.out is not None:
            write_text(given.out, text)


if __name__ == "__main__":
    main()
