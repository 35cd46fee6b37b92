"""`--gate-every`: gates on the way, and the state that is kept because it does best at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from torch.nn import Module

from ofmu.cli.evidence import decided
from ofmu.cli.gating import as_saved, case_for
from ofmu.cli.given import Given
from ofmu.cli.job import Progress
from ofmu.cli.say import note
from ofmu.core import vectors
from ofmu.core.vectors import Vector
from ofmu.engine.checkpoint import random_state, set_random_state
from ofmu.engine.measuring import sample_losses
from ofmu.engine.models import LoadedModel
from ofmu.evidence.case import Case, Memory, some
from ofmu.evidence.gates import Gate, Standing, parse_gates, standing
from ofmu.evidence.plan import choose

LOOKED = 500  # rows to keep that a state's loss is taken on, at most


@dataclass(frozen=True)
class Keeper:
    """Attacks the model every so many steps and after the last, and remembers the best state.

    What unlearning starts from is no candidate. States are compared on the --heldout rows where there are some, so
    that the --test rows, which the end is judged by, have chosen nothing.
    """

    given: Given
    loaded: LoadedModel
    case: Case
    gates: Sequence[Gate]
    every: int

    def due(self, progress: Progress) -> bool:
        """After every `every`-th step and the last one, unless that state was attacked already."""
        if not progress.events:
            return False
        step = progress.events[-1]["step"]
        asked = step % self.every == 0 or progress.ended is not None
        return asked and all(look["step"] != step for look in progress.gated)

    def look(self, progress: Progress, params: Vector) -> None:
        """Attack; write what the gates say into the step's event, and its parameters down if they are the best."""
        event, before = progress.events[-1], random_state()
        try:
            stands, words = self._attacked()
        finally:
            set_random_state(before)
        event["gates"] = {**asdict(stands), "words": words}
        progress.gated.append({"step": event["step"], **event["gates"]})
        if progress.best is None or stands < Standing(**progress.best["standing"]):
            kept = vectors.copy_of(params)
            progress.best = {"step": event["step"], "standing": asdict(stands), "parameters": kept}
        note(f"step {event['step']}: {stands.missed} of {len(self.gates)} gates missed (≤ {stands.excess:.3f})")

    def _attacked(self) -> tuple[Standing, list[str]]:
        saved = as_saved(self.given.options, self.loaded)
        case = replace(self.case, model=saved.module)
        _, outcomes = decided(case, choose(case, [gate.group for gate in self.gates]), self.gates)
        kept = sample_losses(saved.module, some(self.given.request.parts.retain, LOOKED), case.loss)
        return standing(outcomes, float(kept.mean())), [outcome.words for outcome in outcomes]


def keeper_of(given: Given, loaded: LoadedModel) -> Keeper | None:
    """The keeper that the options ask for; None where they ask for none."""
    options, request = given.options, given.request
    if options.gate is None or options.gate_every is None:
        return None
    unseen = request.parts.heldout if request.parts.heldout is not None else request.test
    assert unseen is not None  # `check_rows` has seen to it
    case = replace(case_for(given, loaded, unseen), memory=Memory())
    return Keeper(given, loaded, case, parse_gates(options.gate), options.gate_every)


def back_to_best(progress: Progress, module: Module) -> None:
    """Set the trained parameters of `module` to the best state, where one is remembered."""
    if progress.best is not None:
        trained = [p for p in module.parameters() if p.requires_grad]
        vectors.assign(trained, progress.best["parameters"])
