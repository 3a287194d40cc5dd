"""BES, boundary exploration based segmentation: Chen, Wu, Fu, Han & Zhang, ECCV 2020: boundaries are read off class
maps where classes meet, a network learns them, and the maps walk as IRN's do.

1. Class maps of a classifier with attention pooling: features weighted by the softmax over positions of k · x, held
   constant.
2. Confident labels as IRN's. In a window around each pixel, S⁰ is the share of background, S¹ ≥ S² the largest two of
   classes. In this order, later ones overwrite: background where S⁰ > 2θs and S⁰ − S¹ ≥ 2θd; foreground with S⁰ and S¹
   exchanged; a boundary to the background where min(S⁰, S¹) > θs and |S⁰ − S¹| < θd; one between classes where
   S² > θs and S¹ − S² < θd; ignored elsewhere.
3. Loss of the boundary probability p: means of −log(1 − p) over background and over foreground, halved, plus the mean
   of −√p · log p over both boundaries, √p held constant.
4. The random walk of IRN with these boundaries, β = 5.

Followed: the authors' code (mt-cly/BES, 9343488). The means have one more than their pixels in the divisor; boundaries
between classes are not in the paper. The network is IRN's boundary branch on a frozen backbone (`recam.models.irnet`),
its walk IRN's (`recam.methods.irn_walk`): nothing of them is repeated here. Left out: the CRF behind the walk, which is
the refiner of that name (``refine = ["bes", "crf"]``, `crf.terms` = ``{bilateral_sxy = 20}``).

Letters: B images, K classes, D channels, H×W image, h×w features or the map at a quarter of the image's size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recam.errors import DataError, RecipeError
from recam.labels import BACKGROUND, IGNORE
from recam.methods.cam import classify, fitting_rows
from recam.settings import Settings
from recam.types import Mask

IS_BACKGROUND, IS_FOREGROUND, BETWEEN_CLASSES, TO_BACKGROUND, IGNORED = 0, 50, 100, 150, 200
"""Values of boundary labels, as published."""
LEAST = 1e-4
"""Probabilities are clamped to [LEAST, 1 − LEAST]; there is no gradient beyond."""


@dataclass(frozen=True)
class BesSettings(Settings):
    """What boundary labels and the walk depend on; the defaults are the published ones."""

    window: int = 13
    """Side (pixels) of the window around each pixel, odd."""
    theta_scale: float = 0.3
    """Θs: share of the window that a side of a boundary must exceed; twice that inside."""
    theta_diff: float = 0.1
    """Θd: shares that differ by less are a boundary; by twice that or more, none."""
    walk_radius: float = 5
    """How far one step of the random walk may reach, exclusive, on the stride-4 map."""
    beta: float = 5
    """Exponent of the affinities in the walk; IRN's is 10."""
    steps: int = 256
    """Length of the walk; published 2⁸."""

    def __post_init__(self) -> None:
        problems = []
        if self.window < 1 or self.window % 2 == 0:
            problems.append(f"window={self.window}: must be odd and at least 1")
        shares = {"theta_scale": self.theta_scale, "theta_diff": self.theta_diff}
        problems += [f"{name}={value}: must be in [0, 0.5]" for name, value in shares.items() if not 0 <= value <= 0.5]
        problems += [f"walk_radius={self.walk_radius}: must be > 1"] * (not 1 < self.walk_radius < float("inf"))
        problems += [f"beta={self.beta}: must be a finite number ≥ 0"] * (not 0 <= self.beta < float("inf"))
        problems += [f"steps={self.steps}: must be ≥ 0"] * (self.steps < 0)
        if problems:
            raise RecipeError(f"BES: {'; '.join(problems)}.")


@dataclass(frozen=True)
class BesLoss:
    """The loss of one batch and its parts, scalars.

    Attributes:
        total: with graph, ground + boundary.
        ground: (background + foreground) / 2.
        background, foreground: how far the probability is from 0 inside of each.
        boundary: how far it is from 1 on boundaries.
    """

    total: Tensor
    ground: Tensor
    background: Tensor
    foreground: Tensor
    boundary: Tensor


def attention_logits(features: Tensor, weight: Tensor, scale: float = 1e-3) -> Tensor:
    """Logits (B, K) of step 1: features (B, D, h, w) pooled with attention, then the classifier (K, D) or (K, D, 1, 1).
    Maps are made without the attention, as CAM's."""
    fitting_rows(features, weight)
    flat = features.detach().flatten(2)  # (B, D, h·w)
    attention = (scale * flat).softmax(2) * flat.shape[2]  # (B, D, h·w), of mean 1
    return classify(features * attention.view_as(features), weight)


def boundary_labels(confident: Mask, settings: BesSettings | None = None) -> Mask:
    """Step 2: confident labels (H, W) uint8 of 0 background, class values, 255 → (H, W) uint8 of the five values above.

    Windows are clipped at the border; unknown pixels count in the area and for no share.

    Raises:
        DataError: labels that are not (H, W) uint8.
    """
    settings = settings or BesSettings()
    if confident.ndim != 2 or confident.dtype != np.uint8:
        raise DataError(f"confident labels are (H, W) uint8, got {confident.dtype} {confident.shape}.")
    labels = torch.from_numpy(np.ascontiguousarray(confident))
    classes = [value for value in np.unique(confident).tolist() if value not in (BACKGROUND, IGNORE)]
    planes = torch.stack([labels == value for value in (BACKGROUND, *classes)]).float()  # (1 + n, H, W)
    around = settings.window // 2
    shares = F.avg_pool2d(planes[None], settings.window, 1, around, count_include_pad=False)[0]  # (1 + n, H, W)
    none = shares.new_zeros(2, *shares.shape[1:])
    ground, (first, second) = shares[0], torch.cat([shares[1:], none]).topk(2, 0).values
    scale, diff = settings.theta_scale, settings.theta_diff
    found = torch.full_like(labels, IGNORED)
    found[(ground > 2 * scale) & (ground - first >= 2 * diff)] = IS_BACKGROUND
    found[(first > 2 * scale) & (first - ground >= 2 * diff)] = IS_FOREGROUND
    found[(torch.minimum(first, ground) > scale) & ((first - ground).abs() < diff)] = TO_BACKGROUND
    found[(second > scale) & (first - second < diff)] = BETWEEN_CLASSES
    return found.numpy()


def bes_loss(logits: Tensor, labels: Tensor) -> BesLoss:
    """Step 3.

    Args:
        logits: (B, 1, h, w), before the sigmoid.
        labels: (B, h, w) of `boundary_labels`; 200 and 255 are not counted.

    Raises:
        DataError: sizes that do not fit each other.
    """
    if logits.ndim != 4 or logits.shape[1] != 1 or labels.shape != (len(logits), *logits.shape[2:]):
        raise DataError(
            f"BES: labels {tuple(labels.shape)} do not fit logits {tuple(logits.shape)}: give (B, h, w) and (B, 1, h,"
            " w)."
        )
    p = logits[:, 0].float().sigmoid().clamp(LEAST, 1 - LEAST)  # (B, h, w)
    outside, inside = -(1 - p).log(), -p.log() * p.detach().sqrt()

    def mean(cost: Tensor, where: Tensor) -> Tensor:
        return (cost * where).sum() / (where.sum() + 1)

    background, foreground = mean(outside, labels == IS_BACKGROUND), mean(outside, labels == IS_FOREGROUND)
    boundary = mean(inside, (labels == BETWEEN_CLASSES) | (labels == TO_BACKGROUND))
    ground = (background + foreground) / 2
    return BesLoss(ground + boundary, ground, background, foreground, boundary)
