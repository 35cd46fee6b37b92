"""The last words of `ofmu unlearn`: the table, the verdict, the exit code."""

from __future__ import annotations

from ofmu.cli.exits import DONE, GATE_MISSED, NOT_REACHED
from ofmu.cli.options import UnlearnOptions
from ofmu.cli.result import Result
from ofmu.cli.say import NOTES, print_json
from ofmu.engine.launched import Processes


def finish(result: Result, options: UnlearnOptions, processes: Processes) -> int:
    """Say what came out, in the first process alone; the exit code."""
    from ofmu.report.table import print_scores

    code = NOT_REACHED if result.missed else DONE
    if any(not outcome.held for outcome in result.outcomes):
        code = GATE_MISSED
    if not processes.leads:
        return code
    if options.json:
        print_json(result.summary(code))
    else:
        from rich.console import Console

        print_scores(result.rows, [result.cost], Console())
        print("\n".join(result.verdict))
        for outcome in result.outcomes:
            print(f"Gate {outcome.words}")
        print(f"{options.out}: {', '.join(result.written)}")
    if result.missed:
        NOTES.print(f"Not reached: {'; '.join(result.missed)}. More --budget (or --steps) may help.", markup=False)
    return code
