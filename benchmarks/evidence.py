"""What attacks find of several methods on one small image task: a table of methods × attacks with errors.

python benchmarks/evidence.py [--smoke] [--out DIR] [--seed N]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from ofmu.benchmarks.experiment import Budget, run_method
from ofmu.benchmarks.study import NAMES, environment
from ofmu.data.digits import DigitsSplit, digits
from ofmu.engine.networks import build
from ofmu.engine.prepare import Parts, Sources, prepare
from ofmu.engine.training import Recipe, trained
from ofmu.evidence.case import Case
from ofmu.evidence.outcome import Evidence, evidence_of
from ofmu.evidence.plan import choose, run
from ofmu.losses import class_nll
from ofmu.methods import build_method
from ofmu.report.scores import write_text

METHODS = ("ofmu", "npo", "graddiff", "finetune")
ATTACKS = ("mia", "relearn", "quantise", "interpolate", "disturb")
SHARE = 0.4  # of one retraining: every method's budget
RECIPE = Recipe(epochs=40, lr=4e-3)
THIRD = "a third retraining"
ABOUT = """A tenth of the digits is forgotten (labels 20 % wrong in every part, so that memory shows); every
method has the same budget, {share:.0%} of one retraining. Each cell is the attack's AUC minus its mean AUC on
two retrained models, ± its standard error: above 0 remembered, below over-forgotten. **Bold**: detected at 5
%, corrected for all attacks on that model. *blind*: the attack does not find the original either. Steps: of
training on kept rows, until the forgotten rows are midway between Retrain's loss and the original's. Unseen
rows are the test set; targets were made from others. One seed, one small network: it says which methods only
look forgotten *here*."""


def models(split: DigitsSplit, recipe: Recipe, seed: int, methods: tuple[str, ...]) -> dict[str, torch.nn.Module]:
    """Original, three retrainings, and every method's result."""

    def train(k: int) -> torch.nn.Module:
        model = build("digits-cnn", {}, seed + 700 * k)
        trained(model, split.retain if k else split.train, class_nll, replace(recipe, seed=seed + 700 * k))
        return model

    found = dict(zip(("original", "first", "second", THIRD), map(train, range(4)), strict=True))
    parts = Parts(split.forget, split.retain, split.heldout)
    for name in methods:
        method = build_method(name, "image")
        batch = None if name == "ofmu" else recipe.batch
        prepared = prepare(found["original"], "image", parts, method, Sources(recipe=recipe), seed, batch=batch)
        budget = Budget(SHARE * recipe.epochs * len(split.retain))
        found[NAMES[name]] = run_method(found["original"], prepared, parts, method, budget).model
    return found


def attacked(
    found: dict[str, torch.nn.Module], split: DigitsSplit, recipe: Recipe, seed: int
) -> dict[str, Evidence]:
    """The evidence of every model but the two retrained ones that all are compared with."""
    parts, gold, said = Parts(split.forget, split.retain, split.test), (found["first"], found["second"]), {}
    for name, model in found.items():
        if name not in ("first", "second"):
            print(name, file=sys.stderr)
            case = Case("image", model, parts, gold, found["original"], recipe=recipe, seed=seed)
            plan = choose(case, ATTACKS)
            said[name] = evidence_of(case, plan, [each for _, group in run(case, plan) for each in group])
    return said


def table(said: dict[str, Evidence]) -> list[str]:
    """Markdown: an attack a line, a model a column."""
    names = [each.attack for each in next(iter(said.values())).findings]
    lines = ["| attack | " + " | ".join(said) + " |", "|---" * (len(said) + 1) + "|"]
    for i, attack in enumerate(names):
        cells = []
        for evidence in said.values():
            each = evidence.findings[i]
            if each.leak is None or each.against is None:
                cells.append(f"not tested: {each.missing}")
                continue
            text = f"{each.leak:+.3f} ± {each.against.error:.3f}"
            verdict = each.verdict
            cells.append(
                f"*blind* {text}" if verdict == "blind" else text if verdict == "not detected" else f"**{text}**"
            )
        lines.append(f"| {attack} | " + " | ".join(cells) + " |")
    steps = []
    for evidence in said.values():
        (each,) = (each for each in evidence.findings if each.attack == "relearn-retain")
        steps.append(each.extra[-1].split(": ")[1].split(";")[0] if "steps to half" in each.extra[-1] else "–")
    return [*lines, "| steps to recover (kept rows) | " + " | ".join(steps) + " |"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--smoke", action="store_true", help="two epochs, one method: no number in it means anything"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.smoke and options.out == Path(__file__).parent / "results":
        parser.error("--smoke needs --out: it would overwrite the results that are kept with the code")
    torch.set_num_threads(1)
    recipe = replace(RECIPE, epochs=2) if options.smoke else RECIPE
    split = digits(options.seed, label_noise=0.2, forget="random:0.1")
    found = models(split, recipe, options.seed, METHODS[-1:] if options.smoke else METHODS)
    said = attacked(found, split, recipe, options.seed)
    made = "; ".join(f"{key} {value}" for key, value in environment("one thread").items())
    command = " ".join(["python benchmarks/evidence.py", *sys.argv[1:]])
    blocks = [
        "# Evidence: digits",
        f"    {command}\n\n{datetime.now(UTC).date().isoformat()}; {made}.",
        ABOUT.format(share=SHARE),
        "\n".join(f"- {line}" for line in next(iter(said.values())).before),
        "\n".join(table(said)),
    ]
    write_text(options.out / "evidence-digits.md", "\n\n".join(blocks) + "\n")


if __name__ == "__main__":
    main()
