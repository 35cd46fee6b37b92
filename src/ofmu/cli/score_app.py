"""`ofmu score`: scores of public benchmarks, from logs or of a model. Heavy modules are imported when one runs."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from ofmu.cli.exits import MEANINGS
from ofmu.cli.options import DATA, OUTPUT, Machine, Replace
from ofmu.cli.score_models import mmlu, muse, probes, wmdp

score = App(name="score", help="Scores of public benchmarks: from logs, or of a model.", help_format="markdown")
for command in (wmdp, mmlu, probes, muse):
    score.command(command)


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
    overwrite: Replace = False,
    json: Machine = False,
) -> int:
    """Model utility with its nine parts, and forget quality, from a TOFU log: the numbers of the public scripts.

    Truth ratio: exp(mean loss of the wrong answers − loss of the paraphrased answer), losses per token. Model
    utility: harmonic mean of probability, ROUGE-L recall and truth ratio on retain, real authors and world facts.
    Forget quality: p of a two-sample KS test of the truth ratios on the forget questions. Intervals: 95 %
    bootstrap over questions.
    """
    from ofmu.cli.score import tofu as run

    return run(log, retain_log, out, overwrite, json)
