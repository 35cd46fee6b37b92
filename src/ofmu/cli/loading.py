"""What every command that is given a model checks of it: its place, its numbers, what it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.nn import Module

from ofmu.cli.attack_options import AttackOptions
from ofmu.cli.options import EvaluateOptions, UnlearnOptions
from ofmu.cli.places import is_run
from ofmu.engine.hashing import model_fingerprint
from ofmu.engine.locate import locate
from ofmu.engine.models import LoadedModel, load_model
from ofmu.engine.requests import Files
from ofmu.errors import UserError


def files_of(options: UnlearnOptions | EvaluateOptions) -> Files:
    """Where the rows of a request stand."""
    return Files(
        options.forget,
        options.retain,
        options.heldout,
        options.test,
        options.data,
        options.forget_ids,
        options.forget_where,
    )


def places_of(options: UnlearnOptions | AttackOptions) -> dict[str, str]:
    """Where the rows to forget and those to keep stand, for a page; a filter's value may be a name: not said."""
    chosen = "the rows of a column filter" if options.forget_where else f"the ids in {options.forget_ids}"
    return {
        "Forget": options.forget or f"{options.data}: {chosen}",
        "Retain": options.retain or f"{options.data}: the other rows",
    }


def model_path(source: str) -> str:
    """A model's place; the OUT of an earlier run stands for the model in it."""
    folder = Path(source).expanduser()
    return str(folder / "model") if is_run(folder) else source


def check_place(place: str | None, name: str) -> None:
    """UserError for an option whose model is not there, long before it is loaded; a hub is not asked."""
    if place is not None:
        with _named(name):
            locate(place)


def load_like(loaded: LoadedModel, place: str, name: str) -> LoadedModel:
    """The model that the option `name` gives, in the room of `loaded`; UserErrors name that option."""
    with _named(name):
        other = load_model(model_path(place))
    check_alike(loaded, other, name)
    return other


@contextmanager
def _named(option: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{option}: {str(error).removeprefix('model: ')}") from error


def check_length(tokens: int | None) -> None:
    """UserError for a --max-length that leaves nothing to predict, before anything is loaded."""
    if tokens is not None and tokens < 2:
        raise UserError(f"--max-length: found {tokens}, expected at least 2 tokens; raise it, or leave it out")


def check_finite(module: Module, source: str) -> None:
    """UserError for a model that is broken before anything is done with it."""
    for name, value in module.named_parameters():
        if not bool(torch.isfinite(value.detach()).all()):
            raise UserError(f"model: {source}: {name} has values that are no finite numbers; train it again")


def check_retrained(retrains: Sequence[Module]) -> None:
    """UserError for a retrained model that is given twice: how far two lie apart would then be 0."""
    seen: dict[str, int] = {}
    for number, module in enumerate(retrains, 1):
        first = seen.setdefault(model_fingerprint(module), number)
        if first != number:
            raise UserError(
                f"--retrain: found the same weights as number {first} and number {number}, expected models that "
                "were trained with a seed of their own; give each once"
            )


def check_alike(loaded: LoadedModel, other: LoadedModel, name: str) -> None:
    """UserError unless both models read the same inputs."""
    if loaded.kind != other.kind:
        raise UserError(f"{name}: found a model for {other.kind}, expected one for {loaded.kind} as --model is")
    if loaded.kind == "text" and loaded.tokenizer.get_vocab() != other.tokenizer.get_vocab():
        raise UserError(f"{name}: {other.source} has another tokenizer than --model; expected the same")
