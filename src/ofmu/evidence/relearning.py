"""Relearning: a little training that brings back rows it was *not* trained on shows that they were only hidden.

The forget rows are halved: the attacker trains on rows that say nothing, or on k of the one half, and is judged by
the other half, beside held-out rows. A retrained model that is trained in the same way says what the training
itself teaches. Source: Hu et al., "Unlearning or obfuscating?" (2024), arXiv 2406.13356 (relearning on related and
benign data); Łucki et al. (2024). Threat model: the attacker can train the model, and has those rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch.nn import Module

from ..engine.loop import Diverged
from ..engine.training import Recipe, training
from ..tasks import Samples
from .case import Case, copy_of, halves, looked, some
from .finding import Finding, Pair, judged
from .scores import loss_scores, losses_of, scores_of

On = Literal["forget", "retain", "unrelated"]
STEPS = {"image": 32, "text": 16}  # of training
BATCH = {"image": 32, "text": 8}
LEARNING_RATE = {"image": 1e-3, "text": 1e-4}  # where nobody recorded the training
FEW = 32  # forget rows that the attacker has, at most
QUESTIONS: dict[On, str] = {
    "forget": "Does training on a few forgotten rows bring back the others?",
    "retain": "Does further training on rows that were kept bring back the forgotten ones?",
    "unrelated": "Does training on new rows of the same kind bring back the forgotten ones?",
}


@dataclass(frozen=True)
class Curve:
    """One model being relearned: at each of `steps` the mean loss, in nats, of forget rows it is not trained on.

    last: the scores (`loss_scores`) of the forget and of the held-out rows after the last step.
    """

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    last: Pair

    def recovered(self, level: float) -> int | None:
        """The first looked-at step at which the mean forget loss is at or below `level` nats; None: at none."""
        found = [step for step, loss in zip(self.steps, self.losses, strict=True) if loss <= level]
        return found[0] if found else None


def relearned(case: Case, module: Module, rows: Samples, steps: int, seed: int) -> Curve:
    """Train a copy of `module` on `rows` for `steps` steps and look at it after 0, 1, 2, 4, … of them.

    The learning rate is the model's own training's (the recipe's), or 1e-3 for images and 1e-4 for text. Raises
    Diverged where the loss stops being finite.
    """
    changed = copy_of(module).requires_grad_(True)
    batch = min(BATCH[case.kind], len(rows))
    lr = LEARNING_RATE[case.kind] if case.recipe is None else case.recipe.lr
    epochs = steps / max(1, -(-len(rows) // batch))
    recipe = Recipe(epochs=epochs, batch=batch, lr=lr, rule="adamw" if case.kind == "text" else "adam", seed=seed)
    looks, losses = [0], [_forget_loss(case, changed)]
    for progress in training(changed, rows, case.loss, recipe):
        if progress.step == progress.total or progress.step & (progress.step - 1) == 0:
            looks.append(progress.step)
            if progress.step < progress.total:  # the last look is the scores'
                losses.append(_forget_loss(case, changed))
    last = loss_scores(case, changed)
    return Curve(tuple(looks), (*losses, float(losses_of(case, last[0]).mean())), last)


def _forget_loss(case: Case, module: Module) -> float:
    return float(losses_of(case, scores_of(case, module, case.forget)).mean())


def relearning(case: Case, on: On, steps: int | None = None, unrelated: Samples | None = None) -> Finding:
    """One relearning attack on all models alike.

    on: "forget": at most `FEW` rows of one half of the forget rows; "retain": the kept rows; "unrelated": the
    given rows, or else one half of the held-out rows, with the other half to compare with. Besides the AUC at the
    end, `extra` says how many steps bring the mean forget loss halfway from Retrain's to the original's.
    """
    asked, rows, heldout = case.forget, some(case.parts.retain, 2000), case.heldout
    if on == "forget":
        first, asked = halves(case.forget, case.seed)
        rows = some(first, FEW)
    elif on == "unrelated":
        rows, heldout = (unrelated, heldout) if unrelated is not None else halves(heldout, case.seed)
    finding = Finding(f"relearn-{on}", "recovery", QUESTIONS[on])
    if len(rows) < 1 or len(asked) < 2 or len(heldout) < 4:
        return replace(finding, missing="too few rows to train on some and ask for others")
    inner, count = case.with_rows(asked, heldout), STEPS[case.kind] if steps is None else steps
    try:
        ours, gold, before = looked(
            case, f"relearn-{on} {count}", lambda module: relearned(inner, module, rows, count, case.seed)
        )
    except (ValueError, Diverged) as error:
        return replace(finding, missing=str(error), failed=True)
    last = None if before is None else before.last
    found = judged(finding, ours.last, [curve.last for curve in gold], last, case.alike)
    return replace(found, extra=_words(ours, gold, before, len(rows)))


def _words(ours: Curve, gold: list[Curve], before: Curve | None, rows: int) -> tuple[str, ...]:
    said = [f"trained {ours.steps[-1]} steps on {rows} rows"]
    if not gold or before is None:
        return (*said, "steps to recover need a retrained model and the original")
    retrained, original = float(np.mean([curve.losses[0] for curve in gold])), before.losses[0]
    if original >= retrained:
        return (*said, "the original does not know these rows better than the retrained model: nothing to recover")
    level = (retrained + original) / 2
    counts = [ours.recovered(level), *(curve.recovered(level) for curve in gold)]
    words = [f"not within {ours.steps[-1]}" if count is None else str(count) for count in counts]
    return (*said, f"steps to half of the original's memory: {words[0]}; retrained: {', '.join(words[1:])}")
