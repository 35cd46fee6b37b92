"""How `ofmu attack` would make more models like the one it attacks: from training.json and config.json."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from ofmu.cli.attack_options import AttackOptions
from ofmu.cli.given import method_of, width_of
from ofmu.cli.job import gradient
from ofmu.cli.loading import model_path
from ofmu.cli.say import note
from ofmu.engine.provenance import SCRATCH, read_provenance
from ofmu.engine.store import default_root
from ofmu.errors import UserError
from ofmu.evidence.case import Case
from ofmu.evidence.ensembles import FEWEST
from ofmu.evidence.shadows import Setup, Unlearning
from ofmu.tasks import Kind


def with_shadows(case: Case, options: AttackOptions) -> Case:
    """The case with a way to make shadows; without one where nothing says how all of the model was trained."""
    if options.shadows is not None and (options.shadows < FEWEST or options.shadows % 2):
        raise UserError(f"--shadows: found {options.shadows}, expected an even number of at least {FEWEST}")
    if options.jobs < 1:
        raise UserError(f"--jobs: found {options.jobs}, expected at least 1")
    provenance = read_provenance(model_path(options.original or options.model))
    if provenance is None or provenance.trainable != "full":
        return case
    scratch = provenance.init == SCRATCH
    template = case.model if scratch else case.base
    if template is None:
        return case
    how = unlearning_of(options.model, case.kind, provenance.recipe.batch, width_of(case.model))
    root = default_root(os.environ)
    return replace(case, shadows=Setup(root, template, scratch, how, options.shadows, options.jobs))


def unlearning_of(model: str, kind: Kind, batch: int, width: int | None = None) -> Unlearning | None:
    """How the model in an OUT of `ofmu unlearn` was unlearned, from its config.json; None where there is none.

    batch: that of the model's training, which one-loop methods on images take over. width: of a language model, by
    which a default rate goes. What shadows do otherwise is said.
    """
    try:
        config = json.loads((Path(model).expanduser() / "config.json").read_text(encoding="utf-8"))
        given, budget = config["arguments"], float(config["budget_gradients"])
        if given["trainable"] != "full":
            return None
        method = method_of(given["method"], kind, given["lr"], width)
        one_loop = kind == "image" and not given["method"].startswith("ofmu")
        steps, targets = given["steps"] or 1_000_000, given["targets"]
        for name in ("gate_every", "autocast"):
            if given.get(name):
                note(f"shadows unlearn as {model} did, but without --{name.replace('_', '-')}")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Unlearning(method, budget * gradient(kind), batch if one_loop else None, steps, targets)
