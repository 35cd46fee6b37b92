"""`ofmu bench`: tasks, methods, references and seeds, as one report. Heavy modules are imported when one runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from ofmu.cli.bench_costs import PARETO, TARGETS, bench_pareto, bench_targets
from ofmu.cli.exits import MEANINGS
from ofmu.cli.tofu_options import TofuOptions

bench = App(name="bench", help="Run a benchmark: tasks, methods, references and seeds, as one report.")
bench.command(bench_pareto, name="pareto", help_epilogue=PARETO)
bench.command(bench_targets, name="targets", help_epilogue=TARGETS)


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
    seed_numbers: Annotated[
        list[int] | None,
        Parameter(help="Images: these seeds, in place of the first SEEDS.", negative="", consume_multiple=True),
    ] = None,
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

    options = VisionOptions(
        tuple(forget or ()),
        model,
        tuple(methods or ()),
        scale,
        trials,
        ensemble,
        data,
        size,
        tuple(seed_numbers or ()),
    )
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
