"""Shadow models: trained as the target was, in parallel processes, each kept in the store once it is finished."""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from torch.nn import Module

from .. import __version__
from ..attacks import scaled_confidence, scaled_loss
from ..benchmarks.experiment import Budget, run_method
from ..benchmarks.study import one_thread
from ..engine.checkpoint import load_state, save_state
from ..engine.hashing import model_fingerprint
from ..engine.measuring import image_logits, sample_losses
from ..engine.networks import network_name
from ..engine.prepare import Parts, Sources, prepare
from ..engine.provenance import fresh_like
from ..engine.store import Store
from ..engine.targets import labels_of
from ..engine.training import Recipe, trained
from ..losses import BASE_LOSSES
from ..metrics.score import Floats
from ..tasks import Kind, Method, Samples
from .rows import joined, rows_fingerprint

FILE, MODEL = "scores.npz", "model.safetensors"


@dataclass(frozen=True)
class Unlearning:
    """How the target was unlearned. budget in sample-gradients; batch: of both streams; targets: `Sources`."""

    method: Method
    budget: float
    batch: int | None = None
    steps: int = 1_000_000
    targets: str | None = None

    def key(self) -> list[object]:
        """What shadows depend on."""
        named = [] if self.targets is None else [self.targets]
        return [repr(self.method), self.budget, self.batch, self.steps, *named]


@dataclass(frozen=True)
class Setup:
    """How shadows are made. root: the store. number: how many (None: the plan
    decides). template, scratch: see `Shadow`. how: the target's
    unlearning; None where it is not known, and then there is no U-LiRA. watch: is told how many are done.
    """

    root: Path
    template: Module
    scratch: bool = True
    how: Unlearning | None = None
    number: int | None = None
    jobs: int = 1
    watch: Callable[[int, int], None] | None = None


@dataclass(frozen=True)
class Shadow:
    """One shadow: what it is trained on, what it then unlearns (None: nothing), and the rows it is asked about.

    template: the architecture and, where scratch is False, the weights that training begins with. heldout: rows it
    never sees, for a method that needs them.
    """

    kind: Kind
    template: Module
    scratch: bool
    recipe: Recipe
    retain: Samples
    pool: Samples
    forget: Samples | None = None
    heldout: Samples | None = None
    how: Unlearning | None = None

    @property
    def cost(self) -> float:
        """About what it takes, in sample-gradients."""
        rows = len(self.retain) + (0 if self.forget is None else len(self.forget))
        return self.recipe.epochs * rows + (0.0 if self.how is None else self.how.budget)

    def key(self) -> dict[str, object]:
        """Everything that its scores depend on."""
        start = model_fingerprint(self.template) if not self.scratch else _architecture(self.template)
        parts = {"retain": self.retain, "pool": self.pool, "forget": self.forget, "heldout": self.heldout}
        return {
            "what": "shadow scores" if self.how is None else "shadow scores, before and after",
            "version": __version__,
            "start": start,
            "scratch": self.scratch,
            "recipe": asdict(self.recipe),
            "rows": {name: None if part is None else rows_fingerprint(part) for name, part in parts.items()},
            "how": None if self.how is None else self.how.key(),
        }

    def trained(self, store: Path) -> Module:
        """The model before it unlearns. An image model is kept: other methods unlearn from it too."""
        module = fresh_like(self.template, self.recipe.seed) if self.scratch else copy.deepcopy(self.template)
        module.requires_grad_(True)
        rows = self.retain if self.forget is None else joined([self.retain, self.forget])
        if self.kind == "text" or self.how is None:
            trained(module, rows, BASE_LOSSES[self.kind], self.recipe)
            return module

        def make(folder: Path) -> None:
            trained(module, rows, BASE_LOSSES[self.kind], self.recipe)
            save_state(folder / MODEL, {"model": module.state_dict()})

        names = ("version", "start", "scratch", "recipe")
        key = {"what": "shadow model", "rows": rows_fingerprint(rows), **{n: self.key()[n] for n in names}}
        folder = Store(store).get_or_make(key, make, note=f"shadow model, seed {self.recipe.seed}")
        module.load_state_dict(load_state(folder / MODEL)["model"])
        return module

    def make(self, store: Path, folder: Path) -> None:
        """Train, unlearn, look at the pool, and write the scores."""
        module = self.trained(store)
        before = scores_of(module, self.kind, self.pool)[0] if self.how is not None else np.empty(0)
        if self.how is not None and self.forget is not None:
            parts = Parts(self.forget, self.retain, self.heldout)
            base = None if self.scratch else copy.deepcopy(self.template)
            base = base if self.kind == "text" else None
            sources = Sources(base=base, recipe=self.recipe, targets=self.how.targets)
            if self.kind == "text" and self.scratch:
                sources = replace(sources, fresh=lambda seed: fresh_like(self.template, seed))
            module = unlearned(module, self.kind, parts, self.how, sources, self.recipe.seed)
        phi, log_p = scores_of(module, self.kind, self.pool)
        np.savez(folder / FILE, phi=phi, log_p=log_p, before=before)


def unlearned(module: Module, kind: Kind, parts: Parts, how: Unlearning, sources: Sources, seed: int) -> Module:
    """What a method makes of a copy of `module`."""
    prepared = prepare(module, kind, parts, how.method, sources, seed, batch=how.batch, budget=how.budget)
    return run_method(module, prepared, parts, how.method, Budget(how.budget, how.steps)).model


def scores_of(module: Module, kind: Kind, samples: Samples) -> tuple[Floats, Floats]:
    """(φ [n], log p of the label or, per token, of the answer [n]) of a model."""
    if kind == "image":
        logits, labels = image_logits(module, samples).double().numpy(), labels_of(samples).numpy()
        phi = scaled_confidence(logits, labels)
        return phi, -np.logaddexp(0.0, -phi)  # log p = −log(1 + exp(−φ)), exact on both ends
    loss = sample_losses(module, samples, BASE_LOSSES[kind]).double().numpy()
    return scaled_loss(loss), -loss


def shadow_scores(
    shadows: Sequence[Shadow], store: Path, jobs: int = 1, watch: Callable[[int], None] | None = None
) -> tuple[Floats, Floats]:
    """(φ, log p), [shadows, pool rows] each, of all shadows, in order; finished ones come from the store.

    jobs: processes of one thread each; watch is told how many are done. An interrupted run loses only the shadows
    under way. Raises whatever a shadow raises.
    """
    found: dict[int, Path] = {}
    if jobs == 1:
        for i, shadow in enumerate(shadows):
            found[i] = _made(store, shadow)
            if watch is not None:
                watch(len(found))
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=one_thread) as pool:
            futures = {pool.submit(_made, store, shadow): i for i, shadow in enumerate(shadows)}
            for future in as_completed(futures):
                found[futures[future]] = future.result()
                if watch is not None:
                    watch(len(found))
    loaded = [np.load(found[i] / FILE) for i in range(len(shadows))]
    return np.stack([each["phi"] for each in loaded]), np.stack([each["log_p"] for each in loaded])


def scores_before(shadows: Sequence[Shadow], store: Path) -> Floats:
    """φ [shadows, pool rows] of shadows that unlearned, from before they did; those of `shadow_scores`."""
    return np.stack([np.load(_made(store, shadow) / FILE)["before"] for shadow in shadows])


def _made(store: Path, shadow: Shadow) -> Path:
    return Store(store).get_or_make(
        shadow.key(), partial(shadow.make, store), note=f"shadow, seed {shadow.recipe.seed}"
    )


def _architecture(module: Module) -> str:
    name = network_name(module)
    config = module.config() if name is not None else module.config.to_dict()  # type: ignore[operator, union-attr]
    return f"{name or type(module).__name__} {sorted(map(str, config.items()))}"
