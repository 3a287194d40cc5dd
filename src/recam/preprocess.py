"""How a network reads an image, in NumPy and Pillow alone: resized, normalised, and what comes out resized back.

Kept apart from `recam.training.augment`, so that exported networks predict where PyTorch is not installed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from recam.errors import DataError
from recam.types import Image

PerBand = tuple[float, ...]
"""One number for each band of an image."""
Planes = NDArray[np.float32]
"""(n, H, W)."""


def normalise_pixels(image: Image, mean: PerBand, std: PerBand) -> Planes:
    """(H, W, n) uint8 → (n, H, W) float32, scaled to [0, 1], minus `mean`, over `std`.

    Raises:
        DataError: an image of other bands than there are means.
    """
    if image.shape[2] != len(mean):
        raise DataError(
            f"an image of {image.shape[2]} bands, and the network reads {len(mean)}. Give it the bands that it was"
            " trained on (data.bands of its run)."
        )
    scaled = (image.astype(np.float32) / 255 - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))  # (H, W, n) → (n, H, W)


def rgb_of(image: Image) -> Image:
    """The first three bands of an image (H, W, n) as (H, W, 3) RGB, for display and for methods that compare colours.
    Of one or two, the last one is repeated; what has no bands stays, for its reader to refuse."""
    if image.ndim != 3 or image.shape[2] == 3:
        return image
    count = image.shape[2]
    return np.ascontiguousarray(image[..., [0, min(1, count - 1), min(2, count - 1)]])


def change_bands(image: Image, change: Callable[[PIL.Image.Image], PIL.Image.Image]) -> Image:
    """What `change` makes of an image (H, W, n): of RGB at once, of other numbers of bands one by one, as Pillow would
    take two or four of them for colour and transparency."""
    if image.shape[2] == 3:
        return np.asarray(change(PIL.Image.fromarray(image)))
    return np.stack([np.asarray(change(PIL.Image.fromarray(image[..., band]))) for band in range(image.shape[2])], -1)


def resize_image(image: Image, size: tuple[int, int]) -> Image:
    """(H, W, n) uint8 → (*size, n), bicubic (antialiased when it shrinks, as Pillow does)."""
    if image.shape[:2] == size:
        return image
    return change_bands(image, lambda picture: picture.resize(size[::-1], PIL.Image.Resampling.BICUBIC))


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
