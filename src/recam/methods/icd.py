"""ICD: Fan et al., Learning Integral Objects with Intra-Class Discriminator, CVPR 2020.

CAM tells classes apart and need not find all of an object; ICD parts the pixels of one class from the background of the
same images. *Bottom-up*, a direction of feature space per class: the first principal one of the features of images
that have this class alone, with the sign by which the class's map is larger on its positive side. Its scores, made even
within superpixels, teach *top-down* a small network that reads more context; the logits of that are the maps.

Followed: the published code (js-fan/ICD, MXNet). The published numbers are sums over the batch, which its optimizer
divides by the batch; so does the training here. Weights of the paper's equations could not be checked against its text.

Departures: the backbone is any, where the code's two wide layers start from VGG's fc6 and fc7, here they start fresh;
gradients of the directions are exactly the code's, with its small constants. A region of 255 is what lies outside the
picture. `seed_mask` is the published rule for masks, with saliency maps as well; in a run, masks come from the maps by
a threshold, as those of every training, since the rule needs the maps of CAM beside and no threshold.

Letters: B images, K classes, n of them wanted, D channels, R regions, h×w features, H×W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from recam.errors import DataError
from recam.labels import BACKGROUND, IGNORE, mask_values
from recam.methods.cam import EPS
from recam.models.backbones import Backbone
from recam.models.classifier import heads
from recam.settings import Count, Momentum, NonNegative, Settings, Share
from recam.types import Grey, Mask


@dataclass(frozen=True)
class IcdSettings(Settings):
    """What ICD's directions and losses depend on; the defaults are the published ones."""

    direction_scale: NonNegative = 10.0
    """Factor on the gradients of the directions."""
    momentum: Momentum = 0.9
    """Of the mean responses that decide on the sign of each direction."""
    confident: Share = 0.2
    """Positions whose score lies above this part of the extreme one, on either side, teach the top-down branch."""
    width: Count = 1024
    """Channels of the two layers of the top-down branch."""
    warmup_epochs: NonNegative = 2.0
    """Epochs over which the top-down loss rises from e⁻¹⁰ of its weight, while the directions settle."""


def unit_rows(directions: Tensor) -> Tensor:
    """w / √(|w|² + 1e-10) of directions (K, D)."""
    return directions / (directions.square().sum(1, keepdim=True) + 1e-10).sqrt()


def direction_scores(features: Tensor, directions: Tensor) -> Tensor:
    """Bottom-up scores ŵ_c · x, without a sign that means anything: (B, D, h, w), (K, D) → (B, K, h, w)."""
    return F.conv2d(features, unit_rows(directions)[:, :, None, None])


def direction_loss(features: Tensor, directions: Tensor, labels: Tensor, scale: float = 10.0) -> Tensor:
    """−(scale / 2hw) Σ (ŵ_c · x)² over the positions of images whose one label is c: least where w_c is the features'
    first principal direction.

    Args:
        features: (B, D, h, w), batch-normalised; no gradient flows to them.
        directions: (K, D); their gradient is the published code's.
        labels: (B, K) in {0, 1}.
        scale: see `IcdSettings`.
    """
    flat = features.detach().flatten(2)  # (B, D, n)
    alone = labels * (labels.sum(1, keepdim=True) < 1.001)  # (B, K)
    with torch.no_grad():
        scores = (unit_rows(directions) @ flat) * alone[:, :, None]  # (B, K, n)
        pull = -(scale / flat.shape[2]) * torch.einsum("bkn,bdn->kd", scores, flat)  # (K, D)
        square = directions.square().sum(1, keepdim=True)
        norm = square.sqrt()
        along = (directions * pull).sum(1, keepdim=True)
        gradient = pull / (norm + EPS) - directions * along / (square * norm + EPS)
        value = -(scale / (2 * flat.shape[2])) * scores.square().sum()
    linear = (directions * gradient).sum()
    return value + linear - linear.detach()


def response_means(scores: Tensor, maps: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """How much of the class's map lies on either side of its direction.

    Args:
        scores: bottom-up, without sign (B, K, h, w).
        maps: raw class maps (B, K, h, w).
        labels: (B, K) in {0, 1}.

    Returns:
        (K, 2): means of relu(maps) where the score is positive and where it is negative, over the images that have the
        class; and which classes the batch has (K,).
    """
    positive = maps.relu()
    sides = [
        (positive * side).sum((2, 3)) / side.sum((2, 3)).clamp_min(EPS)
        for side in ((scores > 0).to(maps.dtype), (scores < 0).to(maps.dtype))
    ]  # (B, K) each
    counts = labels.sum(0)
    means = torch.stack([(side * labels).sum(0) / counts.clamp_min(EPS) for side in sides], 1)
    return means, counts >= 0.999


def signs(means: Tensor) -> Tensor:
    """−1 for each direction on whose negative side the map is larger, else 1: (K, 2) → (K,)."""
    return 1 - 2 * (means[:, 0] < means[:, 1]).to(means.dtype)


def region_membership(regions: Tensor, size: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """How much of each position lies in each region: numbers (B, H, W), in [0, R) → (B, R, h·w), bilinear with corners
    aligned; a column sums to 1. One entry per region, not one plane of the image."""
    count = int(regions.max()) + 1
    (rows, row_shares), (columns, column_shares) = (
        _corners(side, wanted, regions.device, dtype) for side, wanted in zip(regions.shape[1:], size, strict=True)
    )
    found = torch.zeros(len(regions), count, size[0] * size[1], dtype=dtype, device=regions.device)
    for row, row_share in zip(rows, row_shares, strict=True):
        for column, column_share in zip(columns, column_shares, strict=True):
            corner = regions[:, row][:, :, column].flatten(1)[:, None]  # (B, 1, h·w)
            share = (row_share[:, None] * column_share).flatten().expand(len(regions), 1, -1)
            found.scatter_add_(1, corner, share)
    return found


def _corners(side: int, wanted: int, device: torch.device, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """The two pixels (wanted,) that each of `wanted` evenly spread positions lies between, and their shares."""
    place = torch.linspace(0, side - 1, wanted, device=device, dtype=torch.float64)
    low = place.floor().long().clamp_max(max(side - 2, 0))
    share = (place - low).to(dtype)
    return [low, (low + 1).clamp_max(side - 1)], [1 - share, share]


@torch.no_grad()
def refine_by_regions(scores: Tensor, regions: Tensor, labels: Tensor) -> Tensor:
    """Make scores even within regions.

    A region is foreground where the votes for some class, Σ sign of its scores, are positive; its class is the one with
    the largest mean share. There the class has the region's mean of relu(score), all others, and all in other regions,
    that of min(score, 0).

    Args:
        scores: signed (B, K, h, w).
        regions: (B, H, W) int64, as `region_membership`.
        labels: (B, K) in {0, 1}.

    Returns:
        (B, K, h, w), without a graph.
    """
    size = scores.shape[2:]
    members = region_membership(regions, size, scores.dtype)  # (B, R, n)
    own = scores.flatten(2) * labels[:, :, None]  # (B, K, n)
    votes = own.sign() @ members.transpose(1, 2)  # (B, K, R)
    means = (members / members.sum(2, keepdim=True).clamp_min(EPS)).transpose(1, 2)  # (B, n, R): of a region sum to 1
    shares = own.relu() / own.amax(1, keepdim=True).clamp_min(EPS)  # (B, K, n)
    winner = F.one_hot((shares @ means).argmax(1), own.shape[1]).transpose(1, 2)  # (B, K, R)
    foreground = (votes.amax(1, keepdim=True) > EPS) * winner * labels[:, :, None]  # (B, K, R)
    values = torch.where(foreground > 0, own.relu() @ means, own.clamp_max(0) @ means)  # (B, K, R)
    return (values @ members).view_as(scores)


def topdown_loss(logits: Tensor, scores: Tensor, labels: Tensor, confident: float = 0.2) -> Tensor:
    """Binary cross-entropy of logits with the sign of scores, where these are confident; summed over images, present
    classes and positions, over h·w.

    Args:
        logits: (B, K, h, w).
        scores: (B, K, h, w), constant.
        labels: (B, K) in {0, 1}.
        confident: see `IcdSettings`.
    """
    scores = scores.detach()
    high, low = scores.amax((2, 3), keepdim=True), scores.amin((2, 3), keepdim=True)
    stretched = scores.relu() / high.clamp_min(EPS) + scores.clamp_max(0) / (-low).clamp_min(EPS)
    counted = (stretched.abs() > confident) * labels[:, :, None, None]
    target = (stretched > 0).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * counted).sum() / (logits.shape[2] * logits.shape[3])


def warmup_weight(passed: float | Tensor) -> Tensor:
    """e^(−10 · (1 − passed)) of the part of the warm-up that has passed; 1 after it."""
    rest = (1 - torch.as_tensor(passed, dtype=torch.float32)).clamp_min(0)
    return (-10 * rest).exp()


@heads.register("icd")
class IntraClassDiscriminator(nn.Module):
    """Both branches on the features of a backbone.

    Args:
        backbone: whose features these are.
        n_classes: K.
        width: channels of the two layers of the top-down branch.
    """

    means: Tensor

    def __init__(self, backbone: Backbone, n_classes: int, width: int = 1024) -> None:
        super().__init__()
        channels = backbone.channels
        self.norm = nn.BatchNorm2d(channels)
        self.norm.weight.requires_grad_(False)  # published: the scale stays 1
        self.directions = nn.Parameter(torch.randn(n_classes, channels) * 0.01)
        self.register_buffer("means", torch.zeros(n_classes, 2))
        self.context = nn.ModuleList([nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 1)])
        self.logits = nn.Conv2d(channels + 2 * width, n_classes, 1, bias=False)

    def top_down(self, normed: Tensor) -> Tensor:
        """Normalised features (B, D, h, w) → logits (B, K, h, w)."""
        first = self.context[0](normed).relu()
        second = self.context[1](first).relu()
        logits: Tensor = self.logits(torch.cat([normed, first, second], 1))
        return logits

    @torch.no_grad()
    def bottom_up(self, normed: Tensor, maps: Tensor, labels: Tensor, momentum: float) -> Tensor:
        """Signed scores (B, K, h, w); in training mode the means that decide on signs are moved first."""
        scores = direction_scores(normed, self.directions)
        if self.training:
            found, present = response_means(scores, maps, labels)
            current = torch.where(present[:, None], found, self.means)
            self.means.lerp_(current.to(self.means.dtype), 1 - momentum)
        return scores * signs(self.means)[:, None, None]

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, D, h, w) → logits (B, K, h, w) of the top-down branch, which are the maps."""
        return self.top_down(self.norm(features))


def seed_mask(
    icd: NDArray[np.floating],
    cam: NDArray[np.floating],
    class_indices: Sequence[int],
    saliency: Grey | None = None,
) -> Mask:
    """The published mask of one image: a class where its ICD score is positive, of several the one whose score times
    CAM is largest; background where all are negative; 255 where neither or both hold.

    Args:
        icd: (n, H, W) top-down logits.
        cam: (n, H, W) raw class maps.
        class_indices: the class of each, 0…K−1.
        saliency: (H, W) in [0, 1]; pixels below 0.01 are then the background, unless nearly all of the image is.

    Raises:
        DataError: maps that do not fit.
    """
    if icd.shape != cam.shape or len(icd) != len(class_indices) or not len(icd):
        raise DataError(f"ICD: maps {icd.shape}, {cam.shape} and {len(class_indices)} classes do not fit.")
    share = np.maximum(icd, 0) / np.maximum(icd.max((1, 2), keepdims=True), 1e-5)  # (n, H, W)
    proposed = share > 1e-5
    foreground, winner = proposed.any(0), proposed.argmax(0)
    negative = np.minimum(icd, 0) / np.minimum(icd.min((1, 2), keepdims=True), -1e-5)
    background = (negative > 1e-5).all(0)
    if saliency is not None:
        pale = saliency < 0.01
        background = pale & background if 1 - pale.mean() < 0.01 else pale
    ignored = background == foreground
    if len(icd) > 1:
        response = np.maximum(cam, 0)
        response = response - response.min()
        compared = share * response / max(response.max(), 1e-5)
        winner = np.where(proposed.sum(0) > 1, compared.argmax(0), winner)
        ignored |= foreground & (compared.max(0) - compared.min(0) <= 1e-5)
    mask: Mask = mask_values(class_indices)[winner + 1]
    mask[background] = BACKGROUND
    mask[ignored] = IGNORE
    return mask


def seed_probabilities(mask: Mask, n_values: int, confidence: float = 0.5) -> NDArray[np.float32]:
    """What the published CRF starts from: a seed mask (H, W) → (n_values, H, W), sum 1, background first.

    A seed has `confidence` before the probabilities are normalised, every other value an equal part of the rest;
    ignored pixels have all values alike.
    """
    values = np.full((256, mask.size), (1 - confidence) / n_values, np.float32)
    values[mask.ravel(), np.arange(mask.size)] = confidence
    shares: NDArray[np.float32] = values[:n_values] / values[:n_values].sum(0)
    return shares.reshape(n_values, *mask.shape)
