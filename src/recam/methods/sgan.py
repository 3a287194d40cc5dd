"""SGAN: Yao & Gong, Saliency Guided Self-Attention Network for Weakly and Semi-Supervised Semantic Segmentation, IEEE
Access 2020.

Positions of the features attend to each other, but salient ones to salient ones and others to others alone, so that a
class spreads over its object and not beyond. Two branches read what comes out: a classifier of images, and one of
positions, which learns seeds: where earlier class maps are sure of a class. The maps are the sum of both.

Followed: the published code (yaoqi-zd/SGAN). Where it differs from the paper: attention is stretched from its row's
minimum and divided by the row's sum, without a softmax; what attends is the features themselves; background seeds are
ignored, and there is no background channel. A balanced loss on seeds and the boundary loss, which the code holds and
does not call, are those of `recam.methods.dsrg`. Departures: seeds are found at the size of the features in each
step, from maps that are augmented with the image; a batch without seeds has a seed loss of 0 (published: NaN).

Letters: B images, K classes, n of them an image's, C channels, h×w features, p = h·w positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from recam.errors import DataError
from recam.labels import IGNORE, check_class_indices, mask_values
from recam.methods.cam import bce_loss, read_full
from recam.methods.edam import check_saliency
from recam.methods.refine import maps_of_mask
from recam.models.backbones import Backbone
from recam.models.classifier import heads
from recam.settings import Count, NonNegative, Settings, Share, section
from recam.types import Image, Maps, Mask, SeedMaps, check_maps

EPS = 1e-5
Conflict = Literal["smaller", "ignore"]


@dataclass(frozen=True)
class SganSettings(Settings):
    """What SGAN's network and losses depend on; the defaults are the published ones."""

    saliency_threshold: Share = 0.06
    """A position is salient above it, and background of the seeds below."""
    seed_threshold: Share = 0.3
    """A map is sure of its class above so much of its maximum: a seed."""
    seed_weight: NonNegative = 0.15
    """Weight of the loss on seeds beside that on image labels."""
    width: Count = 1024
    """Channels between attention and class maps."""
    dropout: Share = 0.5
    """Part of those channels that a training step does without."""


@section("sgan_masks")
@dataclass(frozen=True)
class SganMaskSettings(Settings):
    """SGAN's masks by saliency maps, `refine = ["sgan"]`; the defaults are the published ones."""

    class_threshold: Share = 0.25
    """A map claims its class above so much of its maximum."""
    saliency_threshold: Share = 0.06
    """Pixels less salient are claimed by the background."""
    conflict: Conflict = "smaller"
    """Who gets a pixel that several claim: the one that claims the ``smaller`` area, or, by ``ignore``, none."""


@dataclass(frozen=True)
class SganLoss:
    """The loss of one batch and its parts, scalars with graphs."""

    total: Tensor
    classification: Tensor
    seed: Tensor


def at_size(saliency: Tensor, size: Sequence[int]) -> Tensor:
    """Saliency (B, 1, H, W) in [0, 1] at the size of features: (B, 1, h, w)."""
    resized: Tensor = F.interpolate(saliency.float(), tuple(size), mode="bilinear", align_corners=True)
    return resized


def salient_positions(saliency: Tensor, threshold: float = 0.06) -> Tensor:
    """Saliency (B, 1, h, w) in [0, 1] → 0 and 1: above the threshold, the outermost positions never."""
    inside = torch.zeros_like(saliency)
    inside[..., 1:-1, 1:-1] = 1
    found: Tensor = (saliency > threshold) * inside
    return found


def guided_attention(query: Tensor, key: Tensor, salient: Tensor) -> Tensor:
    """Attention of each position (row) to all: among salient ones by likeness, among others evenly.

    Args:
        query, key: (B, C', p).
        salient: (B, p) of 0 and 1.

    Returns:
        (B, p, p).
    """
    together, apart = (each[:, :, None] * each[:, None] for each in (salient, 1 - salient))  # (B, p, p)
    likeness = query.mT @ key * query.shape[1] ** -0.5 * together
    raised = (likeness - likeness.amin(2, keepdim=True)) * together
    among: Tensor = raised / (raised.sum(2, keepdim=True) + EPS)
    return among + apart / (apart.sum(2, keepdim=True) + EPS)


@heads.register("sgan")
class SaliencyGuidedAttention(nn.Module):
    """Attention among features and the two branches behind it.

    Args:
        backbone: whose features it reads, C channels.
        n_classes: K.
        width: channels between attention and class maps.
        dropout: see `SganSettings`.
    """

    def __init__(self, backbone: Backbone, n_classes: int, width: int = 1024, dropout: float = 0.5) -> None:
        super().__init__()
        channels = backbone.channels
        self.query, self.key = (nn.Conv2d(channels, max(channels // 2, 1), 1) for _ in range(2))
        self.gamma = nn.Parameter(torch.zeros(1))
        self.widen = nn.Conv2d(channels, width, 3, padding=1)
        self.classify = nn.Conv2d(width, n_classes, 1, bias=False)
        self.segment = nn.Conv2d(channels, n_classes, 1)
        self.dropout = dropout

    def attend(self, features: Tensor, salient: Tensor) -> Tensor:
        """Features (B, C, h, w) with what each takes from others; salient (B, 1, h, w) of 0 and 1."""
        query, key = self.query(features).flatten(2), self.key(features).flatten(2)  # (B, C/2, p)
        attention = guided_attention(query, key, salient.flatten(1))  # (B, p, p)
        context = attention @ features.flatten(2).mT  # (B, p, C)
        fused: Tensor = self.gamma * context.mT.reshape(features.shape) + features
        return fused

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Class maps and logits of seeds, both (B, K, h, w), of features after `attend`."""
        wide = F.dropout2d(F.relu(self.widen(features)), self.dropout, self.training)  # (B, width, h, w)
        return self.classify(wide), self.segment(features)


def sure_of(cams: Tensor, threshold: float) -> Tensor:
    """Where maps (…, h, w) exceed so much of their maximum: bool."""
    return cams > threshold * cams.amax((-2, -1), keepdim=True)


def seed_map(
    classes: Tensor, background: Tensor, conflict: Conflict = "smaller", yielding: Sequence[int] = ()
) -> Tensor:
    """One label for each position of those that claim it.

    Args:
        classes: (B, n, h, w) bool, positions that each class claims.
        background: (B, 1, h, w) bool.
        conflict: see `SganMaskSettings`.
        yielding: classes, 0…n−1, that give way to the background wherever that claims a position; published for VOC's
            boat and train.

    Returns:
        (B, h, w) int64: 0, the class + 1, or 255 where nobody claims it.
    """
    claims = torch.cat([background, classes], 1)  # (B, 1 + n, h, w)
    if conflict == "ignore":
        single = claims.sum(1) == 1
        return torch.where(single, claims.int().argmax(1), IGNORE)
    area = claims.sum((2, 3), keepdim=True)  # (B, 1 + n, 1, 1)
    least = torch.where(claims, area, claims[0, 0].numel() + 1)  # (B, 1 + n, h, w)
    chosen = torch.where(claims.any(1), least.argmin(1), IGNORE)  # (B, h, w)
    gives_way = torch.isin(chosen, torch.tensor([each + 1 for each in yielding], device=chosen.device))
    return torch.where(gives_way & background[:, 0], 0, chosen)


def seed_targets(seeds: Tensor) -> Tensor:
    """What the seed branch learns: seeds (B, h, w) of `seed_map` → 0…K−1, 255 where there is no class."""
    return torch.where((seeds == 0) | (seeds == IGNORE), IGNORE, seeds - 1)


def sgan_loss(
    maps: Tensor, segmentation: Tensor, labels: Tensor, targets: Tensor, settings: SganSettings | None = None
) -> SganLoss:
    """Loss on image labels and on seeds.

    Args:
        maps: (B, K, h, w) of the classification branch; their means are the logits.
        segmentation: (B, K, h, w) logits of the seed branch.
        labels: (B, K) in {0, 1}.
        targets: (B, h, w) int64 of `seed_targets`.
        settings: published ones if None.
    """
    if targets.shape != segmentation[:, 0].shape:
        raise DataError(f"SGAN: targets {tuple(targets.shape)} are not those of {tuple(segmentation.shape)} logits.")
    settings = settings or SganSettings()
    classification = bce_loss(maps.mean((2, 3)), labels)
    summed = F.cross_entropy(segmentation, targets, ignore_index=IGNORE, reduction="sum")
    seed = summed / (targets != IGNORE).sum().clamp_min(1)
    return SganLoss(classification + settings.seed_weight * seed, classification, seed)


def saliency_mask(
    cams: Maps,
    class_indices: Sequence[int] | NDArray[np.integer],
    saliency: NDArray[np.floating],
    settings: SganMaskSettings | None = None,
) -> Mask:
    """Mask of an image's maps with the background of a saliency map.

    Args:
        cams: (n, H, W) class maps in [0, 1].
        class_indices: (n,) the class of each, 0…K−1.
        saliency: (H, W) float in [0, 1].
        settings: published ones if None.

    Returns:
        (H, W): background, class, or 255 where nobody claims a pixel.

    Raises:
        DataError: maps and saliency that do not fit, either of them outside [0, 1] or NaN; class indices that are none,
            or not one for each map.
    """
    own = settings or SganMaskSettings()
    check_saliency(saliency, cams.shape[1:])
    check_maps(cams)
    check_class_indices(class_indices, len(cams))
    claimed = sure_of(torch.from_numpy(np.array(cams)), own.class_threshold)[None]  # (1, n, H, W)
    background = torch.from_numpy(np.array(saliency < own.saliency_threshold))[None, None]
    winner = seed_map(claimed, background, own.conflict)[0].numpy()  # (H, W)
    mask: Mask = np.append(mask_values(class_indices), np.uint8(IGNORE))[np.minimum(winner, len(cams) + 1)]
    return mask


@dataclass(frozen=True)
class SganRefiner:
    """`saliency_mask` of an image's class maps: full-size maps of 0 and 1, its 255 as pixels to ignore; any threshold
    between gives the mask.

    Attributes:
        saliency_of: the saliency map of an image, (H, W) float in [0, 1].
        settings: published ones.
    """

    saliency_of: Callable[[Image], NDArray[np.floating]]
    settings: SganMaskSettings = field(default_factory=SganMaskSettings)

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        # Planes instead of classes: mask value i is the i-th map.
        mask = saliency_mask(read_full(seed), range(len(seed.maps)), self.saliency_of(image), self.settings)
        return maps_of_mask(mask, seed)
