"""K-means (Lloyd, 1982) with the start of k-means++ (Arthur & Vassilvitskii, 2007), on tensors and on any device: for
methods that cluster features.

Written here, as scikit-learn is no dependency of ours and works on neither GPUs nor cosine distances. With
``distance = "cosine"`` points go to the centre at the smallest angle and centres are plain means, as in the package
kmeans_pytorch that LPCAM's code uses; the start is k-means++'s where that package draws points evenly.

Letters: N points, k centres, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from recam.errors import DataError
from recam.methods.arguments import check_finite

Distance = Literal["euclidean", "cosine"]
ROWS = 16384
"""Points whose distances to all centres are held at once."""


@dataclass(frozen=True)
class Clusters:
    """What k-means found.

    Attributes:
        centers: (k, D), the means of their points.
        assignment: (N,) int64, the centre of each point.
        inertia: sum of the points' distances to their centres: squared Euclidean, or 1 − cosine.
    """

    centers: Tensor
    assignment: Tensor
    inertia: float


@torch.no_grad()
def kmeans(
    points: Tensor, k: int, seed: int = 0, distance: Distance = "euclidean", iterations: int = 300, starts: int = 1
) -> Clusters:
    """The best of `starts` runs; the same for the same seed.

    Args:
        points: (N, D) float.
        k: centres; fewer points than that give one centre each.
        seed: decides the starts.
        distance: squared Euclidean, or 1 − cosine.
        iterations: at most so many; a run ends when no point changes its centre.

    Raises:
        DataError: no points, points that are not (N, D), or NaN or inf among them; k below 1.
    """
    if points.ndim != 2 or not len(points) or k < 1:
        raise DataError(f"k-means needs points (N, D) and k ≥ 1, got {tuple(points.shape)} and k = {k}.")
    points = points.float()
    check_finite(points, "k-means: points", "the network that made these features diverged")
    runs = (_run(points, min(k, len(points)), seed + start, distance, iterations) for start in range(starts))
    return min(runs, key=lambda each: each.inertia)


def _run(points: Tensor, k: int, seed: int, distance: Distance, iterations: int) -> Clusters:
    centers = _spread_start(points, k, torch.Generator().manual_seed(seed), distance)
    assignment = torch.full((len(points),), -1, device=points.device)
    for _ in range(iterations):
        nearest, apart = _nearest(points, centers, distance)
        if torch.equal(nearest, assignment):
            break
        assignment = nearest
        sums = torch.zeros_like(centers).index_add_(0, assignment, points)  # (k, D)
        counts = torch.bincount(assignment, minlength=k)[:, None]  # (k, 1)
        centers = torch.where(counts > 0, sums / counts.clamp_min(1), centers)  # one without points stays
    nearest, apart = _nearest(points, centers, distance)
    return Clusters(centers, nearest, float(apart.double().sum()))


def _spread_start(points: Tensor, k: int, generator: torch.Generator, distance: Distance) -> Tensor:
    """k-means++: each further centre is drawn from the points, in proportion to their distance to the nearest yet."""
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    apart = _distances(points, points[chosen], distance)[:, 0]  # (N,)
    while len(chosen) < k:
        share = apart.double().clamp_min(0).cumsum(0).cpu()
        drawn = torch.rand((), generator=generator, dtype=torch.float64) * share[-1]
        chosen.append(min(int(torch.searchsorted(share, drawn, right=True)), len(points) - 1))
        apart = torch.minimum(apart, _distances(points, points[chosen[-1:]], distance)[:, 0])
    return points[chosen]


def _nearest(points: Tensor, centers: Tensor, distance: Distance) -> tuple[Tensor, Tensor]:
    """The nearest centre of each point (N,), and how far it is (N,)."""
    parts = [_distances(part, centers, distance).min(1) for part in torch.split(points, ROWS)]
    return torch.cat([part.indices for part in parts]), torch.cat([part.values for part in parts])


def _distances(points: Tensor, centers: Tensor, distance: Distance) -> Tensor:
    """(N, k)."""
    if distance == "cosine":
        return 1 - F.normalize(points, dim=1) @ F.normalize(centers, dim=1).T
    return torch.cdist(points, centers).square()
