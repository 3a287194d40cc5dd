"""LPCAM, local prototypes in the place of the classifier's weights: Chen & Sun, "Extracting Class Activation Maps from
Non-Discriminative Features as well", CVPR 2023.

The weights of a class point at what tells it apart; parts that it shares with other classes stay dark. So the features
of all training images of a class are clustered, those under its class map and those outside; centres that the
classifier takes for the class are its prototypes, those of the surroundings that it half takes for it are its context,
such as rails for a train. A map is the mean similarity to the prototypes minus that to the context.

1. Features where the class map exceeds τ, and where it is below, are clustered apart (k-means, cosine, 12 centres
each). 2. p = softmax over classes of centre · w. A centre of the first is a prototype where p[class] > 0.9, one of the
second
   is context where 0.05 < p[class] < 0.9.
3. Map: mean over prototypes of cos(f, prototype) − mean over context of cos(f, context), relu; without context the
   first mean as it is. f adds the features of image and mirror. Mean over scales, divided by the maximum.

Followed: the authors' code (zhaozhengChen/LPCAM, 39cdd8d). On COCO it has 20 clusters, τ 0.25 and 0 < p < 0.5.

Departures: where no centre passes, the one of highest p is taken, as the code does on COCO (on VOC it stops with an
error); without any feature above τ, the class's own weights. `LpcamSettings.features` bounds what is clustered, since
all features of a class need tens of gigabytes on VOC's 10 582 images; they are drawn evenly from all images. Negative
values, which maps without context have, are 0 in a run, where maps are in [0, 1].

Letters: K classes, n of them wanted, D channels, m centres, H×W image, h×w its feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recam.errors import DataError, RecipeError
from recam.methods.arguments import check_finite
from recam.methods.cam import Resolution, check_resolution, full_size, strided_size, upsample, weight_rows
from recam.methods.kmeans import kmeans
from recam.settings import Settings

COSINE_EPS = 1e-8
"""The product of two norms is taken to be at least this."""


@dataclass(frozen=True)
class LpcamSettings(Settings):
    """How prototypes are found; the defaults are those published for VOC."""

    clusters: int = 12
    """Centres of either k-means; published 12, COCO 20."""
    map_threshold: float = 0.1
    """τ: features count for the class where its normalised map is above, for its surroundings below; COCO 0.25."""
    class_threshold: float = 0.9
    """A centre is a prototype where the classifier gives the class more than this probability."""
    context: tuple[float, float] = (0.05, 0.9)
    """A centre of the surroundings is context where the probability of the class lies between; COCO (0, 0.5)."""
    features: int | None = 50_000
    """So many features of a class, and of its surroundings, are clustered at most, drawn evenly from all images; None:
    all (published)."""

    def __post_init__(self) -> None:
        problems = []
        if self.clusters < 1:
            problems.append(f"clusters must be at least 1, got {self.clusters}")
        for name, value in {"map_threshold": self.map_threshold, "class_threshold": self.class_threshold}.items():
            if not 0 <= value <= 1:
                problems.append(f"{name} must be in [0, 1], got {value}")
        low, high = self.context
        if not 0 <= low < high <= 1:
            problems.append(f"context is (low, high) in [0, 1], low first, got {self.context}")
        if self.features is not None and self.features < self.clusters:
            problems.append(f"features = {self.features} must be at least clusters = {self.clusters}, or None for all")
        if problems:
            raise RecipeError(f"LPCAM: {'; '.join(problems)}.")


@dataclass(frozen=True)
class Prototypes:
    """What a class looks like.

    Attributes:
        centers: (m, D), m ≥ 1.
        context: (m', D); m' may be 0.
    """

    centers: Tensor
    context: Tensor


def split_features(features: Tensor, cam: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Features (D, h, w) of the class, (m, D), and of its surroundings, (m', D): where its map is above the threshold,
    and where it is below. The map (H, W) in [0, 1] is read at the nearest pixel."""
    nearest = F.interpolate(cam[None, None].float(), features.shape[1:], mode="nearest")[0, 0]  # (h, w)
    rows = features.permute(1, 2, 0)  # (h, w, D)
    return rows[nearest > threshold], rows[nearest < threshold]


def draw_rows(rows: Tensor, most: int | None, seed: int) -> Tensor:
    """At most so many of the rows (m, D), in their order, each with the same probability."""
    if most is None or len(rows) <= most:
        return rows
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:most].sort().values
    return rows[order.to(rows.device)]


def class_probabilities(centers: Tensor, weight: Tensor, class_index: int) -> Tensor:
    """p of the class for each centre (m, D): softmax over classes of centre · w, (m,)."""
    return (centers @ weight_rows(weight).T).softmax(1)[:, class_index]


def select_prototypes(probability: Tensor, threshold: float) -> Tensor:
    """Which centres are prototypes, bool (m,): those above the threshold, or the best one where none is."""
    kept = probability > threshold
    return kept if kept.any() else probability == probability.max()


def select_context(probability: Tensor, between: tuple[float, float]) -> Tensor:
    """Which centres of the surroundings are context, bool (m,)."""
    return (probability > between[0]) & (probability < between[1])


def find_prototypes(
    inside: Tensor,
    outside: Tensor,
    weight: Tensor,
    class_index: int,
    settings: LpcamSettings | None = None,
    seed: int = 0,
) -> Prototypes:
    """Prototypes and context of a class from the features of all its images, steps 1 and 2.

    Args:
        inside, outside: (m, D) and (m', D), of `split_features` of every image with the class; either may be empty.
        weight: (K, D), the classifier's.
        seed: decides the start of k-means.
    """
    settings, rows = settings or LpcamSettings(), weight_rows(weight).detach()
    centers, context = rows[class_index : class_index + 1], rows[:0]  # (1, D), (0, D)
    if len(inside):
        found = kmeans(inside, settings.clusters, seed, "cosine").centers
        centers = found[select_prototypes(class_probabilities(found, rows, class_index), settings.class_threshold)]
    if len(outside):
        found = kmeans(outside, settings.clusters, seed, "cosine").centers
        context = found[select_context(class_probabilities(found, rows, class_index), settings.context)]
    return Prototypes(centers, context)


def mean_similarity(features: Tensor, centers: Tensor) -> Tensor:
    """Mean over centres (m, D) of cos(f, centre) at each position: (D, h, w) → (h, w)."""
    product = torch.einsum("dhw,md->mhw", features, centers)
    norms = torch.linalg.vector_norm(features, dim=0) * torch.linalg.vector_norm(centers, dim=1)[:, None, None]
    similar: Tensor = (product / norms.clamp_min(COSINE_EPS)).mean(0)  # (m, h, w) → (h, w)
    return similar


def prototype_map(features: Tensor, prototypes: Prototypes) -> Tensor:
    """Step 3 at one scale: (D, h, w) → (h, w)."""
    similar = mean_similarity(features, prototypes.centers)
    if not len(prototypes.context):
        return similar
    return (similar - mean_similarity(features, prototypes.context)).relu()


def make_lpcams(
    features: Sequence[Tensor],
    prototypes: Sequence[Prototypes],
    size: tuple[int, int],
    resolution: Resolution = "strided",
) -> Tensor:
    """LPCAM's maps of one image from its features at several scales.

    Args:
        features: for each scale (2, D, h_i, w_i) of image and flipped image, or (1, D, h_i, w_i).
        prototypes: of each of the n classes wanted.
        size: (H, W) of the image.
        resolution: ``"strided"`` → (n, ⌈H/4⌉, ⌈W/4⌉), ``"full"`` → (n, H, W).

    Returns:
        maps of maximum 1 each, in the order of `prototypes`; a class without context may have negative values, and one
        whose values are all ≤ 0 is 0.

    Raises:
        DataError: no features, or NaN or inf in them.
        RecipeError: an unknown resolution.
    """
    check_resolution(resolution)
    if not features:
        raise DataError("no features to make maps of: give those of at least one scale.")
    output = strided_size(size) if resolution == "strided" else full_size(size)
    shown = output if resolution == "strided" else size
    if not prototypes:
        return features[0].new_zeros(0, *shown)
    sums = [both[0] + both[1].flip(-1) if len(both) == 2 else both[0] for both in features]  # (D, h_i, w_i) each
    scales = [torch.stack([prototype_map(each, own) for own in prototypes]) for each in sums]  # (n, h_i, w_i) each
    fused = torch.stack([upsample(each, output) for each in scales]).mean(0)[:, : shown[0], : shown[1]]  # (n, *shown)
    check_finite(fused, "class maps", "the features do, as those of a network that diverged")
    largest = fused.amax((1, 2), keepdim=True)
    maps: Tensor = torch.where(largest > 0, fused / largest, torch.zeros_like(fused))
    return maps
