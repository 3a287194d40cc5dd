"""Pixel-adaptive mask refinement (PAMR): Araslanov & Roth, "Single-Stage Semantic Segmentation from Image Labels", CVPR
2020, section 3.3.

Each pixel's class vector becomes a weighted mean of those of its neighbours, several times over; neighbours of similar
colour weigh more. The affinity of a pixel and a neighbour is −|difference in colour| /
(0.1 · local standard deviation), the mean over colour channels; a softmax over all neighbours makes the weights.
Neighbours are the 8 around the pixel at each of several dilations.

Followed: the published code: the standard deviation is over all dilations together, the pixel itself counted once for
each (54 samples at the published dilations, unbiased); borders are replicated. Departures: the published code gathers
all neighbours of all channels of image and maps at once; here one shifted view after the other is added up, so that
only the weights, one plane per neighbour, are held.

The affinity does not change when a colour channel is scaled or shifted: images may be normalised or not.

Letters: B images, C maps each, H×W pixels, N neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recam.errors import DataError, RecipeError
from recam.methods.arguments import check_finite, check_image
from recam.methods.cam import read_full
from recam.methods.refine import check_threshold, with_background, without_background
from recam.preprocess import rgb_of
from recam.settings import Settings, section
from recam.types import Image, SeedMaps


@section("pamr")
@dataclass(frozen=True)
class PamrSettings(Settings):
    """How far and how often; the defaults are the published ones."""

    iterations: int = 10
    """How often each pixel takes the weighted mean of its neighbours."""
    dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
    """Distances of the rings of 8 neighbours, pixels."""
    contrast_scale: float = 0.1
    """Α; differences in colour are divided by α · local standard deviation; a smaller one respects fainter edges."""

    def __post_init__(self) -> None:
        problems = []
        if self.iterations < 1:
            problems.append(f"iterations must be at least 1, got {self.iterations}")
        if not self.dilations or min(self.dilations) < 1:
            problems.append(f"dilations must be one or more distances ≥ 1, got {self.dilations}")
        if not 0 < self.contrast_scale < float("inf"):
            problems.append(f"contrast_scale must be a finite number above 0, got {self.contrast_scale}")
        if problems:
            raise RecipeError(f"PAMR: {'; '.join(problems)}.")


@dataclass(frozen=True)
class PamrRefiner:
    """Class maps refined by PAMR, at full size; threshold the result at 0.5.

    Attributes:
        threshold: background plane of the maps that come in; published best thresholds of seeds are 0.15 (CAM) and 0.21
            (ReCAM). None: there is no background, the largest of what comes out counts.
        settings: published ones.
        device: where to compute.
    """

    threshold: float | None = 0.21
    settings: PamrSettings = field(default_factory=PamrSettings)
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        check_threshold(self.threshold, "PAMR")

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        if not len(seed.maps):
            return seed
        image = rgb_of(image)
        check_image(image, seed.size)
        planes = torch.from_numpy(with_background(read_full(seed), self.threshold)).to(self.device)  # (n + 1, H, W)
        images = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(self.device).float()  # (3, H, W)
        refined = refine(images[None], planes[None], self.settings)[0].cpu().numpy()  # (n + 1, H, W)
        maps = refined.clip(0, 1) if self.threshold is None else without_background(refined)
        return SeedMaps(maps, seed.class_indices, seed.size, seed.ignore)


@torch.no_grad()
def refine(images: Tensor, maps: Tensor, settings: PamrSettings | None = None) -> Tensor:
    """Maps refined along the edges of their images; no gradient.

    Every new value is a mean of old ones with weights that all C maps share: values stay in their range, and sums of 1
    over C stay 1. Refine class maps together with a background plane, so that the argmax means something.

    Args:
        images: (B, 3, H, W) float, of any scale and offset.
        maps: (B, C, H, W) float, at the size of the images.
        settings: published ones if None.

    Returns:
        (B, C, H, W), of the maps' type.

    Raises:
        DataError: images and maps that do not fit, are not float, or hold NaN or inf.
    """
    settings = settings or PamrSettings()
    _check(images, maps)
    weights = affinities(images, settings)  # (B, N, H, W)
    refined = maps.to(weights.dtype, copy=True)
    for _ in range(settings.iterations):
        padded = _pad(refined, settings.dilations)
        refined.zero_()  # the padded copy holds the old values
        for index, neighbour in enumerate(_neighbours(padded, settings.dilations)):  # (B, C, H, W) each
            refined.addcmul_(neighbour, weights[:, index : index + 1])
    return refined.to(maps.dtype)


@torch.no_grad()
def affinities(images: Tensor, settings: PamrSettings | None = None) -> Tensor:
    """Weights of the neighbours of each pixel: (B, 3, H, W) → (B, N, H, W) float32 (float64 of float64), summing to 1
    over N.

    N = 8 · dilations, in the order of `settings.dilations`, each ring row by row.
    """
    settings = settings or PamrSettings()
    images = images if images.dtype == torch.float64 else images.float()
    padded = _pad(images, settings.dilations)
    deviation = (
        _local_deviation(images, padded, settings.dilations).mul_(settings.contrast_scale).add_(1e-8)
    )  # (B, 3, H, W)
    weights = images.new_empty(len(images), 8 * len(settings.dilations), *images.shape[2:])  # (B, N, H, W)
    for index, neighbour in enumerate(_neighbours(padded, settings.dilations)):
        torch.mean((neighbour - images).abs_().div_(deviation).neg_(), 1, out=weights[:, index])
    # Softmax in place: this tensor is the largest of all.
    weights.sub_(weights.amax(1, keepdim=True)).exp_()
    return weights.div_(weights.sum(1, keepdim=True))


def _local_deviation(images: Tensor, padded: Tensor, dilations: tuple[int, ...]) -> Tensor:
    """Unbiased standard deviation (B, 3, H, W) over the 3×3 samples of all dilations; two passes, since one would
    cancel digits."""
    samples = 9 * len(dilations)
    mean = images * len(dilations)
    for neighbour in _neighbours(padded, dilations):
        mean += neighbour
    mean /= samples
    squares = (images - mean).square_() * len(dilations)
    for neighbour in _neighbours(padded, dilations):
        squares += (neighbour - mean).square_()
    return squares.div_(samples - 1).sqrt_()


def _pad(planes: Tensor, dilations: tuple[int, ...]) -> Tensor:
    """Planes (B, C, H, W) with replicated borders as wide as the largest dilation."""
    return F.pad(planes, [max(dilations)] * 4, mode="replicate")


def _neighbours(padded: Tensor, dilations: tuple[int, ...]) -> Iterator[Tensor]:
    """The planes (B, C, H, W) shifted to each neighbour in turn: views of their padded copy."""
    reach = max(dilations)
    height, width = padded.shape[2] - 2 * reach, padded.shape[3] - 2 * reach
    for dilation in dilations:
        for down in (-dilation, 0, dilation):
            for right in (-dilation, 0, dilation):
                if down or right:
                    yield padded[:, :, reach + down : reach + down + height, reach + right : reach + right + width]


def _check(images: Tensor, maps: Tensor) -> None:
    if images.ndim != 4 or maps.ndim != 4 or len(images) != len(maps) or images.shape[2:] != maps.shape[2:]:
        raise DataError(
            f"images are (B, 3, H, W) and maps (B, C, H, W) of the same B, H and W; got {tuple(images.shape)} and"
            f" {tuple(maps.shape)}. "
            "Bring the maps to the size of their images first."
        )
    if not (images.is_floating_point() and maps.is_floating_point()):
        raise DataError(f"images and maps must be float, got {images.dtype} and {maps.dtype}.")
    check_finite(images, "images", "refine images that are whole")
    check_finite(maps, "maps", "the network that made them diverged")
