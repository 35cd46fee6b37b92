"""Hessian-vector products, ∇Φ and outer products of every backend beside what the formulas give in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from ...core.inner import inner, penalty_gradient
from ...core.oracle import Products, Scheme, TorchOracle
from ...core.similarity import cosine
from .problems import Problem, problem

BETA = 0.7
BACKENDS: Mapping[str, tuple[Products, Products, Scheme]] = {
    "exact": ("exact", "exact", "central"),
    "mixed": ("exact", "differences", "forward"),
    "differences, forward": ("differences", "differences", "forward"),
    "differences, central": ("differences", "differences", "central"),
    "differences, auto": ("differences", "differences", "auto"),
}


class Three(NamedTuple):
    """Something of each: H_f v in a random direction, ∇Φ, and the outer product 2∇²Φ·∇Φ."""

    product: Any
    phi: Any
    outer: Any


# What is promised; None: nothing is. Exact outer products are promised as much as exact products.
DIFFERENCED = Three(1e-3, 1e-3, 3e-2)
MARKS: Mapping[str, Mapping[str, Three]] = {
    precision: {
        "exact": Three(exact, exact, exact),
        "mixed": Three(exact, exact, DIFFERENCED.outer),
        "differences, forward": Three(None, None, DIFFERENCED.outer),
        "differences, central": DIFFERENCED,
        "differences, auto": DIFFERENCED,
    }
    for precision, exact in (("float32", 1e-5), ("float64", 1e-8))
}


def oracle(model: nn.Module, backend: str) -> TorchOracle:
    """One of BACKENDS."""
    products, outer, scheme = BACKENDS[backend]
    return TorchOracle(model, products=products, outer=outer, scheme=scheme)


def direction(params: Sequence[Tensor]) -> list[Tensor]:
    """A random vector, the same in every precision."""
    g = torch.Generator().manual_seed(3)
    return [torch.randn(p.shape, generator=g).to(p.dtype) for p in params]


class Elementary(TorchFunctionMode):
    """A context in which normalisations are made of elementary operations.

    Higher derivatives of torch's own are wrong, as `core.smooth` says, whose compositions these are the check of.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return ELEMENTARY.get(func, func)(*args, **(kwargs or {}))


def _centred(x: Tensor, over: list[int], eps: float) -> Tensor:
    centred = x - x.mean(over, keepdim=True)
    return centred / (centred.square().mean(over, keepdim=True) + eps).sqrt()


def _layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor, bias: Tensor, eps: float = 1e-5
) -> Tensor:
    return _centred(input, list(range(-len(normalized_shape), 0)), eps) * weight + bias


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    shape, over = [-1, *[1] * (input.ndim - 2)], [i for i in range(input.ndim) if i != 1]
    return _centred(input, over, eps) * weight.view(shape) + bias.view(shape)


def _weight_norm(v: Tensor, g: Tensor, dim: int) -> Tensor:
    over = [i for i in range(v.ndim) if dim == -1 or i != dim]
    return g * v / v.square().sum(over, keepdim=dim != -1).sqrt()


ELEMENTARY: Mapping[Callable[..., Any], Callable[..., Tensor]] = {
    F.layer_norm: _layer_norm,
    F.batch_norm: _batch_norm,
    torch._weight_norm: _weight_norm,
}


def reference(given: Problem, dense: bool) -> Three:
    """The three in float64; `given` is converted.

    dense: from H_f, H_r and ∇²Φ written down row by row, with the cosine's pullback in closed form; else the same
    vectors by autograd on the scalars vᵀg_f, Φ and ‖∇Φ‖², for tests of networks where rows would take long.
    """
    given = given.double()
    params = given.params
    with sdpa_kernel(SDPBackend.MATH), Elementary():
        f_value, r_value = (given.loss(given.model, batch).mean() for batch in (given.forget, given.retain))
    f, r = (_flat(_grads(value, params)) for value in (f_value, r_value))
    v = _flat(direction(params))
    phi = _flat(_grads(f_value - BETA * (f @ r) / (f.norm() * r.norm()), params))
    if not dense:
        vectors = _grads(f @ v, params), _like(phi, params), _grads(phi @ phi, params)
        return Three(*([x.detach() for x in vector] for vector in vectors))
    h_f, h_r, bent = (_jacobian(field, params) for field in (f, r, phi))
    pull = cosine([f.detach()], [r.detach()])
    at = f.detach() - BETA * (h_f @ pull.u[0] + h_r @ pull.w[0])
    return Three(*(_like(x, params) for x in (h_f @ v, at, 2 * bent @ at)))


def _grads(value: Tensor, params: Sequence[Tensor]) -> Sequence[Tensor]:
    return torch.autograd.grad(value, params, create_graph=True, materialize_grads=True)


def _jacobian(field: Tensor, params: Sequence[Tensor]) -> Tensor:
    """∂field_i/∂θ_j, (n, n), all rows at once."""
    rows = torch.autograd.grad(
        field,
        params,
        grad_outputs=torch.eye(len(field), dtype=field.dtype),
        is_grads_batched=True,
        retain_graph=True,
        materialize_grads=True,
    )
    return torch.cat([row.reshape(len(field), -1) for row in rows], 1)


def _flat(v: Iterable[Tensor]) -> Tensor:
    return torch.cat([x.reshape(-1) for x in v])


def _like(flat: Tensor, params: Sequence[Tensor]) -> list[Tensor]:
    parts = flat.detach().split([p.numel() for p in params])
    return [part.view_as(p) for part, p in zip(parts, params, strict=True)]


def error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """‖found − expected‖ / ‖expected‖, in float64."""
    a, b = (_flat(v).detach().double() for v in (found, expected))
    return float((a - b).norm() / b.norm())


def errors(asked: TorchOracle, given: Problem, expected: Three) -> Three:
    """Of each of the three, as `asked` finds them now."""
    forget, retain = (given.loss, given.forget), (given.loss, given.retain)
    product = asked.linearize(*forget, slot="x").hvp(direction(asked.params))
    phi = inner(asked, forget, retain, beta=BETA).gradient(BETA)
    outer = penalty_gradient(asked, inner(asked, forget, retain, again=True, beta=BETA), BETA)
    return Three(*(error(a, b) for a, b in zip((product, phi, outer), expected, strict=True)))


def accuracy(name: str, precision: str, dense: bool = True) -> list[dict[str, Any]]:
    """One row per backend: the larger error of a first call and of one with remembered steps, beside its mark."""
    expected = reference(problem(name), dense)
    given = problem(name).double() if precision == "float64" else problem(name)
    rows = []
    for backend in BACKENDS:
        asked = oracle(copy.deepcopy(given.model), backend)
        found = Three(*map(max, *(errors(asked, given, expected) for _ in range(2))))
        rows.append(
            {
                "network": name,
                "trained": sum(p.numel() for p in given.params),
                "precision": precision,
                "derivatives": backend,
                "errors": found._asdict(),
                "marks": MARKS[precision][backend]._asdict(),
            }
        )
    return rows
