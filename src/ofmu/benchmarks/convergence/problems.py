"""Problems on which OFMU's theory can be checked, each as a `Task` that `ofmu.methods.OFMU` runs on in float64.

Gradient noise of a set variance is a linear term ⟨ξ, θ⟩ that every batch draws anew, E‖ξ‖² = σ²: it moves each
gradient by ξ and no Hessian at all, so that one batch gives an unbiased gradient of F where β = 0.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.terms import Loss, Terms
from ...core.vectors import Vector
from ...methods import OFMU
from ...tasks import Batch, Need, Stream, Task

Value = Callable[[nn.Module], Tensor]  # a full-batch loss of a model, a scalar
FAR = 1e9  # a measure beyond this counts as diverged


@dataclass(frozen=True)
class Given:
    """An objective whose loss is known beforehand."""

    loss: Loss
    needs: ClassVar[frozenset[Need]] = frozenset()

    def bind(self, task: Task) -> Loss:
        """The loss itself."""
        return self.loss


@dataclass
class Draws:
    """An endless source of gradient noise: one row, whose batch carries a fresh ξ ~ N(0, (σ²/d) I)."""

    size: int
    sigma: float
    generator: torch.Generator
    ids: Sequence[str] = ("draw",)

    def __len__(self) -> int:
        return 1

    def length(self, row: int) -> int:
        """All alike."""
        return 1

    def batch(self, rows: Sequence[int]) -> Batch:
        """One fresh draw."""
        xi = torch.randn(1, self.size, generator=self.generator, dtype=torch.float64)
        noise = xi * self.sigma / math.sqrt(self.size)
        return Batch(torch.as_tensor(rows), {"noise": noise}, torch.zeros(1, dtype=torch.int64))


def noisy(value: Value) -> Loss:
    """The loss value(model) + ⟨ξ, θ⟩, ξ from the batch."""

    def loss(model: nn.Module, batch: Batch) -> Terms:
        theta = torch.cat([p.reshape(-1) for p in model.parameters()])
        total = value(model) + batch.inputs["noise"][0] @ theta
        return Terms(total[None], torch.ones(1, dtype=total.dtype))

    return loss


@dataclass(frozen=True)
class Problem:
    """L_f and L_r as functions of a model, and where to start."""

    name: str
    start: Callable[[], nn.Module]
    forget: Value
    retain: Value

    def task(self, sigma: float = 0.0, seed: int = 0) -> Task:
        """The task whose batches carry gradient noise of variance σ², independent in L_f and L_r."""
        size = sum(p.numel() for p in self.start().parameters())
        sources = [Draws(size, sigma, torch.Generator().manual_seed(2 * seed + i)) for i in range(2)]
        forget, retain = (Stream(source, seed) for source in sources)
        return Task("image", noisy(self.retain), forget, retain)

    def printed(self, *, T: int, inner_lr: float, outer_lr: float, rho: float, growth: float = 1.0) -> OFMU:
        """The printed algorithm with β = 0 on this problem's L_f; T = 0 is plain descent of F."""
        rate, steps = (inner_lr, T) if T > 0 else (0.0, 1)  # the penalty needs the inner loop's batch
        method = OFMU.paper(beta=0.0, inner_steps=steps, inner_lr=rate, outer_lr=outer_lr, rho=rho, growth=growth)
        return replace(method, forget=Given(noisy(self.forget)))

    def inner_gradient(self, model: nn.Module, differentiable: bool = False) -> Vector:
        """∇Φ = ∇L_f on everything, without noise (β = 0)."""
        params = list(model.parameters())
        return list(torch.autograd.grad(self.forget(model), params, create_graph=differentiable))

    def penalised(self, model: nn.Module, rho: float) -> tuple[float, float]:
        """(F, ‖∇F‖²), F = L_r + ρ‖∇Φ‖², on everything and without noise, by plain autograd."""
        square = torch.stack([g.square().sum() for g in self.inner_gradient(model, differentiable=True)]).sum()
        total = self.retain(model) + rho * square
        grads = torch.autograd.grad(total, list(model.parameters()))
        return float(total.detach()), float(sum(g.square().sum() for g in grads))


class Point(nn.Module):
    """A model that is nothing but its parameter vector."""

    def __init__(self, theta: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(theta.clone())


@dataclass(frozen=True)
class Quadratic:
    """L_f = −½(θ−a)ᵀM(θ−a), concave and bounded above by 0; L_r = ½(θ−b)ᵀH(θ−b), strongly convex.

    M has rank r < d, so that argmax Φ = a + ker M leaves L_r something to decide. Eigenvalues are 1 to `flattest`
    on a log scale: L_Φ = L_r = 1, μ_r = flattest. F is quadratic too, and everything has a closed form.
    """

    M: Tensor
    H: Tensor
    a: Tensor
    b: Tensor

    @classmethod
    def random(cls, seed: int, d: int = 20, rank: int = 10, flattest: float = 1e-3) -> Quadratic:
        """Random eigenvectors, ‖b − a‖ = 1."""
        g = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64)

        U, V = (torch.linalg.qr(draw(d, d))[0] for _ in range(2))
        low = math.log10(flattest)
        m = torch.cat([torch.logspace(0, low / 2, rank, dtype=torch.float64), torch.zeros(d - rank).double()])
        h = torch.logspace(0, low, d, dtype=torch.float64)
        a, gap = draw(d), draw(d)
        return cls((U * m) @ U.T, (V * h) @ V.T, a, a + gap / gap.norm())

    def problem(self) -> Problem:
        """The task's losses, started a tenth of ‖b − a‖ off b: near the retain minimum, as unlearning starts."""
        start = self.b + 0.1 / math.sqrt(len(self.b))

        def theta(model: nn.Module) -> Tensor:
            return next(model.parameters())

        def forget(model: nn.Module) -> Tensor:
            x = theta(model) - self.a
            return -(x @ self.M @ x) / 2

        def retain(model: nn.Module) -> Tensor:
            x = theta(model) - self.b
            return x @ self.H @ x / 2

        return Problem("quadratic", lambda: Point(start), forget, retain)

    def minimiser(self, rho: float) -> Tensor:
        """Argmin F = (H + 2ρM²)⁻¹ (Hb + 2ρM²a)."""
        push = 2 * rho * self.M @ self.M
        return torch.linalg.solve(self.H + push, self.H @ self.b + push @ self.a)

    def bilevel(self) -> Tensor:
        """Argmin L_r over argmax Φ = a + ker M."""
        values, vectors = torch.linalg.eigh(self.M)
        Z = vectors[:, values < 1e-12]
        return self.a + Z @ torch.linalg.solve(Z.T @ self.H @ Z, Z.T @ self.H @ (self.b - self.a))

    def smoothness(self, rho: float) -> float:
        """L_F, the largest eigenvalue of ∇²F."""
        return float(torch.linalg.eigvalsh(self.H + 2 * rho * self.M @ self.M)[-1])

    def contraction(self, T: int, inner_lr: float) -> Tensor:
        """E = (I − ηM)^T: what T inner steps do to θ − a."""
        return torch.linalg.matrix_power(torch.eye(len(self.a)).double() - inner_lr * self.M, T)

    def cycle(self, T: int, inner_lr: float, outer_lr: float, rho: float) -> Tensor:
        """J of one outer iteration θ − a ↦ J(θ − a) + const, inner loop and outer step."""
        step = torch.eye(len(self.a)).double() - outer_lr * (self.H + 2 * rho * self.M @ self.M)
        return step @ self.contraction(T, inner_lr)

    def fixed_point(self, T: int, inner_lr: float, outer_lr: float, rho: float) -> Tensor:
        """Where the printed algorithm comes to rest, after the outer step: not argmin F unless T = 0."""
        J = self.cycle(T, inner_lr, outer_lr, rho)
        drift = outer_lr * self.H @ (self.b - self.a)
        return self.a + torch.linalg.solve(torch.eye(len(self.a)).double() - J, drift)


@dataclass(frozen=True)
class Blobs:
    """Three overlapping classes of points in the plane, and a small tanh network trained on all of them.

    The retain loss is cross-entropy plus (decay/2)‖θ‖². Two forget losses: `bounded` −½ mean (ℓ_i − τ)², smooth
    and at most 0, its maximum where every sample has the unseen level τ; `entropy`, the cross-entropy itself.
    """

    x: Tensor
    y: Tensor
    trained: nn.Module = field(repr=False)
    kept: int
    tau: float = math.log(3)
    decay: float = 1e-3

    @classmethod
    @functools.cache  # one training per seed; runs copy the network
    def random(cls, seed: int, n: int = 45, forgotten: int = 9, hidden: int = 8) -> Blobs:
        """N points, the last `forgotten` of them to be forgotten; the network is trained by LBFGS."""
        g = torch.Generator().manual_seed(seed)
        y = torch.arange(n) % 3
        angle = 2 * math.pi * y / 3
        x = torch.stack([angle.cos(), angle.sin()], 1).double() * 1.5
        x = x + torch.randn(n, 2, generator=g, dtype=torch.float64)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 3)).double()
        made = cls(x, y, model, n - forgotten)
        made._train()
        return made

    def _train(self) -> None:
        optimizer = torch.optim.LBFGS(self.trained.parameters(), max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(self.trained(self.x), self.y) + self._decayed(self.trained)
            loss.backward()
            return loss

        optimizer.step(closure)
        optimizer.zero_grad()

    def _decayed(self, model: nn.Module) -> Tensor:
        return self.decay / 2 * torch.stack([p.square().sum() for p in model.parameters()]).sum()

    def losses(self, model: nn.Module, rows: slice | Tensor) -> Tensor:
        """[rows]: cross-entropy of each sample."""
        return F.cross_entropy(model(self.x[rows]), self.y[rows], reduction="none")

    def retain(self, model: nn.Module) -> Tensor:
        """L_r."""
        return self.losses(model, slice(self.kept)).mean() + self._decayed(model)

    def accuracy(self, model: nn.Module) -> float:
        """Share of the kept samples that are classified rightly."""
        right = model(self.x[: self.kept]).argmax(1) == self.y[: self.kept]
        return float(right.double().mean())

    def problem(self, forget: str) -> Problem:
        """forget: "bounded" or "entropy"."""
        rows = slice(self.kept, None)

        def bounded(model: nn.Module) -> Tensor:
            return -(self.losses(model, rows) - self.tau).square().mean() / 2

        def entropy(model: nn.Module) -> Tensor:
            return self.losses(model, rows).mean()

        def start() -> nn.Module:
            return copy.deepcopy(self.trained)

        return Problem(f"network, {forget}", start, bounded if forget == "bounded" else entropy, self.retain)
