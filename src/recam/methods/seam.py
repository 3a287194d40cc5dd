"""SEAM: Wang et al., Self-supervised Equivariant Attention Mechanism, CVPR 2020.

Maps of a smaller image should be the smaller maps of the image. A classifier reads each image at two sizes; a pixel
correlation module (PCM) spreads its maps over pixels of like low-level features; three losses pull the four sets of
maps together. PCM's maps are the result.

Followed: the published code (YudeWang/SEAM). Where the paper has less: ``loss_rvmin``, which lowers PCM's weakest
responses (`smallest_scores`), and `keep_largest` in ECR are the code's alone; the only transform is the smaller size.
The correlation matrix has (h·w)² entries per image by definition: 3136² at 448 pixels and stride 8.

Departures: features at other strides than PCM's are brought to it (published: all at 8); the background is no output of
the classifier, whose own the published code never uses; K + 1 channels are counted where the code has 21. Colour jitter
is left out, as augmentation is that of all trainings here.

Letters: B images, K classes, n of them wanted, C channels, h×w features, H×W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recam.errors import DataError, RecipeError
from recam.methods.arguments import as_labels
from recam.methods.cam import EPS, bce_loss, class_maps
from recam.models.backbones import Backbone
from recam.models.classifier import heads
from recam.settings import NonNegative, Settings, Share

PROBE = 64
"""Side of the image that shows the channels of the levels."""


@dataclass(frozen=True)
class SeamSettings(Settings):
    """What SEAM's network and losses depend on; the defaults are the published ones."""

    scale: Share = 0.3
    """Size of the second view, as a part of the first."""
    er_weight: NonNegative = 1.0
    """Weight of the equivariance loss (ER)."""
    ecr_weight: NonNegative = 1.0
    """Weight of the equivariant cross loss (ECR) between the classifier's maps and PCM's."""
    hardest: Share = 0.2
    """Part of an image's values that ECR counts, the largest differences."""
    lower_weakest: bool = True
    """Lower PCM's weakest responses, as the published code does and the paper does not say."""
    dropout: Share = 0.5
    """Part of the feature channels that the classifier does without in each step."""

    def __post_init__(self) -> None:
        if not 0 < self.scale < 1:
            raise RecipeError(f"SEAM: scale must lie between 0 and 1, got {self.scale}.")
        if self.hardest == 0:
            raise RecipeError("SEAM: hardest must be above 0: ECR counts that part of the values.")


@dataclass(frozen=True)
class SeamLoss:
    """The loss of one batch and its parts, scalars with graphs.

    Attributes:
        total: classification + er_weight · ER + ecr_weight · (ECR1 + ECR2).
        classification: mean of both views' logistic loss, and of `weakest` where that is counted.
        er: mean |A(x) − A(s·x)| of the normalised maps.
        ecr: by view, the classifier's maps of the other view against PCM's of this.
        logistic: by view.
        weakest: by view.
    """

    total: Tensor
    classification: Tensor
    er: Tensor
    ecr: tuple[Tensor, Tensor]
    logistic: tuple[Tensor, Tensor]
    weakest: tuple[Tensor, Tensor]


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear with corners aligned, as all resizing in SEAM: (B, C, h, w) → (B, C, *size)."""
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=True)


def stretch(maps: Tensor) -> Tensor:
    """relu(p − m − ε) / (M − m + ε) of p = relu(maps), M and m its largest and smallest value: each plane (…, h, w) in
    [0, 1). All 0 without a positive value. There is a gradient through both extremes."""
    positive = maps.relu()
    low, high = positive.amin((-2, -1), keepdim=True), positive.amax((-2, -1), keepdim=True)
    return (positive - low - EPS).relu() / (high - low + EPS)


def keep_largest(maps: Tensor) -> Tensor:
    """(B, 1 + K, h, w), background first → the same with 0 for every class that is not the position's largest. That
    keeps its value; the background is left as it is."""
    classes = maps[:, 1:]
    return torch.cat([maps[:, :1], classes * (classes == classes.amax(1, keepdim=True))], 1)


def smallest_scores(maps: Tensor, part: float = 0.25) -> Tensor:
    """Mean over images of the lowest quarter of max_k relu(A_k): (B, C, h, w) → scalar."""
    largest = maps.amax(1).flatten(1)  # (B, h·w)
    count = int(largest.shape[1] * part)
    if not count:  # of three positions there is no quarter
        return largest.sum() * 0
    return largest.topk(count, largest=False).values.relu().mean()


def with_background(maps: Tensor) -> Tensor:
    """(B, K, h, w) in [0, 1] → (B, 1 + K, h, w): 1 − the largest comes first."""
    return torch.cat([1 - maps.amax(1, keepdim=True), maps], 1)


@torch.no_grad()
def seed_maps(maps: Tensor) -> Tensor:
    """What PCM spreads: raw class maps (B, K, h, w) → (B, 1 + K, h, w) in [0, 1], without a graph.

    Each class over its maximum, background 1 − the largest class, and of the classes the largest alone.
    """
    positive = maps.relu()
    cams = (positive - EPS).relu() / (positive.amax((2, 3), keepdim=True) + EPS)  # (B, K, h, w)
    return keep_largest(with_background(cams))


def correlate(seeds: Tensor, features: Tensor) -> Tensor:
    """PCM: y_j = Σ_i s_i A_ij / (Σ_i A_ij + ε), A_ij = relu(g_i · g_j), g = f / (‖f‖ + ε) at each position.

    Args:
        seeds: (B, C, h, w).
        features: (B, d, h, w) of the same h×w.

    Returns:
        (B, C, h, w); each value is a mean of the channel, weighted by likeness.

    Raises:
        DataError: sizes that do not fit.
    """
    if seeds.shape[0] != features.shape[0] or seeds.shape[2:] != features.shape[2:]:
        raise DataError(f"SEAM: maps {tuple(seeds.shape)} and features {tuple(features.shape)} must be of one size.")
    flat = features.flatten(2)  # (B, d, n)
    unit = flat / (flat.norm(dim=1, keepdim=True) + EPS)
    likeness = (unit.transpose(1, 2) @ unit).relu()  # (B, n, n)
    likeness = likeness / (likeness.sum(1, keepdim=True) + EPS)
    spread: Tensor = seeds.flatten(2) @ likeness  # (B, C, n)
    return spread.view_as(seeds)


def seam_loss(
    scores: tuple[Tensor, Tensor], refined: tuple[Tensor, Tensor], labels: Tensor, settings: SeamSettings | None = None
) -> SeamLoss:
    """All losses of a batch in two sizes.

    Args:
        scores: the classifier's raw maps at the size of the images: (B, K, H, W) and, of the smaller view,
            (B, K, h, w).
        refined: PCM's of the same, background first: (B, 1 + K, H, W) and (B, 1 + K, h, w).
        labels: (B, K) in {0, 1}.
        settings: published ones if None.

    Raises:
        DataError: labels that do not fit.
    """
    settings = settings or SeamSettings()
    small = scores[1].shape[2:]
    labels = as_labels(labels, scores[0][:, :, 0, 0])
    present = labels[:, :, None, None]
    all_present = F.pad(present, (0, 0, 0, 0, 1, 0), value=1)  # (B, 1 + K, 1, 1): the background always is
    logistic = tuple(bce_loss(maps.mean((2, 3)), labels) for maps in scores)
    weakest = tuple(smallest_scores(maps[:, 1:] * present) for maps in refined)
    classification = sum(logistic) / 2
    if settings.lower_weakest:
        classification = classification + sum(weakest) / 2
    # Both views at the smaller size, absent classes 0.
    ours = (resize(stretch(scores[0]), small) * present, stretch(scores[1]) * present)  # (B, K, h, w)
    theirs = (resize(stretch(refined[0]), small) * all_present, stretch(refined[1]) * all_present)  # (B, 1 + K, h, w)
    er = (ours[0] - ours[1]).abs().mean()
    ecr = tuple(
        _hardest((keep_largest(with_background(target.detach())) - maps).abs(), settings.hardest)
        for target, maps in zip(reversed(ours), theirs, strict=True)
    )
    total = classification + settings.er_weight * er + settings.ecr_weight * sum(ecr)
    return SeamLoss(total, classification, er, ecr, logistic, weakest)  # type: ignore[arg-type]


def _hardest(differences: Tensor, part: float) -> Tensor:
    """Mean of the largest part of each image's values (B, C, h, w)."""
    flat = differences.flatten(1)
    return flat.topk(max(int(flat.shape[1] * part), 1)).values.mean()


@heads.register("pcm")
class PixelCorrelation(nn.Module):
    """PCM's features and spreading: of the image and of the two levels before the last, which get no gradient.

    Args:
        backbone: whose levels it reads.
        n_classes: taken by all heads; PCM has no part per class.
        widths: channels of the two projected levels, and of what is made of both and the image.

    Raises:
        RecipeError: a backbone without five levels.
    """

    def __init__(self, backbone: Backbone, n_classes: int, widths: tuple[int, int, int] = (64, 128, 192)) -> None:
        super().__init__()
        with torch.no_grad():
            probe = torch.zeros(1, backbone.bands, PROBE, PROBE)
            channels = [level.shape[1] for level in backbone.levels(probe)[2:4]]
        self.levels = nn.ModuleList(nn.Conv2d(*pair, 1, bias=False) for pair in zip(channels, widths[:2], strict=True))
        self.join = nn.Conv2d(sum(widths[:2]) + backbone.bands, widths[2], 1, bias=False)
        for level in self.levels:
            nn.init.kaiming_normal_(level.get_parameter("weight"))
        nn.init.xavier_uniform_(self.join.weight, gain=4)

    def features(self, images: Tensor, levels: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """(B, d, *size) of images (B, 3, H, W) and the two levels (B, C_i, h_i, w_i)."""
        projected = [layer(level.detach()).relu() for layer, level in zip(self.levels, levels, strict=True)]
        parts = [part if part.shape[2:] == tuple(size) else resize(part, size) for part in (images, *projected)]
        joined: Tensor = self.join(torch.cat(parts, 1))
        return joined

    def forward(self, images: Tensor, levels: Sequence[Tensor], maps: Tensor) -> Tensor:
        """Raw class maps (B, K, h, w) → spread maps (B, 1 + K, h, w), background first."""
        size = maps.shape[2:]
        return correlate(seed_maps(maps), self.features(images, levels, size).to(maps.dtype))


def refined_maps(backbone: Backbone, pcm: PixelCorrelation, weight: Tensor, images: Tensor) -> Tensor:
    """SEAM's maps at inference, of all K classes: images (B, 3, H, W) → (B, K, h, w) ≥ 0.

    The classes compete in PCM, so maps of a few are rows of the maps of all.
    """
    levels = backbone.levels(images)
    refined: Tensor = pcm(images, levels[2:4], class_maps(levels[-1], weight))
    return refined[:, 1:]
