"""What each part of OFMU's image default is worth: an ablation at several budgets, beside the floor.

python benchmarks/ofmu_image.py [--benchmarks fashion cifar10 digits] [--forget random:0.1 class]
    [--budgets .05 .1 .3] [--seeds 0 1] [--development] [--floor] [--out FILE]

Presets all through: nothing is tuned. --development: the sets that tuning uses, instead of reported seeds. Models
are taken from the store ($OFMU_STORE) where they are there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn import Module

from ofmu.benchmarks.experiment import Budget, Run, run_method
from ofmu.benchmarks.image_choices import parse_choice
from ofmu.benchmarks.image_scores import ImageView, image_rows, view_image
from ofmu.benchmarks.image_study import ImageRequest, run_choice
from ofmu.benchmarks.vision.bench import task_name, workshop
from ofmu.benchmarks.vision.cell import split_of
from ofmu.benchmarks.vision.references import Workshop, reference
from ofmu.benchmarks.vision.runs import request_of
from ofmu.benchmarks.vision.setting import setting_of
from ofmu.benchmarks.vision.split import TUNING, development_request
from ofmu.core.schedule import Relative
from ofmu.data.forget_request import ForgetRequest, parse_forget
from ofmu.engine.ground import Search
from ofmu.engine.prepare import Sources, prepare
from ofmu.engine.store import Store, default_root
from ofmu.methods import OFMU
from ofmu.report.model import FLOOR, ORIGINAL, RETRAIN

SHOWN = ("gap", "W1", "PS", "UA", "RA", "TA", "MIA")
LR = 2e-3
ARMS: dict[str, tuple[OFMU, Search]] = {  # the default, and what it is without one of its parts
    "OFMU": (OFMU.image(LR), Search()),
    "head alone (no rounds)": (replace(OFMU.image(LR), hold=0.0, rounds=0, settled=False), Search()),
    "2 layers, then rounds": (OFMU.image(LR), Search(fixed=2)),
    "no momentum": (replace(OFMU.image(LR), momentum=0.0), Search()),
    "no momentum, half the rate": (replace(OFMU.image(LR / 2), momentum=0.0), Search()),  # the default before
    "half the rate": (OFMU.image(LR / 2), Search()),
    "no brake": (replace(OFMU.image(LR), brake=None), Search()),
    "no cooling": (replace(OFMU.image(LR), cooling=0.0), Search()),
    "cooled over the last half": (replace(OFMU.image(LR), cooling=0.5), Search()),
    "a restart of any length": (OFMU.image(LR), Search(longest=1e9)),
    "a restart of one epoch at most": (OFMU.image(LR), Search(longest=1.0)),
    "no cooling, a restart of any length": (replace(OFMU.image(LR), cooling=0.0), Search(longest=1e9)),
    "a short restart for however few": (OFMU.image(LR), Search(apiece=1e9)),
    "rounds alone, from the model": (OFMU.image(LR), Search(kept=0.0, much=101.0)),
    "rate not raised": (OFMU.image(LR), Search(boost=1.0)),
    "deeper tops first": (OFMU.image(LR), Search(deepest=4)),
    "held-out data as they are, ease not asked for": (OFMU.image(LR), Search(ease=False)),
    "ease taken to be exact": (OFMU.image(LR), Search(unsure=0.0)),
    "a top however short": (OFMU.image(LR), Search(shortest=0.0)),
    "no restart of less than half an epoch": (OFMU.image(LR), Search(much=101.0)),
    "a restart however little is remembered": (OFMU.image(LR), Search(much=0.0)),
    "all samples in every epoch": (OFMU.image(LR), Search(hardest=1.0)),
    "seven tenths in later epochs": (OFMU.image(LR), Search(hardest=0.7)),
    "as sure as it came out": (OFMU.image(LR), Search(surer=0.0)),
    "as sure as the original": (OFMU.image(LR), Search(surer=1.0)),
    "tested at the end alone": (OFMU.image(LR), Search(looks=())),
    "test at level .05": (OFMU.image(LR), Search(level=0.05)),
    "128 samples compared": (OFMU.image(LR), Search(compared=128)),
    "three tenths of what is left to the restart": (OFMU.image(LR), Search(kept=0.3)),
    "half of what is left to the restart": (OFMU.image(LR), Search(kept=0.5)),
}
ROUNDS = OFMU.safeguarded(LR)
ARMS |= {  # the rounds alone ("rounds only"), with one of their defaults changed
    name: (method, Search())
    for name, method in {
        "rounds: no cooling": replace(ROUNDS, cooling=0.0),
        "rounds: no momentum": replace(ROUNDS, momentum=0.0),
        "rounds: no momentum, half the rate": replace(OFMU.safeguarded(LR / 2), momentum=0.0),
        "rounds: momentum .7": replace(ROUNDS, momentum=0.7),
        "rounds: momentum .95": replace(ROUNDS, momentum=0.95),
        "rounds: hold .7": replace(ROUNDS, hold=0.7),
        "rounds: hold .99": replace(ROUNDS, hold=0.99),
        "rounds: no slack": replace(ROUNDS, slack=0.0),
        "rounds: slack .2": replace(ROUNDS, slack=0.2),
        "rounds: repair judged by the batch": replace(ROUNDS, memory=0.0),
        "rounds: 1 at least": replace(ROUNDS, rounds=1),
        "rounds: repair of 1": replace(ROUNDS, repair=(1, 1)),
        "rounds: repair of up to 16": replace(ROUNDS, repair=(1, 16)),
        "rounds: 5 ascents": replace(ROUNDS, inner_steps=5),
        "rounds: raw ascents": replace(ROUNDS, scaling="raw", rate=0.01),
        "rounds: a third of the ascent's rate": replace(ROUNDS, rate=0.3),
        "rounds: twice the ascent's rate": replace(ROUNDS, rate=2.0),
        "rounds: end without being repaired": replace(ROUNDS, settled=False),
        "rounds: half the rate": OFMU.safeguarded(LR / 2),
        "rounds: twice the rate": OFMU.safeguarded(2 * LR),
        "rounds: from the original": replace(ROUNDS, start="original"),
        "rounds: cosine .1": replace(ROUNDS, beta=0.1),
        "rounds: penalty": replace(ROUNDS, penalty=Relative()),
    }.items()
}
OTHERS = {"rounds only": "ofmu-safeguarded", "Head 2": "head-2", "Re-init 2": "reinit-2", "NPO": "npo"}


@dataclass(frozen=True)
class Row:
    """One model's scores by metric; cost as a share of one retraining."""

    name: str
    cost: float
    scores: dict[str, float]
    notes: str = ""


def scored(
    name: str, model: Module, request: ImageRequest, gold: ImageView | None, cost: float, notes: str = ""
) -> Row:
    """A row of the table; without a Retrain to compare with (gold None), Retrain's own."""
    rows = image_rows(request.task, name, 0, view_image(model, request.parts), gold)
    return Row(name, cost, {row.metric: row.value for row in rows if row.value is not None}, notes)


def arm(name: str, original: Module, request: ImageRequest, seed: int) -> Run:
    """One of `ARMS` or `OTHERS`, at the request's budget."""
    if name in OTHERS:
        return run_choice(parse_choice(OTHERS[name]), original, request, seed)
    method, search = ARMS[name]
    sources = Sources(recipe=request.recipe)
    prepared = prepare(
        original, "image", request.data, method, sources, seed, budget=request.budget, search=search
    )
    return run_method(original, prepared, request.data, method, Budget(request.budget))


def rows_of(
    shop: Workshop,
    wanted: ForgetRequest,
    seed: int,
    budgets: Sequence[float],
    arms: Sequence[str],
    options: Options,
) -> dict[str, list[Row]]:
    """All rows of one seed: references under "", and by budget."""
    wanted = development_request(wanted, len(shop.data.classes)) if options.development else wanted
    parts = split_of(shop, wanted, seed)
    name = task_name(shop.setting, wanted)
    request = request_of(shop, parts, name, tuning=options.development)
    whole = shop.setting.recipe.epochs * len(parts.retain)
    models = {
        kind: reference(shop, parts, seed, name, kind)[0]
        for kind in (ORIGINAL, RETRAIN, *((FLOOR,) if options.floor else ()))
    }
    gold = view_image(models[RETRAIN], request.parts)
    found = {
        "": [
            scored(k, m, request, None if k == RETRAIN else gold, float(k != ORIGINAL)) for k, m in models.items()
        ]
    }
    for budget in budgets:
        at = replace(request, budget=budget * whole)
        for one in arms:
            run = arm(one, models[ORIGINAL], at, seed)
            said = "; ".join((*run.notes, run.ended))
            found.setdefault(f"{budget:g}", []).append(scored(one, run.model, at, gold, run.cost / whole, said))
            shop.say(line([found[f"{budget:g}"][-1]]) + f" {said}")
    return found


@dataclass(frozen=True)
class Options:
    """Which references are trained, on which sets."""

    development: bool
    floor: bool


def line(rows: Sequence[Row]) -> str:
    """One method over its seeds, as a line of a table: means."""
    values = [
        statistics.fmean([row.scores[m] for row in rows if m in row.scores] or [float("nan")]) for m in SHOWN
    ]
    cost = statistics.fmean(row.cost for row in rows)
    return f"| {rows[0].name} | {cost:.3f} | " + " | ".join("–" if v != v else f"{v:.2f}" for v in values) + " |"


def table(task: str, cells: Sequence[dict[str, list[Row]]]) -> str:
    """A heading and a table with all budgets of a task."""
    head = f"## {task}, {len(cells)} seed{'s' if len(cells) > 1 else ''}\n\n| | cost | {' | '.join(SHOWN)} |\n"
    text = head + "|---" * (len(SHOWN) + 2) + "|\n"
    for budget, rows in cells[0].items():
        text += f"| **budget {budget}** |" + " |" * (len(SHOWN) + 1) + "\n" if budget else ""
        text += "".join(line([cell[budget][i] for cell in cells]) + "\n" for i in range(len(rows)))
    return text


def main() -> None:
    """Runs what is asked for, and writes a table after every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmarks", nargs="+", default=["fashion"])
    parser.add_argument("--forget", nargs="+", default=["random:0.1", "class"])
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.05, 0.1, 0.3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    usual = [*(name for name in ARMS if not name.startswith("rounds: ")), *OTHERS]
    parser.add_argument("--arms", nargs="+", default=usual, help=", ".join([*ARMS, *OTHERS]))
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--floor", action="store_true", help="train a second Retrain too")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    torch.set_num_threads(1)
    store, texts = Store(default_root(os.environ)), []
    for benchmark in given.benchmarks:
        setting = setting_of(benchmark, "cpu")
        for text in given.forget:
            wanted, start = parse_forget(text), time.process_time()
            shop = workshop(setting, wanted, store, lambda words: print(words, flush=True))
            seeds = [TUNING - s for s in given.seeds] if given.development else given.seeds
            options = Options(given.development, given.floor)
            cells = [rows_of(shop, wanted, seed, given.budgets, given.arms, options) for seed in seeds]
            where = " (development sets)" if given.development else ""
            texts.append(table(f"{task_name(setting, wanted)}{where}, {setting.model}", cells))
            print(f"{texts[-1]}\n{time.process_time() - start:.0f} CPU seconds", flush=True)
            if given.out is not None:
                given.out.write_text("\n".join(texts), encoding="utf-8")


if __name__ == "__main__":
    main()
