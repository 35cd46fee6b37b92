"""One seed of one request: its references, then every method; rows are handed on as they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch.nn import Module

from ...data.forget_request import ForgetRequest
from ...data.forgetting import entanglement
from ...engine.features import penultimate
from ...errors import UserError
from ...report.model import FLOOR, ORIGINAL, RETRAIN, Losses, ScoreRow, Trajectory
from ..image_choices import Choice
from ..image_scores import ImageView, image_rows, protocol_rows
from ..study import Cell
from .references import SEEDS, Workshop, known_of, reference
from .runs import KeptRun, kept_run
from .seen import MARGIN, Seen, nll_of, relearn_row, seen_reference
from .split import VisionSplit, draw, split
from .studies import ENTANGLEMENT

Finished = Callable[[Cell], None]


def split_of(shop: Workshop, request: ForgetRequest, seed: int) -> VisionSplit:
    """The parts of one seed, with what the request wants forgotten."""
    drawn = draw(shop.data, seed, shop.setting)
    return split(drawn, request, seed, **known_of(shop, drawn, seed, request.needs))


def vision_cell(
    shop: Workshop,
    request: ForgetRequest,
    task: str,
    seed: int,
    choices: Sequence[Choice],
    finished: Finished,
) -> tuple[Cell, dict[str, Seen]]:
    """All rows of one seed, and how every model is seen. finished: told of the cell after each method."""
    parts = split_of(shop, request, seed)
    cell = Cell(seed)
    seen: dict[str, Seen] = {}
    models = {}
    for name in SEEDS:
        models[name], spent = reference(shop, parts, seed, task, name)
        cell.spent.append(spent)
        back = None if name == ORIGINAL else level(seen[ORIGINAL])
        seen[name] = seen_reference(shop, parts, name, models[name], seed + SEEDS[name], back)
    if request.needs == "features":
        cell.rows.append(_entanglement(models[ORIGINAL], parts, task, seed))
    gold = seen[RETRAIN].view
    for name in (ORIGINAL, RETRAIN, FLOOR):
        cell.rows += all_rows(task, name, seed, seen[name].view, None if name == RETRAIN else gold)
        if name != ORIGINAL:
            cell.rows.append(relearn_row(task, name, seed, seen[name], level(seen[ORIGINAL])))
    for choice in choices:
        try:
            run = kept_run(shop, choice, models[ORIGINAL], parts, task, seed, level(seen[ORIGINAL]))
        except UserError as error:  # a method that does not serve this request stops no other
            _miss(cell, task, choice, str(error))
        else:
            seen[choice.title] = run.seen
            _take_in(cell, task, choice, run, seen, parts)
        finished(cell)
    return cell, seen


def level(original: Seen) -> float:
    """The accuracy on D_f at which forgotten samples count as back: the original's, less a margin."""
    return original.known - MARGIN


def _entanglement(original: Module, parts: VisionSplit, task: str, seed: int) -> ScoreRow:
    """How entangled the forget set is with the rest, in the original's features."""
    value = entanglement(penultimate(original, parts.train).numpy(), parts.forget_rows)
    return ScoreRow(task, ORIGINAL, seed, ENTANGLEMENT, value, len(parts.train))


def all_rows(task: str, method: str, seed: int, view: ImageView, gold: ImageView | None) -> list[ScoreRow]:
    """Every metric of a model; gold: how Retrain is seen (None for Retrain itself)."""
    return image_rows(task, method, seed, view, gold) + protocol_rows(task, method, seed, view, gold)


def _miss(cell: Cell, task: str, choice: Choice, why: str) -> None:
    """Rows without numbers, of all that a second Retrain has, and the reason as a note."""
    measured = [row for row in cell.rows if row.method == FLOOR]
    cell.rows += [
        replace(row, method=choice.title, value=None, n=0, low=None, high=None, missing=why) for row in measured
    ]
    cell.notes.append(f"{choice.title}, seed {cell.seed}: {why}")


def _take_in(
    cell: Cell, task: str, choice: Choice, run: KeptRun, seen: Mapping[str, Seen], split: VisionSplit
) -> None:
    cell.rows += all_rows(task, choice.title, cell.seed, run.seen.view, seen[RETRAIN].view)
    cell.rows.append(relearn_row(task, choice.title, cell.seed, run.seen, level(seen[ORIGINAL])))
    cell.trajectories.append(Trajectory(task, choice.title, cell.seed, run.points))
    cell.spent.append(run.spent)
    if run.failed:
        cell.notes.append(f"{choice.title}, seed {cell.seed}: {run.spent.ended}")
    if choice.name == "ofmu" and cell.losses is None:
        cell.losses = Losses(
            task,
            before=seen[ORIGINAL].view.forget_losses.tolist(),
            after=run.seen.view.forget_losses.tolist(),
            retrain=seen[RETRAIN].view.forget_losses.tolist(),
            unseen=nll_of(run.seen.unseen, split.heldout.labels.numpy()).tolist(),
        )
