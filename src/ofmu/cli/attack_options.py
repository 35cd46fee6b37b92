"""The options of `ofmu attack`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import Parameter

from ofmu.cli.options import DATA, HOW, MODEL, OUTPUT, Alike, AllRows, ForgetIds, Machine, MaxLength, Replace


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AttackOptions:
    """Everything `ofmu attack` is told."""

    model: Annotated[
        str, Parameter(group=MODEL, help="The unlearned model: a directory (also the OUT of unlearn) or a hub id.")
    ]
    original: Annotated[
        str | None,
        Parameter(group=MODEL, help="The model before unlearning: the control that attacks must find."),
    ] = None
    retrain: Annotated[
        list[str],
        Parameter(
            group=MODEL, help="A model retrained without the forget rows; several times for several.", negative=""
        ),
    ] = field(default_factory=list)
    base: Annotated[
        str | None,
        Parameter(group=MODEL, help="Text: the model from before fine-tuning, for the reference attack."),
    ] = None
    forget: Annotated[str | None, Parameter(group=DATA, help="Rows that were to be forgotten.")] = None
    retain: Annotated[str | None, Parameter(group=DATA, help="Rows that were to be kept.")] = None
    heldout: Annotated[
        str | None, Parameter(group=DATA, help="Rows like the forgotten ones that no model was trained on.")
    ] = None
    unrelated: Annotated[
        str | None,
        Parameter(
            group=DATA,
            help="Rows of another topic, in no other file: relearning trains on them. Default: half of --heldout.",
        ),
    ] = None
    alike: Alike = False
    data: AllRows = None
    forget_ids: ForgetIds = None
    forget_where: Annotated[str | None, Parameter(group=DATA, help="With --data: all rows with column=value.")] = (
        None
    )
    max_length: MaxLength = None
    probes: Annotated[
        str | None,
        Parameter(
            group=DATA,
            help="Text: hard questions for elicit: a file with the columns question, answer, probe (a name, such "
            "as multi-hop) and about (forget or heldout); or made: of rows about the demo's people.",
        ),
    ] = None
    attacks: Annotated[
        str | None,
        Parameter(
            group=HOW,
            help="Which, such as mia,relearn. mia: what answers give away; relearn: training on a few rows; "
            "quantise: 8 and 4 bits; adapter: taken off, bfloat16; interpolate: towards the original; gradnorm: "
            "gradients; disturb: pruning, noise; inside: probes, logit lens, CKA, ablation; text: elicit: other "
            "ways to ask; with shadow models: u-lira, lira; images: klom. Default: all that the budget allows, "
            "those with shadows only with a --budget.",
        ),
    ] = None
    budget: Annotated[
        float | None,
        Parameter(
            group=HOW,
            help="Most gradient-equivalents (forward and backward of a batch: 256 images or 16 texts) on all "
            "models together. The strongest attacks that fit are run; what is left out is listed.",
        ),
    ] = None
    shadows: Annotated[
        int | None,
        Parameter(
            group=HOW,
            help="Models that u-lira, lira and klom (a side) train: an even number of at least 8. Default: 16, or "
            "as many as the budget pays for, at most 64. They are kept in $OFMU_STORE (~/.cache/ofmu).",
        ),
    ] = None
    jobs: Annotated[int, Parameter(group=HOW, help="Processes that train them, one thread each.")] = 1
    gate: Annotated[
        str | None,
        Parameter(
            group=HOW, help="Attacks that must find nothing (mia), or limits to be shown (mia=0.1); else exit 5."
        ),
    ] = None
    seed: Annotated[int, Parameter(group=HOW, help="Seed of every random choice.")] = 0
    out: Annotated[str | None, Parameter(group=OUTPUT, help="Folder for evidence.json and report.html.")] = None
    overwrite: Replace = False
    json: Machine = False
