"""The same arithmetic written by hand in plain PyTorch, for one process and one loss: what an engine must not
slow down.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...tasks import IGNORE, Batch, Kind, Samples

Vector = list[Tensor]


def mean_loss(model: nn.Module, kind: Kind, batch: Batch) -> Tensor:
    """Mean cross-entropy; for text the mean over the batch's answer tokens (all samples have equally many)."""
    if kind == "image":
        return F.cross_entropy(model(batch.inputs["pixel_values"]), batch.labels)
    labels = batch.labels[:, 1:]
    first = int((labels != IGNORE).any(0).nonzero()[0])
    kept = labels.shape[1] - first
    logits = model(**batch.inputs, use_cache=False, logits_to_keep=kept + 1).logits[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), labels[:, first:].flatten(), ignore_index=IGNORE)


def gradient(model: nn.Module, params: Vector, kind: Kind, batch: Batch) -> Vector:
    """The unit of cost: one forward and one backward pass."""
    return list(torch.autograd.grad(mean_loss(model, kind, batch), params, materialize_grads=True))


def descent(model: nn.Module, optimizer: torch.optim.Optimizer, kind: Kind, samples: Samples, size: int) -> None:
    """One step of an ordinary training loop: shuffled samples, a backward pass, an optimiser."""
    batch = samples.batch(torch.randperm(len(samples))[:size].tolist())
    optimizer.zero_grad()
    mean_loss(model, kind, batch).backward()
    optimizer.step()


def phi_gradient(
    model: nn.Module,
    params: Vector,
    kind: Kind,
    batches: tuple[Batch, Batch],
    beta: float,
    again: bool = False,
) -> tuple[Vector, Vector]:
    """(∇Φ, g_r) by double backward on one graph per loss; with `again`, differentiable once more."""
    f, r = (
        torch.autograd.grad(mean_loss(model, kind, b), params, create_graph=True, materialize_grads=True)
        for b in batches
    )
    a, b = (f, r) if again else (tuple(g.detach() for g in f), tuple(g.detach() for g in r))
    ab, aa, bb = (sum(((x * y).sum() for x, y in zip(p, q, strict=True))) for p, q in ((a, b), (a, a), (b, b)))
    norms = (aa * bb) ** 0.5
    c = ab / norms
    u = [y / norms - c / aa * x for x, y in zip(a, b, strict=True)]
    w = [x / norms - c / bb * y for x, y in zip(a, b, strict=True)]
    more = {"create_graph": again, "retain_graph": again, "materialize_grads": True}
    hf = torch.autograd.grad(f, params, grad_outputs=u, **more)
    hr = torch.autograd.grad(r, params, grad_outputs=w, **more)
    return [g - beta * (x + y) for g, x, y in zip(a, hf, hr, strict=True)], [x.detach() for x in b]


def printed(
    model: nn.Module,
    params: Vector,
    kind: Kind,
    batches: tuple[Batch, Batch],
    *,
    T: int,
    beta: float,
    inner_lr: float,
    outer_lr: float,
    rho: float,
) -> None:
    """One outer iteration of the printed algorithm, the outer product by triple autograd: 6T + 18 gradients."""
    for _ in range(T):
        phi, _ = phi_gradient(model, params, kind, batches, beta)
        with torch.no_grad():
            torch._foreach_add_(params, phi, alpha=inner_lr)
    phi, g_r = phi_gradient(model, params, kind, batches, beta, again=True)
    product = torch.autograd.grad(phi, params, grad_outputs=[x.detach() for x in phi], materialize_grads=True)
    with torch.no_grad():
        torch._foreach_add_(params, g_r, alpha=-outer_lr)
        torch._foreach_add_(params, list(product), alpha=-2 * outer_lr * rho)
