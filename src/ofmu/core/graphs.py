"""What a pass and its graph show: losses that no derivative can be right for are refused, with a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn import Module
from torch.utils.checkpoint import CheckpointError

from .kinks import Held
from .watch import kinks

MISSING = re.compile(r"derivative for '?(?:aten::)?_?(\w+)'? is not implemented")
NONE = (-1, 2**64 - 1)  # no padding_idx, as nodes of a graph say it
HALF = (torch.bfloat16, torch.float16)


def checked(run: Callable[[], tuple[Tensor, Tensor]], model: Module) -> tuple[Tensor, Tensor]:
    """What `run` gives, a loss with its graph first; ValueError where its second derivatives cannot be right."""
    device = next(model.parameters()).device
    before, buffers = _random_state(device), {name: x.clone() for name, x in model.named_buffers()}
    found = run()
    if any(not torch.equal(x, y) for x, y in zip(before, _random_state(device), strict=True)):
        raise ValueError(
            "oracle: model or loss are random at every pass (such as F.dropout with training=True), so two probes "
            "of one point differ; use F.dropout(x, p, self.training), or a torch.Generator seeded in the pass"
        )
    for name, x in model.named_buffers():
        if name in buffers and _differ(x, buffers[name]):
            raise ValueError(
                f"oracle: a pass in evaluation mode writes to the buffer {name!r} (such as a running statistic), "
                "so probes leave their mark, and may differ; write to it under `if self.training:` alone"
            )
    if not found[0].requires_grad:
        raise ValueError(
            "oracle: no trained parameter has a part in the loss, or it was detached, so it has no gradient; "
            "expected a loss that torch can differentiate"
        )
    check_graph(found[0])
    return found


def _differ(x: Tensor, y: Tensor) -> bool:
    if x.shape != y.shape:
        return True
    return bool(((x != y) & ((x == x) | (y == y))).any())  # NaN is NaN


def _random_state(device: torch.device) -> list[Tensor]:
    """Of the generators that a pass draws from unless it is given one."""
    if device.type == "cpu":
        return [torch.get_rng_state()]
    module, place = torch.get_device_module(device), () if device.type == "mps" else (device,)
    return [torch.get_rng_state(), module.get_rng_state(*place)]


def nodes(values: Iterable[Tensor]) -> Iterator[Node]:
    """Every node of the graph that made them, once."""
    seen: set[Node] = set()
    waiting = [value.grad_fn for value in values]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [later for later, _ in node.next_functions]


class SecondDerivativeError(ValueError):
    """What cannot be differentiated twice, or not rightly; reason: in words."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"oracle: {reason}: exact second derivatives are wrong or cannot be had; use products='differences', "
            "outer='differences', or operations (and a backward) that torch differentiates twice"
        )
        self.reason = reason


@contextmanager
def derivable() -> Iterator[None]:
    """Raises SecondDerivativeError, naming the operation, for a derivative that torch lacks."""
    try:
        yield
    except RuntimeError as error:
        found = MISSING.search(str(error))
        if found is None:
            raise
        raise SecondDerivativeError(
            f"torch has no second derivative of {found[1].removesuffix('_backward')}"
        ) from error


def check_graph(value: Tensor) -> None:
    """Raises ValueError for what second derivatives would be silently wrong with, exact or differenced.

    Reentrant checkpointing cuts the graph. Half precision inside rounds θ's gradients to three digits, of which a
    difference leaves none. An embedding's padding_idx drops a part of the gradient.
    """
    for node in nodes([value]):
        padded = getattr(node, "_saved_padding_idx", -1)
        if node.name().startswith("EmbeddingBackward") and padded not in NONE:
            raise ValueError(
                f"oracle: a trained embedding has padding_idx {padded} (an adapter's, of the one "
                "that it adapts), which drops the gradient of real tokens of that id; set padding_idx to None"
            )
        if "CheckpointFunction" in node.name():
            raise ValueError(
                "oracle: the model uses reentrant gradient checkpointing, through which torch.autograd.grad does "
                "not go, and under which double backward is silently wrong; checkpoint with use_reentrant=False"
            )
        half = [str(result.dtype) for result in node._input_metadata if result.dtype in HALF]
        if half:
            raise ValueError(
                f"oracle: the model computes in {half[0]} inside (autocast in its forward, Accelerate's "
                "mixed_precision, FSDP's MixedPrecisionPolicy, frozen half-precision layers), expected float32 "
                "for second derivatives: prepare or load it without, and give autocast= to the oracle"
            )


@contextmanager
def refused_recomputation() -> Iterator[None]:
    """A context for exact derivatives: ValueError where checkpointing runs a part again that was composed.

    The backward pass does not run under `core.smooth.Closed`, so it would meet torch's own normalisations.
    """
    try:
        yield
    except CheckpointError as error:
        raise ValueError(
            "oracle: gradient checkpointing ran a part of the network again in the backward pass and found other "
            "operations than in the forward pass, as with a layer, instance, batch or weight normalisation "
            "(composed there: torch's own has wrong higher derivatives), expected the same: turn "
            "checkpointing off and run fewer samples at a time (micro=), or use "
            "products='differences', outer='differences'"
        ) from error


def held_kinks(gradient: Callable[[Held | None], Any]) -> bool:
    """Whether a model has branches to be held in probes; ValueError where one cannot be.

    gradient: runs a few samples forward and backward, holding what it is given. The backward pass is watched too:
    non-reentrant checkpointing runs the network again there, where nothing is held.
    """
    if not kinks(lambda: gradient(None)):
        return False
    held = Held(activations=True)
    try:
        gradient(held)  # records, and computes as ever; it is what replays that must be smooth
        left = kinks(lambda: gradient(held))
    except CheckpointError:
        left = frozenset({"branches under gradient checkpointing"})
    if left:
        raise ValueError(
            f"oracle: differences need a smooth network, found {', '.join(sorted(left))}, whose branch cannot be "
            "held in a probe; use products='exact', outer='exact', or smooth activations (SiLU, GELU), or in a "
            "loss of your own core.kinks.hold(the mask)"
        )
    return True
