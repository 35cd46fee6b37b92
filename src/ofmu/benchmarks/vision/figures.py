"""The figures of a request's first seed, as plain data for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...report.figures import Clouds, Drawn, Histograms, Lines, Matrix, Pairs
from ...report.model import FLOOR, RETRAIN, Trajectory
from ..study import Cell
from .references import Workshop
from .seen import SHOWN, Seen


def figures_of(shop: Workshop, seen: Mapping[str, Seen], cell: Cell) -> list[Drawn]:
    """Confidence histograms, per-class accuracies, principal components of features, the gradients' cosine.

    seen: every model by its title, Original, Retrain and the floor first.
    """
    found: list[Drawn] = [confidence_histograms(seen), class_matrix(seen, shop.data.classes)]
    found.append(feature_clouds(seen))
    if any(point.cosine is not None for run in cell.trajectories for point in run.points):
        found.append(cosine_lines(cell.trajectories))
    return found


def confidence_histograms(seen: Mapping[str, Seen]) -> Histograms:
    """How the confidences in the labels of the forgotten samples are distributed, beside Retrain's."""
    return Histograms(
        "Confidence in the labels of the forgotten samples",
        "Line: the method. Filled: Retrain. Forgetting is done where the two coincide.",
        "probability of the label",
        {name: one.view.confidence["forget"].tolist() for name, one in seen.items()},
        RETRAIN,
    )


def class_matrix(seen: Mapping[str, Seen], classes: Sequence[str]) -> Matrix:
    """Accuracy on the test set by class, in points; None for a class that the test set has no sample of."""
    lines = [by_class(one.view.logits["test"], one.view.labels["test"], len(classes)) for one in seen.values()]
    return Matrix(
        "Accuracy on test samples by class",
        "In points. A forgotten class is not in the test set. Damage done to single classes shows as a pale cell.",
        list(seen),
        list(classes),
        lines,
    )


def by_class(logits: np.ndarray, labels: np.ndarray, classes: int) -> list[float | None]:
    """100 × accuracy on the samples of each class."""
    right = logits.argmax(1) == labels
    return [100 * float(right[labels == c].mean()) if (labels == c).any() else None for c in range(classes)]


def feature_clouds(seen: Mapping[str, Seen]) -> Clouds:
    """Each model's last features of forgotten and kept samples, on their first two principal components."""
    kept = min(SHOWN, len(next(iter(seen.values())).view.labels["retain"]))
    names = [name for name in seen if name != FLOOR]
    panels: dict[str, dict[str, Pairs]] = {}
    for name in names:
        plane = principal(seen[name].features)
        pairs = [(float(x), float(y)) for x, y in plane]
        panels[name] = {"kept": pairs[-kept:], "forgotten": pairs[:-kept]}
    return Clouds(
        "Features before the last layer",
        "First two principal components, each model by itself, scaled to its own spread.",
        panels,
    )


def principal(features: np.ndarray) -> np.ndarray:
    """[n, 2]: the first two principal components, centred, each model's largest spread being 1."""
    centred = features.astype(np.float64) - features.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(features), 2))
    plane[:, : min(2, len(size))] = left[:, :2] * size[:2]
    spread = plane.std(0).max()
    return plane / spread if spread > 0 else plane


def cosine_lines(runs: Sequence[Trajectory]) -> Lines:
    """cos(g_f, g_r) on the way of every run that was watched."""
    lines = {
        run.method: [(point.cost, point.cosine) for point in run.points if point.cosine is not None]
        for run in runs
    }
    return Lines(
        "Cosine of the gradients of both losses, along each run",
        "Positive: a step that raises the forget loss raises the retain loss too, to first order.",
        ("cost in gradient-equivalents", "cos(gradient on forgotten, gradient on kept)"),
        {name: pairs for name, pairs in lines.items() if pairs},
        (0.0, "no conflict"),
    )
