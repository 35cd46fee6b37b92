"""`ofmu score`: numbers from logs that other tools wrote; no model is loaded."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ofmu.benchmarks.tofu_export import LOGS, eval_metrics, write_eval_logs
from ofmu.benchmarks.tofu_score import TofuScores, score_log
from ofmu.cli.exits import DONE
from ofmu.cli.places import folder_to_write
from ofmu.cli.say import note, print_json
from ofmu.data.tofu_logs import SETS, AggregatedLog, read_tofu_log
from ofmu.errors import UserError


def tofu(log: str, retain_log: str | None, out: str | None, overwrite: bool, machine: bool) -> int:
    """Read, score, print; and write the newer layout to `out`."""
    folder = None if out is None else folder_to_write(out, LOGS, overwrite)
    needed = SETS if retain_log is None else ("forget",)  # the forget quality needs no other
    found = read_tofu_log(log, tuple(needed), also=tuple(SETS))
    retain = None if retain_log is None else read_tofu_log(retain_log, sets=("forget",))
    scores = score_log(found, retain)
    for warning in scores.warnings:
        note(warning)
    if folder is not None:
        if not isinstance(found, AggregatedLog):
            raise UserError(f"--out: {log} is in the newer layout already; expected an eval_log_aggregated.json")
        for path in write_eval_logs(folder, eval_metrics(found, scores)):
            note(f"{path} written")
    if machine:
        print_json(scores.summary())
    else:
        Console().print(_table(scores))
    return DONE


def _table(scores: TofuScores) -> Table:
    table = Table("score", "value", "95 % interval", "questions")
    utility = {} if scores.utility is None else {"model_utility": scores.utility}
    for name, value in {**utility, **scores.means}.items():
        low_high = scores.intervals.get(name)
        interval = "" if low_high is None else f"{low_high[0]:.4f} to {low_high[1]:.4f}"
        column = scores.columns.get(name)
        table.add_row(name, f"{value:.4f}", interval, "" if column is None else str(len(column.ids)))
    if scores.quality is not None:
        n = str(scores.quality.n_unlearned)
        if scores.quality.n_retrained != scores.quality.n_unlearned:
            n = f"{n} against {scores.quality.n_retrained}"
        table.add_row("forget_quality (KS p)", f"{scores.quality.p:.4g}", "", n)
        table.add_row("ks_statistic (D)", f"{scores.quality.statistic:.4f}", "", n)
    elif scores.recorded_quality is not None:
        table.add_row("forget_quality (KS p), as recorded", f"{scores.recorded_quality:.4g}", "", "")
    return table
