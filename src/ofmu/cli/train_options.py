"""The options of `ofmu train`, grouped as `--help` shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from ofmu.cli.options import DATA, HOW, MODEL, OUTPUT, RUN, Machine, Overwrite, Resume


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Everything `ofmu train` is told."""

    model: Annotated[
        str,
        Parameter(
            group=MODEL,
            help="Where to start: a model directory, package:NAME, a .gguf file, a hub id; or from scratch: "
            "digits-cnn, cifar-resnet, tiny-llama.",
        ),
    ]
    trainable: Annotated[
        str,
        Parameter(
            group=MODEL,
            help="What is trained: full, top:K, lora:R or lora:R,top:K (merged into the model when saved).",
        ),
    ] = "full"
    from_scratch: Annotated[
        bool,
        Parameter(
            name=("--from-scratch", "--base-from-scratch"),
            group=MODEL,
            help="Take only the architecture and tokenizer of --model, with new weights.",
            negative="",
        ),
    ] = False
    data: Annotated[str, Parameter(group=DATA, help="Training rows.")]
    max_length: Annotated[
        int | None, Parameter(group=DATA, help="Text: tokens a row at most. Default: 512 (tiny-llama: 256).")
    ] = None
    vocabulary: Annotated[
        int, Parameter(group=DATA, help="tiny-llama: size of the tokenizer that is trained on the data.")
    ] = 2048
    epochs: Annotated[
        float | None,
        Parameter(group=HOW, help="Passes over the data. Default: 50 images, 18 tiny-llama, 10 pretrained text."),
    ] = None
    lr: Annotated[
        float | None,
        Parameter(group=HOW, help="Learning rate. Default: 2e-3 images, 2.5e-3 tiny-llama, 3e-4 pretrained text."),
    ] = None
    batch: Annotated[int | None, Parameter(group=HOW, help="Rows a batch. Default: 64 images, 8 texts.")] = None
    seed: Annotated[int, Parameter(group=HOW, help="Seed of weights and of the order of rows.")] = 0
    autocast: Annotated[
        bool,
        Parameter(group=HOW, help="Train in bfloat16 where that is faster; weights stay float32.", negative=""),
    ] = False
    checkpoint_every: Annotated[int, Parameter(group=RUN, help="Steps between checkpoints.")] = 100
    resume: Resume = False
    out: Annotated[str, Parameter(group=OUTPUT, help="Model directory to write; it appears whole or not at all.")]
    overwrite: Overwrite = False
    json: Machine = False
