"""`ofmu evaluate`: the scores of a model as it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from ofmu.cli.exits import DONE
from ofmu.cli.kept_view import kept_look
from ofmu.cli.loading import check_finite, check_length, files_of, load_like, model_path
from ofmu.cli.options import EvaluateOptions
from ofmu.cli.places import file_to_write
from ofmu.cli.say import note, print_json
from ofmu.cli.scoring import Scorer, score
from ofmu.engine.models import load_model
from ofmu.engine.requests import load_request
from ofmu.errors import UserError
from ofmu.report.model import RETRAIN
from ofmu.report.scores import write_scores
from ofmu.report.table import print_scores


def evaluate(options: EvaluateOptions) -> int:
    """Measure and print; see `EvaluateOptions`."""
    _check(options)
    out = None if options.out is None else file_to_write(options.out, options.overwrite)
    files = files_of(options)
    loaded = load_model(model_path(options.model))
    check_finite(loaded.module, options.model)
    request = load_request(loaded, files, options.max_length)
    for text in (*loaded.notes, *request.notes):
        note(text)
    scorer, gold = Scorer(request), None
    if options.retrain is not None:
        gold = kept_look(scorer, load_like(loaded, options.retrain, "--retrain").module)
    task = Path(options.forget or str(options.data)).stem
    rows = score(task, options.name, options.seed, scorer.look(loaded.module), gold)
    if gold is not None:
        rows += score(task, RETRAIN, options.seed, gold, gold)
    if out is not None:
        write_scores(out, rows, {"model": options.model})
        note(f"{out} written")
    if options.json:
        print_json({"rows": [asdict(row) for row in rows]})
    else:
        print_scores(rows, console=Console())
    return DONE


def _check(options: EvaluateOptions) -> None:
    """UserError for numbers and names that cannot be, before anything is loaded."""
    if options.seed < 0:
        raise UserError(f"--seed: found {options.seed}, expected 0 or more")
    if not options.name.strip() or (options.name == RETRAIN and options.retrain is not None):
        raise UserError(
            f"--name: found {options.name!r}, expected words that tell the model from --retrain, such as Model"
        )
    check_length(options.max_length)
