"""Attention of plain transformers: TS-CAM's maps, and class maps spread along the attention of patches.

TS-CAM (Gao et al., ICCV 2021): what the class token attends to, A (summed over layers, mean over heads), says where
something is, whatever it is; the classifier's map of the patches, S_k, says which class. Their product is the map:
M_k = A ⊗ S_k (their eq. 8). Followed: the published code (vasgaowei/TS-CAM), with our classifier's maps as S_k.
Departure: the mean over layers stands for the sum, as maps are divided by their maximum.

Attention as affinity (MCTformer, Xu et al., CVPR 2022, section 3.3; TS-CAM's heirs): the attention of patches to
patches, mean over heads and the last layers, rows summing to 1, times the maps (eq. 8 of MCTformer: P = A_p2p · M).
`symmetric` balances it by Sinkhorn's rule first, as CLIP-ES does, so that no patch is drained. The matrix has (h·w)²
entries, of patches, not of pixels: that is the method.

A transformer without a class token (SAM, SigLIP) has in its place how much attention each patch gets.

Letters: T tokens, P of them prefix tokens (class, distillation, registers), h×w patches, n maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from recam.errors import DataError, RecipeError
from recam.methods.arguments import check_image
from recam.methods.cam import read_strided, upsample
from recam.methods.refine import check_threshold, with_background, without_background
from recam.preprocess import rgb_of
from recam.settings import Settings
from recam.types import Image, SeedMaps

SINKHORN = 2
"""Rounds of columns and rows; CLIP-ES takes two of them."""


@dataclass(frozen=True)
class AttentionSettings(Settings):
    """How maps spread along attention; the defaults are MCTformer's, but for the layers (ours)."""

    layers: int = 0
    """The last so many layers count; 0: all (MCTformer takes all)."""
    symmetric: bool = False
    """Balance the matrix so that rows and columns sum to 1 (CLIP-ES)."""
    steps: int = 1
    """How often the maps are multiplied by it."""

    def __post_init__(self) -> None:
        problems = [f"layers must be ≥ 0, got {self.layers}"] * (self.layers < 0)
        problems += [f"steps must be ≥ 0, got {self.steps}"] * (self.steps < 0)
        if problems:
            raise RecipeError(f"attention: {'; '.join(problems)}.")


def class_attention(attention: Tensor, prefix: int, grid: tuple[int, int]) -> Tensor:
    """How much the first token attends to each patch: (B, T, T) → (B, h, w); without prefix tokens, how much all
    attend to it.

    Raises:
        DataError: tokens that are not those of the grid.
    """
    _check(attention, prefix, grid)
    row = attention[:, 0, prefix:] if prefix else attention.mean(1)  # (B, h·w)
    return row.reshape(len(row), *grid)


def patch_affinity(attention: Tensor, prefix: int, grid: tuple[int, int], symmetric: bool = False) -> Tensor:
    """Attention of patches to patches, (B, T, T) → (B, h·w, h·w), rows summing to 1. Raises `DataError` as
    `class_attention`."""
    _check(attention, prefix, grid)
    found = attention[:, prefix:, prefix:]
    for _ in range(SINKHORN if symmetric else 0):
        found = found / found.sum(1, keepdim=True)
        found = found / found.sum(2, keepdim=True)
    found = (found + found.transpose(1, 2)) / 2 if symmetric else found
    return found / found.sum(2, keepdim=True)


def couple(attention: Tensor, class_maps: Tensor) -> Tensor:
    """TS-CAM's M_k = A ⊗ S_k: (B, h, w) and raw maps (B, n, h, w) → (B, n, h, w)."""
    return attention[:, None] * class_maps


def spread(maps: Tensor, affinity: Tensor, steps: int = 1) -> Tensor:
    """A^steps · maps: (n, h, w) and (h·w, h·w), rows summing to 1, → (n, h, w): values stay within those of a map."""
    flat = maps.flatten(1).T  # (h·w, n)
    for _ in range(steps):
        flat = affinity @ flat
    return flat.T.reshape(maps.shape)


@dataclass(frozen=True)
class AttentionRefiner:
    """Class maps spread along the attention of a transformer; threshold the result at 0.5.

    Attributes:
        attention_of: of an image (H, W, 3) uint8 and a number of layers: attention (1, T, T), P, and the grid.
        threshold: background plane of the maps that come in; None: there is no background.
        settings: see there.
    """

    attention_of: Callable[[Image, int], tuple[Tensor, int, tuple[int, int]]]
    threshold: float | None = 0.21
    settings: AttentionSettings = field(default_factory=AttentionSettings)

    def __post_init__(self) -> None:
        check_threshold(self.threshold, "attention")

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        if not len(seed.maps):
            return seed
        image = rgb_of(image)
        check_image(image, seed.size)
        attention, prefix, grid = self.attention_of(image, self.settings.layers)
        affinity = patch_affinity(attention.float(), prefix, grid, self.settings.symmetric)[0]  # (h·w, h·w)
        strided = torch.from_numpy(with_background(read_strided(seed), self.threshold))
        planes = upsample(strided.to(affinity.device), grid)  # (n + 1, h, w)
        moved = upsample(spread(planes, affinity, self.settings.steps), (strided.shape[1], strided.shape[2]))
        refined = moved.cpu().numpy()
        maps = refined if self.threshold is None else without_background(refined)
        return SeedMaps(maps.clip(0, 1).astype(np.float32, copy=False), seed.class_indices, seed.size, seed.ignore)


def _check(attention: Tensor, prefix: int, grid: tuple[int, int]) -> None:
    tokens = prefix + grid[0] * grid[1]
    if attention.shape[1:] != (tokens, tokens):
        raise DataError(f"attention {tuple(attention.shape)} is not that of {prefix} + {grid[0]}×{grid[1]} tokens.")
