"""How easy samples are for one that never saw them, and held-out samples weighted to be as easy as forget samples.

What the model says of a forget sample mixes two things: that it was trained on it, and that some samples are easy
for everyone. Held-out samples say what unseen ones score only if they are as easy; the ease comes from a predictor
that has seen neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, one_hot

from ..tasks import Samples
from .targets import labels_of, spread

FITTED = 4096  # rows of the retain set that the predictor is fitted on, evenly spread
LANDMARKS, FEWEST = 256, 32  # of those rows, that its kernel compares with
SIDE = 32  # pixels: larger images are averaged down to this
RIDGE = 0.3  # from 0.1 to 1 the choice hardly matters
LOOSE = 1e-3  # how much of a miss is allowed: moments that no weights reach must not take all weight to one sample


@dataclass(frozen=True)
class Traits:
    """labels: int64 [n]; ease: float64 [n], the higher, the easier."""

    labels: Tensor
    ease: Tensor

    def at(self, rows: Sequence[int]) -> Traits:
        """Those of some rows."""
        index = torch.as_tensor(list(rows), dtype=torch.int64)
        return Traits(self.labels[index], self.ease[index])

    def of_classes(self) -> Traits:
        """The same, all as easy."""
        return Traits(self.labels, torch.zeros_like(self.ease))


@dataclass(frozen=True)
class Ridge:
    """A kernel ridge regression of labels on pixels, by Nyström: f(x) = k(x)ᵀ(KᵀK + λL)⁻¹KᵀY.

    Y: one-hot, centred. K [n, m] and L [m, m] hold exp(−2‖x − z‖²/d²) for m landmarks z among the n samples, d the
    median distance between landmarks.
    """

    landmarks: Tensor
    width: Tensor
    solved: Tensor
    middle: Tensor

    @classmethod
    def fitted(cls, x: Tensor, y: Tensor, m: int) -> Ridge:
        """x: [n, d], y: [n, classes], both float64; m landmarks, evenly spread."""
        z, middle = x[[i * len(x) // m for i in range(m)]], y.mean(0)
        apart = torch.cdist(z, z)
        width = apart[apart > 0].median() ** 2 / 2 if bool((apart > 0).any()) else torch.ones(()).double()
        near = _kernel(x, z, width)
        system = near.T @ near + RIDGE * (-(apart**2) / width).exp()
        system += (
            1e-9 * float(system.diagonal().mean()) * torch.eye(m, dtype=system.dtype)
        )  # of rows that are alike
        return cls(z, width, torch.linalg.solve(system, near.T @ (y - middle)), middle)

    def ease(self, x: Tensor, labels: Tensor) -> Tensor:
        """float64 [n]: f_y(x) − max_{c ≠ y} f_c(x); f_y(x) where there is one class."""
        said = _kernel(x, self.landmarks, self.width) @ self.solved + self.middle
        own = said.gather(1, labels[:, None])[:, 0]
        others = said.scatter(1, labels[:, None], -torch.inf).max(1).values
        return own - others if said.shape[1] > 1 else own


def _kernel(x: Tensor, z: Tensor, width: Tensor) -> Tensor:
    return (-(torch.cdist(x, z) ** 2) / width).exp()


def traits_of(retain: Samples, parts: Sequence[Samples], allowed: float) -> tuple[list[Traits], float]:
    """(the traits of every part, what they took in floating point operations); no pass through any model.

    The ease is that of a `Ridge` regression on retain samples, to which all parts are unseen. It has `LANDMARKS`,
    halved until no more operations are taken than allowed; where fewer than `FEWEST` are left (a very small model
    or budget) all samples count as equally easy.
    """
    seen = spread(retain, FITTED)
    labels = [labels_of(samples).cpu() for samples in (seen, *parts)]
    classes = int(max(int(each.max()) for each in labels)) + 1
    x, asked = _pixels(seen), sum(len(samples) for samples in parts)
    m = min(LANDMARKS, len(x))
    while m and _operations(m, asked, x) > allowed:
        m //= 2
    if m < min(FEWEST, len(x)):
        return [Traits(own, torch.zeros(len(own), dtype=torch.float64)) for own in labels[1:]], 0.0
    ridge = Ridge.fitted(x, one_hot(labels[0], classes).double(), m)
    rows = zip(parts, labels[1:], strict=True)
    return [Traits(own, ridge.ease(_pixels(samples), own)) for samples, own in rows], _operations(m, asked, x)


def _operations(m: int, asked: int, fitted: Tensor) -> float:
    """Of the distances to m landmarks, and of the regression on them."""
    n, d = fitted.shape
    return 2.0 * m * ((n + asked) * d + n * m)


def matched_weights(forget: Traits, heldout: Traits) -> Tensor:
    """float64 [m], adding up to 1: held-out samples weighted to the forget set's classes and ease.

    Entropy balancing (Hainmueller 2012): of all weights under which the shares of the classes and the first two
    moments of the ease are the forget set's, those nearest to equal ones, w_j ∝ exp(b·φ_j). Classes that only one
    of the two has weigh nothing; all weights are 0 where there is no common class.
    """
    both = torch.isin(heldout.labels, forget.labels)
    if not bool(both.any()):
        return torch.zeros(len(both), dtype=torch.float64)
    ours = forget.at(torch.isin(forget.labels, heldout.labels).nonzero().flatten().tolist())
    theirs = heldout.at(both.nonzero().flatten().tolist())
    weights = torch.zeros(len(both), dtype=torch.float64)
    weights[both] = _balanced(_moments(ours).mean(0), _moments(theirs))
    return weights


def _moments(traits: Traits) -> Tensor:
    """float64 [n, p]: indicators of the classes, ease, ease²."""
    shares = one_hot(traits.labels, int(traits.labels.max()) + 1).double()
    return torch.cat([shares, traits.ease[:, None], traits.ease[:, None] ** 2], 1)


def _balanced(wanted: Tensor, moments: Tensor) -> Tensor:
    """float64 [m]: w = softmax(X b) at the minimum of log Σ exp(X b) − b·t + LOOSE‖b‖²/2, by damped Newton steps.

    X and t: the moments [m, p] and the wanted ones [p], standardised.
    """
    middle, scale = moments.mean(0), moments.std(0, correction=0).clamp_min(1e-6)
    x, t = (moments - middle) / scale, (wanted - middle) / scale
    b, eye = torch.zeros_like(t), torch.eye(len(t), dtype=t.dtype)

    def dual(b: Tensor) -> Tensor:
        return torch.logsumexp(x @ b, 0) - b @ t + LOOSE / 2 * b @ b

    for _ in range(100):
        w = (x @ b).softmax(0)
        mean = w @ x
        slope = mean - t + LOOSE * b
        if float(slope.norm()) < 1e-9:
            break
        curve = (x * w[:, None]).T @ x - torch.outer(mean, mean) + LOOSE * eye
        step, size = torch.linalg.solve(curve, slope), 1.0
        while size > 1e-6 and bool(dual(b - size * step) > dual(b) - 1e-4 * size * slope @ step):
            size /= 2
        b = b - size * step
    return (x @ b).softmax(0)


def _pixels(samples: Samples) -> Tensor:
    """float64 [n, d]: the inputs, images of more than `SIDE` pixels a side averaged down."""
    found = []
    for start in range(0, len(samples), 256):
        pixels = samples.batch(range(start, min(start + 256, len(samples)))).inputs["pixel_values"].cpu().double()
        if pixels.ndim == 4 and max(pixels.shape[2:]) > SIDE:
            pixels = adaptive_avg_pool2d(pixels, SIDE)
        found.append(pixels.flatten(1))
    return torch.cat(found)
