"""How a network reads an image, in NumPy and Pillow alone: resized, normalised, and what comes out resized back.

Kept apart from `recam.training.augment`, so that exported networks predict where PyTorch is not installed.
"""

from __future__ import annotations

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from recam.types import Image

Triple = tuple[float, float, float]
Planes = NDArray[np.float32]
"""(n, H, W)."""


def normalise_pixels(image: Image, mean: Triple, std: Triple) -> Planes:
    """(H, W, 3) uint8 → (3, H, W) float32, scaled to [0, 1], minus `mean`, over `std`."""
    scaled = (image.astype(np.float32) / 255 - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))  # (H, W, 3) → (3, H, W)


def resize_image(image: Image, size: tuple[int, int]) -> Image:
    """(H, W, 3) uint8 → (*size, 3), bicubic (antialiased when it shrinks, as Pillow does)."""
    if image.shape[:2] == size:
        return image
    return np.asarray(PIL.Image.fromarray(image).resize(size[::-1], PIL.Image.Resampling.BICUBIC))


def scaled_size(size: tuple[int, int], scale: float, max_side: int | None = None) -> tuple[int, int]:
    """(H, W) at which an image of `size` is read: reduced first to a longer side of `max_side` where it is larger, then
    times `scale`."""
    factor = scale * (min(1.0, max_side / max(size)) if max_side else 1.0)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def resize_planes(planes: Planes, size: tuple[int, int]) -> Planes:
    """(n, h, w) → (n, *size), bilinear, corners not aligned, not antialiased: what PyTorch's ``interpolate``
    computes."""
    for axis, length in ((1, size[0]), (2, size[1])):
        source = planes.shape[axis]
        if source == length:
            continue
        place = ((np.arange(length) + 0.5) * (source / length) - 0.5).clip(
            0, source - 1
        )  # centre of each new pixel among the old ones
        before = np.floor(place).astype(np.int64)
        after = np.minimum(before + 1, source - 1)
        part = (place - before).astype(np.float32)
        part = part[:, None] if axis == 1 else part
        low, high = planes.take(before, axis), planes.take(after, axis)
        planes = low + (high - low) * part
    return planes
