"""Where a run on images begins: the last two layers reset and trained on D_r, or all, as held-out data ask for.

A short honest retraining that starts from good features is hard to tell from a full one, unless the frozen
features themselves remember D_f: those of a deep network do. Held-out data show which it is; where they do, all
layers are trained on D_r, the last two anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import UserError
from ..tasks import Targets
from .ground import Ground
from .loop import Diverged
from .reset import parameterised_layers
from .surer import made_surer
from .trial import RESET, Trial, restart_of, trial_of

SHORT, SHORTEST = 0.5, 0.1  # epochs of a restart: with fewer D_r is not learned again; there is none with fewer


@dataclass(frozen=True)
class HeadStart:
    """cost: of all that was tried and tested, in sample-gradients. notes: what was found, in sentences.

    state: parameters and buffers to begin with; None: there is no such start, and `notes` say why. layers: how
    many were reset, and alone trained (0: two were reset, and all trained). settled: why nothing is left to
    forget. targets: what is left to reach; None where something else must say it.
    """

    cost: float
    notes: tuple[str, ...]
    state: Mapping[str, Tensor] | None = None
    layers: int | None = None
    settled: str | None = None
    targets: Targets | None = None


def head_start(ground: Ground) -> HeadStart:
    """The start for unlearning, within `ground.budget`; the model stays as it is.

    The first top that does not leak has all that the budget pays for, up to the recipe's epochs, the schedule
    stretched over them. Once one has leaked, the next (`Search.deepest`), or else a restart, which trains all
    layers for `Search.longest` epochs at most, has `Search.kept` of what is left; where that is too little too,
    the run begins with the model as it is, and `targets` are its own.
    """
    if ground.known.heldout is None and ground.present:
        why = "without held-out data nothing says whether the frozen layers remember what is to be forgotten"
        return HeadStart(0.0, (f"no head start: {why}",))
    notes: list[str] = []
    trials: list[Trial] = []
    try:
        found = _search(ground, trials, notes) or _restarted(ground, trials)
        return _finished(trials, notes) if found else _rounds_alone(ground, trials, notes)
    except (UserError, Diverged) as error:
        return HeadStart(_cost(ground, trials), (*notes, f"no head start: {error}"))


def _search(ground: Ground, trials: list[Trial], notes: list[str]) -> bool:
    """Whether the last of `trials` is a top that did not leak at a look, trained to its end."""
    search, share = ground.search, 1.0
    choosing = bool(ground.present) and not search.fixed
    looks = search.looks if choosing else ()
    tries = _tries(ground)
    trials.append(trial_of(ground, tries[0]))
    for following in [*tries[1:], None]:
        trial = trials[-1]
        epochs = trial.affords(share * (ground.budget - _cost(ground, trials)))
        if choosing and epochs < search.shortest:
            notes.append(f"last {_layers(trial)} reset: not tried, {epochs:.2g} epochs are too few to learn anew")
            break
        if trial.train(epochs, looks=looks):
            return True
        notes.append(f"last {_layers(trial)} reset: left after {trial.epochs:.1f} epochs; {_seen(trial)}")
        share = search.kept
        left, deeper = (
            ground.budget - _cost(ground, trials),
            None if following is None else trial_of(ground, following),
        )
        if deeper is None or deeper.affords(share * left) < search.fewest * ground.known.recipe.epochs:
            break
        trials.append(deeper)
    return False


def _restarted(ground: Ground, trials: list[Trial]) -> bool:
    """Whether two layers were reset and all were trained, with `Search.kept` of what is left, if not too long."""
    trial = restart_of(ground)
    epochs = trial.affords(ground.search.kept * (ground.budget - _cost(ground, trials)))
    epochs = min(epochs, ground.search.longest)
    frozen = not all(p.requires_grad for p in ground.known.model.parameters())  # it would keep what it remembers
    if frozen or epochs < SHORTEST:
        return False
    if epochs < SHORT and ground.budget >= ground.search.apiece * len(ground.known.forget):
        return False
    trials.append(trial)
    if epochs < SHORT:
        trial.test()
        if not any(leak.excess >= ground.search.much for leak in trial.leaks):
            return False
    trial.reset()
    return trial.train(epochs)


def _rounds_alone(ground: Ground, trials: list[Trial], notes: list[str]) -> HeadStart:
    """Every top that the budget pays for leaks, and a restart would be too short to learn D_r again."""
    targets = ground.targets(ground.known.model)
    notes.append("no head start: the budget pays for no better one; begun with the model as it is")
    return HeadStart(_cost(ground, trials) + targets.cost, tuple(notes), targets=targets)


def _finished(trials: list[Trial], notes: list[str]) -> HeadStart:
    trial, ground = trials[-1], trials[-1].ground
    trial.test()
    notes.append(
        f"begun with the last {_layers(trial)} reset and {'' if trial.k else 'all '}trained "
        f"{trial.epochs:.3g} of {ground.known.recipe.epochs:g} epochs on the retain set{_worst(trial)}; "
        f"{_seen(trial)}"
    )
    trial.model.requires_grad_(True)
    settled, targets = None, None
    if trial.leaky or not trial.k:  # after a restart the rounds repair what it overwrote, leak or none
        targets = ground.targets(trial.model)
    elif ground.present:
        factor = made_surer(trial)
        notes += (
            [] if factor is None else [f"logits times {factor:.3g}: it was less sure of unseen images than before"]
        )
        settled = "nothing to forget scores above held-out data"
    else:
        settled = "no forgotten label is predicted any more"
    state = {name: value.detach().clone() for name, value in trial.model.state_dict().items()}
    cost = _cost(ground, trials) + (0.0 if targets is None else targets.cost)
    return HeadStart(cost, tuple(notes), state, trial.k, settled, targets)


def _cost(ground: Ground, trials: list[Trial]) -> float:
    return ground.matching + sum(trial.cost for trial in trials)


def _tries(ground: Ground) -> list[int]:
    """How many layers, in turn; at least one stays as it is."""
    if ground.search.fixed:
        return [ground.search.fixed]
    depth = len(parameterised_layers(ground.known.model))
    if depth < 2:
        raise UserError("the model has one layer: nothing would be left of it")
    deepest = min(ground.search.deepest, depth - 1)
    k, tries = min(2 if ground.present else 1, deepest), []
    while k not in tries:
        tries.append(k)
        k = min(2 * k, deepest)
    return tries


def _layers(trial: Trial) -> str:
    return "layer" if trial.k == 1 else f"{trial.k or RESET} layers"


def _worst(trial: Trial) -> str:
    return f" (after the first, on the {trial.share:.0%} that it had fitted least)" if trial.share < 1 else ""


def _seen(trial: Trial) -> str:
    return "; ".join(map(str, trial.leaks)) or "too few samples to test"
