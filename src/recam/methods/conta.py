"""CONTA: Zhang et al., Causal Intervention for Weakly-Supervised Semantic Segmentation, NeurIPS 2020.

What a class is usually seen with confounds its classifier. In rounds, a segmentation network learns from the masks so
far; the mean of what it predicts of each class over the images with that class is that class's confounder; and the next
classifier reads, beside its features, a map of the confounders that the image's own predicted mask attends to: the
backdoor adjustment, as one more channel. Its maps give the next masks.

Followed: the paper, and its authors' answers (issues 3, 9, 12, 13 of ZHANGDONG-NJUST/CONTA). The published code has the
attention alone (`attend`, `context_of`), in a class that cannot be built (`inter_channel` is nowhere defined) and that
nothing calls; what it makes of it, a classifier of all pairs of masks and contexts of a batch, is `joint_logits`, and
plays no part in the training here.

Departures: the mask of an image is predicted anew of each view by the round's network, which is a part of the
classifier; so new images need no masks of their own (published: files "to be prepared by yourself"). Masks and
confounders are squares of `side` positions.

Letters: N masks, B images, K classes = n confounders, D = side² positions, d width of the attention, h×w features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recam.errors import DataError
from recam.labels import BACKGROUND, IGNORE, mask_value
from recam.models.backbones import Backbone
from recam.models.classifier import heads
from recam.models.segmenters import SegmenterSettings
from recam.preprocess import PerBand
from recam.settings import Count, Settings, read_settings
from recam.types import Mask


@dataclass(frozen=True)
class ContaSettings(Settings):
    """What the context of an image depends on."""

    side: Count = 32
    """Side of the squares that masks and confounders are reduced to; the paper's are of the features' size."""
    width: Count = 21
    """d: outputs of the two projections whose product is the attention."""


def reduce_mask(mask: Mask, n_classes: int, side: int) -> Tensor:
    """A predicted mask (H, W) → (K, side²) in [0, 1]: how much of each square's pixels a class has; 255 is none."""
    values = torch.from_numpy(mask).long()
    values = torch.where(values == IGNORE, BACKGROUND, values)
    hot = F.one_hot(values, mask_value(n_classes)).permute(2, 0, 1)[mask_value(0) :].float()  # (K, H, W)
    return F.adaptive_avg_pool2d(hot, side).flatten(1)


def attend(masks: Tensor, confounders: Tensor, query: nn.Linear, key: nn.Linear) -> Tensor:
    """α = softmax over confounders of (W₁ X)(W₂ c)ᵀ / √d: masks (N, D), confounders (n, D) → (N, n)."""
    if masks.shape[-1] != confounders.shape[-1]:
        raise DataError(
            f"CONTA: masks {tuple(masks.shape)} and confounders {tuple(confounders.shape)} must have as many positions."
        )
    attention: Tensor = (query(masks) @ key(confounders).T / math.sqrt(query.out_features)).softmax(1)
    return attention


def context_of(attention: Tensor, confounders: Tensor, prior: Tensor | None = None) -> Tensor:
    """M = Σ_i α_i P(c_i) c_i: attention (N, n), confounders (n, D), prior (n,), 1/n each if None → (N, D)."""
    count = len(confounders)
    weights = attention / count if prior is None else attention * prior
    return weights @ confounders


def joint_logits(masks: Tensor, contexts: Tensor, classify: nn.Linear) -> tuple[Tensor, Tensor]:
    """What the published code makes of a batch: masks and contexts (N, D) → all pairs (N², 2D), row i·N + j of mask i
    and context j, and their logits."""
    count = len(masks)
    joint = torch.cat([masks.repeat_interleave(count, 0), contexts.repeat(count, 1)], 1)
    return joint, classify(joint)


@heads.register("context")
class ContextHead(nn.Module):
    """The segmentation network of a round, its confounders, and the channel that they add to a classifier.

    Args:
        backbone: whose images it reads.
        n_classes: K.
        segmenter: the network's settings, JSON-ready.
        background: whether it has an output for the background.
        side, width: see `ContaSettings`.
    """

    scale: Tensor
    shift: Tensor
    confounders: Tensor

    def __init__(
        self,
        backbone: Backbone,
        n_classes: int,
        *,
        segmenter: Mapping[str, Any],
        background: bool = True,
        side: int = 32,
        width: int = 21,
    ) -> None:
        super().__init__()
        network = read_settings(SegmenterSettings, segmenter).make(n_classes, "none", backbone.bands, background)
        self.segmenter = network.eval().requires_grad_(False)
        self.side, self.background = side, background
        self.register_buffer("scale", torch.ones(backbone.bands, 1, 1))
        self.register_buffer("shift", torch.zeros(backbone.bands, 1, 1))
        self.register_buffer("confounders", torch.zeros(n_classes, side * side))
        self.query, self.key = nn.Linear(side * side, width), nn.Linear(side * side, width)
        self.weight = nn.Parameter(torch.empty(n_classes))
        nn.init.uniform_(self.weight, -1 / math.sqrt(backbone.channels), 1 / math.sqrt(backbone.channels))

    def train(self, mode: bool = True) -> ContextHead:
        """As `nn.Module.train`; the segmentation network has learned already."""
        super().train(mode)
        self.segmenter.eval()
        return self

    def normalise(self, mean: PerBand, std: PerBand, own_mean: PerBand, own_std: PerBand) -> None:
        """From here on images normalised by the first two come, and the segmentation network wants the others."""
        first, second = (
            torch.tensor([means, stds])[..., None, None] for means, stds in ((mean, std), (own_mean, own_std))
        )
        self.scale.copy_(first[1] / second[1])
        self.shift.copy_((first[0] - second[0]) / second[1])

    @torch.no_grad()
    def masks(self, images: Tensor) -> Tensor:
        """X: how much of each square's pixels is of any class, (B, D) in [0, 1]; images (B, 3, H, W) as the classifier
        reads them. Without a background all of it is."""
        predicted = self.segmenter(images * self.scale + self.shift).argmax(1, keepdim=True)  # (B, 1, H, W)
        objects = (predicted != BACKGROUND).float() if self.background else torch.ones_like(predicted).float()
        return F.adaptive_avg_pool2d(objects, self.side).flatten(1)

    def forward(self, images: Tensor, size: Sequence[int]) -> Tensor:
        """M of images (B, 3, H, W) at the size of their features: (B, 1, *size)."""
        attention = attend(self.masks(images), self.confounders, self.query, self.key)  # (B, n)
        context = context_of(attention, self.confounders).view(-1, 1, self.side, self.side)  # (B, 1, side, side)
        return F.interpolate(context, tuple(size), mode="bilinear", align_corners=False)

    def add(self, maps: Tensor, images: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """Maps (B, n, h, w) of some classes, all if None → the same with the context's part, v_k M."""
        weight = self.weight if classes is None else self.weight[list(classes)]
        context: Tensor = self(images, maps.shape[2:])
        return maps + weight[:, None, None] * context.to(maps.dtype)
