"""Multiple choice from the command line: load, ask, print."""

from __future__ import annotations

from collections.abc import Sequence

from ofmu.benchmarks.choices import ChoiceView, choice_row, damage_row
from ofmu.benchmarks.harness import harness_view
from ofmu.cli.exits import DONE
from ofmu.cli.loading import check_finite, model_path
from ofmu.cli.show import MODEL_NAME, show_rows
from ofmu.data.choices import ChoiceSet
from ofmu.engine.models import load_model
from ofmu.report.model import ORIGINAL, ScoreRow


def score_choices(
    sets: Sequence[ChoiceSet], model: str, original: str | None, shots: int, limit: int | None, machine: bool
) -> int:
    """One row per set and model, and for general knowledge the damage where there is an original."""
    asked = [found.spread(limit) for found in sets]
    before = None if original is None else _ask(original, asked, shots)
    after = _ask(model, asked, shots)
    rows: list[ScoreRow] = []
    for number, found in enumerate(asked):
        for name, views in ((ORIGINAL, before), (MODEL_NAME, after)):
            if views is not None:
                rows.append(choice_row(found.name, name, 0, views[number], found.higher_is_better))
        if before is not None and found.higher_is_better:
            rows.append(damage_row(found.name, MODEL_NAME, 0, before[number], after[number]))
    show_rows(rows, machine)
    return DONE


def _ask(model: str, asked: Sequence[ChoiceSet], shots: int) -> list[ChoiceView]:
    loaded = load_model(model_path(model))
    check_finite(loaded.module, model)
    return [harness_view(loaded, found, shots) for found in asked]
