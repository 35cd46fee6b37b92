"""What `ofmu unlearn` is given: options that make sense, a model, data, a method, a Retrain if there is one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch.nn import Module

from ofmu.cli.budget import budget_of
from ofmu.cli.loading import check_finite, check_length, check_retrained, load_like, model_path
from ofmu.cli.options import UnlearnOptions
from ofmu.cli.say import note
from ofmu.engine.launched import ALONE, Parallel, Processes
from ofmu.engine.models import LoadedModel, load_model
from ofmu.engine.provenance import Provenance, read_provenance
from ofmu.engine.requests import Files, Request, load_request
from ofmu.engine.targets_named import source_of
from ofmu.engine.trainable import check_trainable, merge_adapter, parse_trainable
from ofmu.errors import UserError
from ofmu.methods import build_method, check_name
from ofmu.tasks import Kind, Method


@dataclass(frozen=True)
class Given:
    """All that was loaded for one run."""

    options: UnlearnOptions
    processes: Processes
    parallel: Parallel
    loaded: LoadedModel
    request: Request
    provenance: Provenance | None
    retrains: tuple[LoadedModel, ...]
    method: Method

    @property
    def retrain(self) -> LoadedModel | None:
        """The retrained model that scores compare with: the first of those that gates compare with."""
        return self.retrains[0] if self.retrains else None


def check_numbers(options: UnlearnOptions) -> None:
    """UserError for numbers and names that cannot be, before anything is loaded."""
    budget_of(options.budget)
    if options.lr is not None and not 0 < options.lr < math.inf:
        raise UserError(f"--lr: found {options.lr}, expected a number above 0")
    if options.seed < 0:
        raise UserError(f"--seed: found {options.seed}, expected 0 or more")
    for name, count in (
        ("--steps", options.steps),
        ("--checkpoint-every", options.checkpoint_every),
        ("--micro-batch", options.micro_batch),
        ("--gate-every", options.gate_every),
    ):
        if count is not None and count < 1:
            raise UserError(f"{name}: found {count}, expected at least 1")
    check_length(options.max_length)
    parse_trainable(options.trainable)
    with _as_mistake():
        check_name(options.method)


def width_of(module: Module) -> int | None:
    """The width of a language model, by which default rates go; None of others."""
    width: int | None = getattr(getattr(module, "config", None), "hidden_size", None)
    return width


def method_of(name: str, kind: Kind, lr: float | None, width: int | None, adapter: bool = False) -> Method:
    """The method's preset; UserError for an unknown name, or a method that does not serve this kind."""
    with _as_mistake():
        return build_method(name, kind, lr=lr, width=width, adapter=adapter)


def check_targets(name: str | None, kind: Kind, method: Method) -> None:
    """UserError for a source of targets that there is not, or that the method would not use."""
    if name is None:
        return
    source_of(name, kind)
    if "targets" not in method.needs:
        raise UserError(f"--targets: found {name!r}, but the method uses no targets; leave it out")


@contextmanager
def _as_mistake() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(f"--method: {error}") from None


def model_of(options: UnlearnOptions) -> LoadedModel:
    """The model as it is unlearned from: an adapter is merged into it, unless another one is trained on it."""
    loaded = load_model(model_path(options.model))
    if hasattr(loaded.module, "peft_config") and not options.trainable.startswith("lora"):
        return replace(
            merge_adapter(loaded),
            notes=(*loaded.notes, "the model's adapter was merged into it, since --trainable is not lora:R"),
        )
    return loaded


def load(
    options: UnlearnOptions, files: Files, parallel: Parallel = "none", processes: Processes = ALONE
) -> Given:
    """Model, data and Retrain; every mistake in them is found here."""
    loaded = model_of(options)
    for text in loaded.notes:
        note(text)
    check_finite(loaded.module, options.model)
    check_trainable(loaded, options.trainable)
    request = load_request(loaded, files, options.max_length)
    for text in request.notes:
        note(text)
    retrains = tuple(_retrain(place, loaded) for place in options.retrain)
    check_retrained([retrain.module for retrain in retrains])
    if parallel != "none":
        for model in (loaded, *retrains):
            model.module.to(processes.device)
    width = width_of(loaded.module)
    adapter = options.trainable.startswith("lora")
    method = method_of(options.method, loaded.kind, options.lr, width, adapter=adapter)
    check_targets(options.targets, loaded.kind, method)
    provenance = read_provenance(model_path(options.model))
    return Given(options, processes, parallel, loaded, request, provenance, retrains, method)


def _retrain(place: str, loaded: LoadedModel) -> LoadedModel:
    return load_like(loaded, place, "--retrain")
