"""Attacks that only change the weights: rounding, pruning, noise, going back, taking an adapter off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch.nn import Module

from .case import Case, ask
from .finding import Finding
from .perturb import interpolated, merged_in_half, noisy, pruned, quantised, without_adapter
from .scores import loss_scores

SHARE, NOISE, BACK = 1 / 3, 0.05, 0.25  # of weights pruned; of their spread; of the way to the original


def quantise(case: Case) -> list[Finding]:
    """8- and 4-bit weights."""
    asked = "Do the forgotten rows come back when the weights are rounded to {} bits?"
    return [_changed(case, f"quantise-{b}", asked.format(b), partial(quantised, bits=b)) for b in (8, 4)]


def disturb(case: Case) -> list[Finding]:
    """A third of the weights pruned; noise of a twentieth of their spread."""
    cut = "Do the forgotten rows come back when the smallest third of the weights is cut?"
    moved = "Do the forgotten rows come back when the weights are disturbed by a twentieth of their spread?"
    return [
        _changed(case, "prune", cut, partial(pruned, share=SHARE)),
        _changed(case, "noise", moved, partial(noisy, relative=NOISE, seed=case.seed)),
    ]


def interpolate(case: Case) -> list[Finding]:
    """A quarter of the way back to the original."""
    asked = "Is the original's memory only a quarter of the way back?"
    if case.original is None:
        return [Finding("interpolate", "recovery", asked, missing="it needs the original model (--original)")]
    return [_changed(case, "interpolate", asked, partial(interpolated, other=case.original, share=BACK))]


def adapter(case: Case) -> list[Finding]:
    """The adapter taken off; the weights rounded to bfloat16, merged with the adapter if there is one."""
    off = Finding("adapter-off", "recovery", "Does deleting the adapter bring the forgotten rows back?")
    if hasattr(case.model, "peft_config"):
        off = ask(case, off, lambda module: loss_scores(case, _taken_off(module)))
    else:
        off = replace(off, missing="the model has no adapter that could be taken off")
    half = "Do the forgotten rows come back when the weights are rounded to bfloat16?"
    return [off, _changed(case, "half-precision", half, merged_in_half)]


def _taken_off(module: Module) -> Module:
    return without_adapter(module) if hasattr(module, "peft_config") else module


def _changed(case: Case, name: str, question: str, change: Callable[[Module], Module]) -> Finding:
    return ask(case, Finding(name, "recovery", question), lambda module: loss_scores(case, change(module)))
