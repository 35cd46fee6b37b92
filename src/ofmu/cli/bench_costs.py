"""`ofmu bench pareto` and `ofmu bench targets`: what a budget buys, and what targets are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ofmu.cli.exits import MEANINGS
from ofmu.cli.options import HOW, OUTPUT, RUN

Words = list[str] | None
Smoke = Annotated[bool, Parameter(group=RUN, help="The smallest form, to see that everything works.", negative="")]


def _several(help: str) -> Parameter:
    """An option of several words or numbers, one after another."""
    return Parameter(group=HOW, help=help, negative="", consume_multiple=True)


PARETO = f"""{MEANINGS}

Examples:

    ofmu bench pareto --data fashion --forget random:0.1 --seeds 10 --out benchmarks/results

    ofmu bench pareto --data llama --methods ofmu simnpo npo --budgets 0.1 0.2 0.5

    ofmu bench pareto --smoke
"""


def bench_pareto(
    *,
    data: Annotated[
        Words,
        _several("Some of fashion, cifar10-ci, cifar10, cifar100, digits, llama. Default: fashion cifar10-ci."),
    ] = None,
    forget: Annotated[
        Words,
        _several(
            "Images: what to forget. Default: random:0.1, class, entangled:0.5; a sub-class if there is one."
        ),
    ] = None,
    methods: Annotated[
        Words,
        _several("Which methods; settings by NAME:field=value."),
    ] = None,
    budgets: Annotated[
        list[float] | None,
        _several(
            "Shares of a retraining that a run may spend, targets, start and references included. Default: "
            "0.02 0.05 0.1 0.2 0.5."
        ),
    ] = None,
    model: Annotated[str | None, Parameter(group=HOW, help="Images: another model.")] = None,
    seeds: Annotated[int, Parameter(group=RUN, help="Seeds of each run.")] = 3,
    trials: Annotated[
        int,
        Parameter(
            group=RUN,
            help="Tuning trials of every method but ofmu, at each budget, on development forget sets; 1: presets.",
        ),
    ] = 1,
    smoke: Smoke = False,
    out: Annotated[Path, Parameter(group=OUTPUT, help="Folder to write.")] = Path("runs/bench/pareto"),
) -> int:
    """Quality against cost: every method at every budget, beside independent retrainings and the original.

    OUT gets pareto.md and pareto.json as runs end, figures/ after every seed, report.html at the end. Models and
    runs stay in the store ($OFMU_STORE) and serve all budgets: what was stopped goes on from there.
    """
    from ofmu.benchmarks.pareto.bench import Plan
    from ofmu.cli.studies import pareto as run

    usual = Plan()
    plan = Plan(
        tuple(data or usual.data),
        tuple(forget or ()),
        tuple(methods or ()),
        tuple(budgets or usual.budgets),
        model,
        seeds,
        trials,
        smoke,
    )
    return run(plan, out)


TARGETS = f"""{MEANINGS}

Examples:

    ofmu bench targets --data digits fashion --seeds 3 --out benchmarks/results

    ofmu bench targets --smoke
"""


def bench_targets(
    *,
    data: Annotated[
        Words,
        _several("Some of digits, fashion, cifar10, llama (these by default), cifar10-ci, cifar100."),
    ] = None,
    forget: Annotated[
        Words,
        _several("Images: what to forget. Default: random:0.1."),
    ] = None,
    sources: Annotated[
        Words,
        _several("Which sources of targets. Default: all."),
    ] = None,
    seeds: Annotated[int, Parameter(group=RUN, help="Seeds of each source.")] = 3,
    smoke: Smoke = False,
    out: Annotated[Path, Parameter(group=OUTPUT, help="Folder to write.")] = Path("runs/bench/targets"),
) -> int:
    """What targets are worth: each source beside a retrained model's losses on the forget samples, with its cost.

    OUT gets targets.md and targets.json after every seed, report.html at the end. Models and estimates stay in the
    store ($OFMU_STORE): what was stopped goes on from there.
    """
    from ofmu.benchmarks.targets.bench import Plan
    from ofmu.cli.studies import targets as run

    usual = Plan()
    plan = Plan(tuple(data or usual.data), tuple(forget or usual.forget), tuple(sources or ()), seeds, smoke)
    return run(plan, out)
