"""Affinities of a frozen network's features: class maps walk along them, or are refined by them as PAMR does by colour.

What self-supervised transformers are used for in this field (DINO's features in LOST, TokenCut and their successors):
features of the same thing are alike. Here affinities are those of near positions alone, so that time and memory grow
with the number of pixels: no matrix of all pairs of pixels is made.

1. Each of the chosen levels, brought to a quarter of the image, loses its mean over the image, which all positions
   share and which would make everything alike; its affinities are a_ij = max(0, cos(f_i, f_j)), the mean over levels
   theirs.
2. ``walk``: the maps beside a background plane take `steps` steps of IRN's walk along a_ij to the power of `beta`.
   ``pamr``: the first principal components of all levels, enlarged to the image, stand beside its colours in PAMR.

With superpixels (Felzenszwalb & Huttenlocher, as ICD makes them) a position has the mean features of its superpixel, so
that the network's coarse features end where the image's regions do.

No published code is followed; the parts are (`recam.methods.irn_walk`, `recam.methods.pamr`).

Letters: L levels, D channels of one, h×w a quarter of the image H×W, n maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from recam.errors import RecipeError
from recam.methods.arguments import check_finite, check_image
from recam.methods.cam import read_full, read_strided, strided_size, upsample
from recam.methods.irn_paths import Offset
from recam.methods.irn_walk import walk_along
from recam.methods.pamr import PamrSettings
from recam.methods.pamr import refine as refine_by_pamr
from recam.methods.refine import check_threshold, with_background, without_background
from recam.methods.region_cam import feature_affinities
from recam.methods.superpixels import region_features, segment_graph
from recam.preprocess import rgb_of
from recam.settings import Settings
from recam.types import Image, SeedMaps

LevelsOf = Callable[[Image], Sequence[Tensor]]
"""An image (H, W, 3) uint8 → features of a frozen network, L times (D_l, h_l, w_l), of any size."""


@dataclass(frozen=True)
class FeatureSettings(Settings):
    """How maps follow features (ours)."""

    by: Literal["walk", "pamr"] = "walk"
    """``walk``: IRN's random walk along affinities of features; ``pamr``: PAMR, of colours and features."""
    levels: tuple[Annotated[int, Field(ge=1, le=5)], ...] = (2, 3, 4, 5)
    """Which of the network's five levels are read, 1 the stem; of a network without them its features alone are."""
    superpixels: bool = False
    """A position has the mean features of its superpixel; needs the extra superpixels."""
    radius: float = 5
    """How far one step of the walk may reach, exclusive, in pixels of a quarter of the image."""
    beta: float = 8
    """Exponent of the affinities."""
    steps: int = 32
    """Steps of the walk."""
    components: int = 8
    """Principal components of the features that PAMR reads."""

    def __post_init__(self) -> None:
        problems = ["levels must name at least one"] * (not self.levels)
        problems += [f"radius must be a finite number > 1, got {self.radius}"] * (not 1 < self.radius < float("inf"))
        problems += [f"beta must be a finite number ≥ 0, got {self.beta}"] * (not 0 <= self.beta < float("inf"))
        problems += [f"steps must be ≥ 0, got {self.steps}"] * (self.steps < 0)
        problems += [f"components must be ≥ 1, got {self.components}"] * (self.components < 1)
        if problems:
            raise RecipeError(f"feature affinity: {'; '.join(problems)}.")


def centred(level: Tensor, size: tuple[int, int]) -> Tensor:
    """Features (D, h_l, w_l) at `size`, without their mean over the image: (D, h, w)."""
    enlarged = upsample(level.float(), size)  # (D, h, w)
    return enlarged - enlarged.mean((1, 2), keepdim=True)


def pool_regions(features: Tensor, regions: NDArray[np.integer]) -> Tensor:
    """Features (D, h, w), each the mean over the superpixel that the position's first pixel lies in.

    Args:
        regions: (H, W) numbers from 0, H and W at most 4·h and 4·w.
    """
    means = region_features(features.cpu().numpy(), regions)  # (R, D)
    height, width = features.shape[1:]
    rows = np.arange(height) * regions.shape[0] // height
    columns = np.arange(width) * regions.shape[1] // width
    pooled = means[regions[rows[:, None], columns]]  # (h, w, D)
    return torch.from_numpy(pooled.transpose(2, 0, 1)).to(features)


def level_affinities(levels: Sequence[Tensor], radius: float) -> dict[Offset, Tensor]:
    """Mean over the levels (D_l, h, w) of max(0, cos), for each offset within the radius (h − y, w − |x|)."""
    each = [feature_affinities(level, radius) for level in levels]
    return {offset: torch.stack([pairs[offset] for pairs in each]).mean(0) for offset in each[0]}


def walk(planes: Tensor, pairs: Mapping[Offset, Tensor], settings: FeatureSettings) -> Tensor:
    """Planes (n, h, w) after the walk; a pixel's sum over planes stays what it was where that is the same
    everywhere."""
    return walk_along(planes, pairs, settings.beta, settings.steps)


def principal_components(features: Tensor, number: int) -> Tensor:
    """The first principal components of features (D, h, w) without their mean: (min(number, D), h, w)."""
    flat = features.flatten(1).double()  # (D, h·w)
    _, vectors = torch.linalg.eigh(flat @ flat.T)  # ascending
    chosen = vectors[:, -number:].flip(1)  # (D, c)
    components: Tensor = chosen.T @ flat  # (c, h·w)
    return components.view(-1, *features.shape[1:]).float()


@dataclass(frozen=True)
class FeatureRefiner:
    """Class maps that follow the features of a frozen network; threshold the result at 0.5.

    Attributes:
        levels_of: the network.
        threshold: background plane of the maps that come in; None: there is no background.
        settings: see there.
        device: where to compute.
    """

    levels_of: LevelsOf
    threshold: float | None = 0.21
    settings: FeatureSettings = field(default_factory=FeatureSettings)
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        check_threshold(self.threshold, "feature affinity")

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        if not len(seed.maps):
            return seed
        image = rgb_of(image)
        check_image(image, seed.size)
        levels = [centred(level.to(self.device), strided_size(seed.size)) for level in self.levels_of(image)]
        for level in levels:
            check_finite(level, "features", "the network that made them diverged")
        if self.settings.superpixels:
            regions = segment_graph(image)
            levels = [pool_regions(level, regions) for level in levels]
        refined = self._walked(levels, seed) if self.settings.by == "walk" else self._by_pamr(levels, image, seed)
        maps = refined.clip(0, 1) if self.threshold is None else without_background(refined).clip(0, 1)
        return SeedMaps(maps.astype(np.float32, copy=False), seed.class_indices, seed.size, seed.ignore)

    def _walked(self, levels: Sequence[Tensor], seed: SeedMaps) -> NDArray[np.float32]:
        planes = torch.from_numpy(with_background(read_strided(seed), self.threshold)).to(self.device)
        walked: NDArray[np.float32] = (
            walk(planes, level_affinities(levels, self.settings.radius), self.settings).cpu().numpy()
        )
        return walked

    def _by_pamr(self, levels: Sequence[Tensor], image: Image, seed: SeedMaps) -> NDArray[np.float32]:
        planes = torch.from_numpy(with_background(read_full(seed), self.threshold)).to(self.device)  # (n + 1, H, W)
        unit = torch.cat([F.normalize(level, dim=0) for level in levels])  # (ΣD_l, h, w)
        features = upsample(principal_components(unit, self.settings.components), seed.size)  # (c, H, W)
        colours = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(features)  # (3, H, W)
        guide = torch.cat([colours, features])[None]
        refined: NDArray[np.float32] = refine_by_pamr(guide, planes[None], PamrSettings())[0].cpu().numpy()
        return refined
