"""Refiners: an image and its class maps in, better class maps out; one after another they are a chain.

What they share is how a background gets into maps that have none, and out again. Maps come with a threshold t: a pixel
is background where no map exceeds it. Methods that weigh labels against each other need a plane for it: [t, maps…],
divided by their sum. Afterwards a class is m_k = p_k / (p_k + p_background), so that m_k > 0.5 just where the class
outweighs the background. Where every pixel belongs to one of the image's classes (ours) there is no such plane, the
threshold is None, and what counts is which map is the largest.

Letters: n maps of one image, H×W its size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from recam.errors import RecipeError
from recam.labels import IGNORE
from recam.types import Image, Maps, Mask, SeedMaps

EVEN = 0.5
"""The threshold of maps from `without_background`: above it a class outweighs the background."""


class Refiner(Protocol):
    """What every refiner is: a callable, usually a frozen dataclass of its settings."""

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        """Refined maps of the same classes in the same order, in [0, 1], at a quarter of the image or at its full size.

        Args:
            image: (H, W, 3) uint8 RGB.
            seed: its class maps; their `class_indices` are its labels. An image without labels has none, and gets none.
        """
        ...


@dataclass(frozen=True)
class Chain:
    """Refiners one after another."""

    refiners: tuple[Refiner, ...]

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        for refiner in self.refiners:
            seed = refiner(image, seed)
        return seed


def check_threshold(threshold: float | None, what: str) -> None:
    """Raises `RecipeError` for a threshold outside [0, 1]; None, no background, is none."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise RecipeError(f"{what}: threshold must be in [0, 1], got {threshold}.")


def with_background(maps: Maps, threshold: float | None) -> Maps:
    """Maps (n, H, W) in [0, 1] → (n + 1, H, W), the background first, in [0, 1] and summing to 1; with a threshold of
    None (n, H, W), without one."""
    if threshold is None:
        total = maps.sum(0)  # (H, W)
        even: Maps = np.divide(maps, total, out=np.full_like(maps, 1 / max(len(maps), 1)), where=total > 0)
        return even
    planes = np.concatenate([np.full((1, *maps.shape[1:]), threshold, np.float32), maps])  # (n + 1, H, W)
    total = planes.sum(0)
    # Where everything is 0 there is no evidence of a class.
    planes[0, total == 0] = total[total == 0] = 1
    probabilities: Maps = planes / total
    return probabilities


def without_background(probabilities: Maps) -> Maps:
    """Probabilities (n + 1, H, W), the background first → (n, H, W) in [0, 1], above 0.5 where a class outweighs the
    background."""
    background, classes = probabilities[:1], probabilities[1:]
    both = background + classes  # (n, H, W)
    maps: Maps = np.divide(classes, both, out=np.zeros_like(classes), where=both > 0)
    return maps


def one_plane_a_class(labels: np.ndarray, class_count: int, first: int = 1) -> Maps:
    """Labels (H, W), `first` + i the i-th class, the background below → (n, H, W) of 0 and 1."""
    planes: Maps = np.stack([labels == i + first for i in range(class_count)]).astype(np.float32)  # (n, H, W)
    return planes


def maps_of_mask(mask: Mask, seed: SeedMaps) -> SeedMaps:
    """A mask (H, W) of an image whose value i is the i-th of its maps, from 1, as full-size maps of 0 and 1; what it or
    the seed ignores is ignored."""
    ignore = mask == IGNORE
    if seed.ignore is not None:
        ignore |= seed.ignore
    maps = one_plane_a_class(mask, len(seed.maps)) if len(seed.maps) else np.zeros((0, *seed.size), np.float32)
    return SeedMaps(maps, seed.class_indices, seed.size, ignore if ignore.any() else None)


def join(refiners: Iterable[Refiner]) -> Chain:
    """A chain of refiners, in order."""
    return Chain(tuple(refiners))
