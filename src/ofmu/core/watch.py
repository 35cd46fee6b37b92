"""Which choices a pass makes: the operations that were carried out on what depends on the parameters.

Functional ones are found like modules, as it is torch's own (aten) operations that are looked at. A value depends
on the parameters if it requires a gradient, or was made of one that does: `x.detach() > 0` chooses like `x > 0`,
and so does what a `torch.autograd.Function` compares inside. Not seen is what leaves torch: `x.item() > 0`, numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TO_INTEGERS = "a cast to integers"
# What gives nothing but a choice, which may be held; whatever is made of it: where, an index, an if.
CHOICES = frozenset({"gt", "lt", "ge", "le", "argmax", "argmin", "bucketize", "searchsorted", TO_INTEGERS})
# What jumps, so that it matters without its graph too; the slope of the others (|x|, a maximum) alone does.
# fmt: off
STEPS = frozenset({"round", "floor", "ceil", "trunc", "sign", "sgn", "heaviside", "floor_divide"})
JUMPS = CHOICES | STEPS | {"frac", "fmod", "remainder", "topk", "sort", "median", "kthvalue", "mode"}
# The derivative jumps; the smooth ones between (softmax, norms, SiLU, GELU) are not here.
KINKED = JUMPS | {
    "relu", "relu6", "threshold", "leaky_relu", "rrelu_with_noise", "_prelu_kernel", "hardtanh",
    "hardswish", "hardsigmoid", "hardshrink", "softshrink", "elu", "abs", "clamp", "clamp_min",
    "clamp_max", "maximum", "minimum", "fmax", "fmin", "max", "min", "amax", "amin", "aminmax",
    "max_pool1d", "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "fractional_max_pool2d", "cummax", "cummin", "smooth_l1_loss", "huber_loss",
}
# These take a shape from their argument, and no value.
SHAPED = frozenset({
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like",
    "new_zeros", "new_ones", "new_empty", "new_full", "new_empty_strided",
})
# fmt: on

Choices = frozenset[int]  # which choices, by their numbers, a tensor is made of alone; none: it is a value


class _Watch(TorchDispatchMode):
    """Follows what depends on the parameters, by its storage, and numbers the choices that may still be held."""

    def __init__(self) -> None:
        super().__init__()
        self._kinks: set[str] = set()
        self._choices: list[str] = []
        self._held: set[int] = set()
        self._made: dict[StorageWeakRef, Choices] = {}  # weak: no memory is kept, and no address used again

    @property
    def found(self) -> frozenset[str]:
        """The kinked operations that nobody holds."""
        return frozenset(self._kinks | {name for i, name in enumerate(self._choices) if i not in self._held})

    def hold(self, choice: Tensor) -> None:
        """The choices that `choice` is made of are held."""
        self._held |= self._of(choice) or frozenset()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        name = _name(func, given, kwargs or {})
        before = [of for x in given if (of := self._of(x)) is not None]
        out = func(*args, **(kwargs or {}))
        if not before or name in SHAPED:
            return out
        made: Choices = frozenset().union(*before) if all(before) else frozenset()
        new: Choices = frozenset() if made else self._new(name, any(x.requires_grad for x in given))
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and (key := _key(x)):
                alone = not x.is_floating_point() or name in STEPS
                self._made[key] = made or (new if alone else frozenset())
        return out

    def _of(self, x: Tensor) -> Choices | None:
        """What x is made of; None: it does not depend on the parameters."""
        if x.requires_grad:
            return frozenset()
        return self._made.get(key) if (key := _key(x)) else None

    def _new(self, name: str, graph: bool) -> Choices:
        """The choice that this operation makes, on values; graph: one of them requires a gradient.

        In a backward pass torch's own formulas compare what is smooth (log-sum-exp), so there, unless it runs a
        checkpointed forward again, only what requires a gradient counts.
        """
        if graph and name in KINKED - CHOICES:
            self._kinks.add(name)
        elif name in (KINKED if graph else JUMPS) and (graph or torch.is_grad_enabled() or not _backward()):
            self._choices.append(name)
            return frozenset({len(self._choices) - 1})
        return frozenset()


def _name(func: Any, given: list[Tensor], options: dict[str, Any]) -> str:
    """What an operation does; rounding hides in divisions and casts."""
    name: str = func.overloadpacket.__name__.removesuffix("_")
    if name == "div" and options.get("rounding_mode"):
        return "floor_divide"
    kind = options.get("dtype")
    whole = kind not in (None, torch.bool) and not (kind.is_floating_point or kind.is_complex)
    return TO_INTEGERS if name == "_to_copy" and whole and given[0].is_floating_point() else name


def _key(x: Tensor) -> StorageWeakRef | None:
    try:
        return StorageWeakRef(x.untyped_storage())
    except NotImplementedError:  # a sparse tensor has none
        return None


def _backward() -> bool:
    return torch._C._current_graph_task_id() != -1


_watching: list[_Watch] = []


def noted(choice: Tensor) -> None:
    """Tells whoever watches that `choice` is held; it is not where checkpointing runs the pass again."""
    if not _backward():
        for watch in _watching:
            watch.hold(choice)


def kinks(run: Callable[[], Any]) -> frozenset[str]:
    """The kinked operations of `run` on what depends on the parameters, without those that are held."""
    with _Watch() as watch:
        _watching.append(watch)
        try:
            run()
        finally:
            _watching.remove(watch)
    return watch.found
