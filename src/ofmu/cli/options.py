"""The options that commands share, grouped as `--help` shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from cyclopts import Group, Parameter

MODEL = Group("Model", sort_key=1)
DATA = Group(
    "Data",
    sort_key=2,
    help="JSON lines, JSON, CSV or parquet, a directory or hub id; images: parquet or class folders.",
)
HOW = Group("How", sort_key=3)
RUN = Group("Run", sort_key=4)
OUTPUT = Group("Output", sort_key=5)

# what several commands are told in the same words
RetrainModel = Annotated[
    str | None, Parameter(group=MODEL, help="A model retrained without the forget rows, to compare with.")
]
RetrainModels = Annotated[
    list[str],
    Parameter(
        group=MODEL,
        help="A model retrained without the forget rows, to compare with; several times for several: the first is "
        "compared with in the scores, gates compare with all.",
        negative="",
    ),
]
AllRows = Annotated[
    str | None, Parameter(group=DATA, help="One file with all rows, instead of --forget and --retain.")
]
ForgetIds = Annotated[str | None, Parameter(group=DATA, help="With --data: file of ids to forget, one a line.")]
MaxLength = Annotated[
    int | None,
    Parameter(group=DATA, help="Text: tokens a row at most. Default: as the model was trained, else 512."),
]
Alike = Annotated[
    bool,
    Parameter(
        group=DATA,
        help="The forgotten and the unseen rows were drawn at random, row by row, from one pool (not: whole "
        "classes, people or documents). Attacks then compare with retrained models more sharply.",
        negative="",
    ),
]
Resume = Annotated[
    bool, Parameter(group=RUN, help="Go on from the last checkpoint of the same command.", negative="")
]
Overwrite = Annotated[
    bool, Parameter(group=OUTPUT, help="Replace OUT, or discard an interrupted run of it.", negative="")
]
Replace = Annotated[bool, Parameter(group=OUTPUT, help="Replace what is at OUT already.", negative="")]
Machine = Annotated[
    bool, Parameter(group=OUTPUT, help="Print one JSON object on stdout, and nothing else there.", negative="")
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class UnlearnOptions:
    """Everything `ofmu unlearn` is told; it is written to OUT/config.json."""

    model: Annotated[
        str,
        Parameter(group=MODEL, help="Model to unlearn from: a directory, package:NAME, a .gguf file or a hub id."),
    ]
    base: Annotated[
        str | None,
        Parameter(group=MODEL, help="Text: the model from before fine-tuning. Says what an unseen text costs."),
    ] = None
    retrain: RetrainModels = field(default_factory=list)
    trainable: Annotated[
        str,
        Parameter(
            group=MODEL,
            help="What is trained: full, top:K (last K blocks or layers), lora:R (of rank R), lora:R,top:K.",
        ),
    ] = "full"
    merge: Annotated[
        bool, Parameter(group=MODEL, help="Under lora:R, save a whole model; --no-merge saves the adapter alone.")
    ] = True
    forget: Annotated[str | None, Parameter(group=DATA, help="Rows to forget.")] = None
    retain: Annotated[str | None, Parameter(group=DATA, help="Rows to keep.")] = None
    heldout: Annotated[
        str | None,
        Parameter(group=DATA, help="Rows the model was never trained on; they say how unseen data looks."),
    ] = None
    test: Annotated[
        str | None,
        Parameter(group=DATA, help="Unseen rows for the table only (test accuracy); never used for targets."),
    ] = None
    data: AllRows = None
    forget_ids: ForgetIds = None
    forget_where: Annotated[
        str | None, Parameter(group=DATA, help="With --data: forget all rows with column=value.")
    ] = None
    max_length: MaxLength = None
    alike: Alike = False
    method: Annotated[
        str,
        Parameter(
            group=HOW,
            help="ofmu, ofmu-both (both of the paper's terms, safeguarded), ofmu-paper (as printed), "
            "finetune, gradascent, graddiff, graddiff-bounded (stops at the unseen level), "
            "kl, npo, simnpo; text: ofmu-matched (ofmu with three more terms, on trial), idkdpo (prefers "
            "refusals), undial (self-distillation), rmu (misdirects a layer); images: neggrad-plus, randomlabel, "
            "salun (random labels, salient weights), scrub, ssd and iu "
            "(one step each); gradient rules: upgrad, and with ofmu[torchjd] pcgrad, mgda.",
        ),
    ] = "ofmu"
    budget: Annotated[
        float | str | None,
        Parameter(
            group=HOW,
            help="Most that may be spent, targets included: 5% of retraining, or a number of "
            "gradient-equivalents (forward and backward of a batch: 256 images or 16 texts). Default: 40% "
            "(images) or 80% (text), at least 100 gradients. ofmu stops earlier, once the target holds, and says "
            "what it did not reach.",
        ),
    ] = None
    steps: Annotated[
        int | None, Parameter(group=HOW, help="Most steps of the method. Default: as many as the budget allows.")
    ] = None
    targets: Annotated[
        str | None,
        Parameter(
            group=HOW,
            help="What says how far to forget, in place of ofmu's head start, which has its own. Images: "
            "reset (default of the others), constant, rank-quantile, reference, "
            "reference-own, head, head-short, head-ranked, neighbours, kernel, neighbours-pixels, kernel-pixels; "
            "text: base-tuned (default with --base where a tenth of the budget pays for it), base (default "
            "where not), reference, reference-own, constant, alike.",
        ),
    ] = None
    lr: Annotated[
        float | None,
        Parameter(
            group=HOW,
            help="Learning rate. Of the ofmu methods it is the repair's (outer loop): ofmu's ascents (inner loop) "
            "scale with it, ofmu-paper's stay at 0.01; ofmu's head start on images goes by the rate that the "
            "model was trained at. Default: the method's preset (ofmu: 0.002 for images, 0.13 / model width for "
            "text, 5 times that under lora:R; ofmu-paper: 0.01).",
        ),
    ] = None
    seed: Annotated[int, Parameter(group=HOW, help="Seed of every random choice.")] = 0
    autocast: Annotated[
        bool,
        Parameter(
            group=HOW,
            help="First-order passes in bfloat16: faster for large models on CPUs that have it.",
            negative="",
        ),
    ] = False
    parallel: Annotated[
        Literal["none", "ddp", "fsdp2"] | None,
        Parameter(
            group=RUN,
            help="Several processes, started by torchrun or accelerate launch: ddp (each holds the model, batches "
            "are shared) or fsdp2 (the model is shared as well; differenced curvature). Default: ddp where "
            "several were started.",
        ),
    ] = None
    micro_batch: Annotated[
        int | None,
        Parameter(group=RUN, help="Most rows a process runs at once, to save memory; the step is the same."),
    ] = None
    gate: Annotated[
        str | None,
        Parameter(
            group=RUN,
            help="Attacks at the end that must find nothing, such as relearn,quantise,mia (see ofmu attack), or "
            "with a limit on the leak that must be shown: mia=0.1 (difference in AUC). Exit code 5 where one is "
            "missed.",
        ),
    ] = None
    gate_every: Annotated[
        int | None,
        Parameter(
            group=RUN,
            help="With --gate: attack every so many steps too, and keep the state that does best at the gates "
            "(fewest missed, then the least excess, then the least loss on rows to keep), not the last one.",
        ),
    ] = None
    checkpoint_every: Annotated[int, Parameter(group=RUN, help="Steps between checkpoints.")] = 10
    resume: Resume = False
    out: Annotated[str, Parameter(group=OUTPUT, help="Folder to write; it appears whole or not at all.")]
    overwrite: Overwrite = False
    show_forgotten: Annotated[
        bool, Parameter(group=OUTPUT, help="Allow forgotten text in the report (research only).", negative="")
    ] = False
    json: Machine = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Everything `ofmu evaluate` is told."""

    model: Annotated[
        str,
        Parameter(
            group=MODEL, help="Model to measure: a directory (also the OUT of unlearn), package:NAME or a hub id."
        ),
    ]
    retrain: RetrainModel = None
    name: Annotated[str, Parameter(group=MODEL, help="What the table calls the model.")] = "Model"
    forget: Annotated[str | None, Parameter(group=DATA, help="Rows that were to be forgotten.")] = None
    retain: Annotated[str | None, Parameter(group=DATA, help="Rows that were to be kept.")] = None
    heldout: Annotated[str | None, Parameter(group=DATA, help="Rows the model was never trained on.")] = None
    test: Annotated[str | None, Parameter(group=DATA, help="Unseen rows for test accuracy.")] = None
    data: AllRows = None
    forget_ids: ForgetIds = None
    forget_where: Annotated[str | None, Parameter(group=DATA, help="With --data: all rows with column=value.")] = (
        None
    )
    max_length: MaxLength = None
    seed: Annotated[int, Parameter(group=OUTPUT, help="Seed written beside the scores.")] = 0
    out: Annotated[str | None, Parameter(group=OUTPUT, help="File for the scores (JSON).")] = None
    overwrite: Replace = False
    json: Machine = False
