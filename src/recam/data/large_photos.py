"""Photos of more than `LARGE` pixels where the networks read fewer anyway (`data.max_side`): reduced, to bound memory
and time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from recam.data.images import LARGE, ImageFile, rgb_pixels, upright
from recam.data.opening import open_picture
from recam.preprocess import resize_image, scaled_size
from recam.types import Image, Source

WORKING = 10_000_000
"""Pixels of the copy that a mask is predicted from: n planes of probabilities take 4 n bytes for each of them."""
_REDUCIBLE = ("JPEG", "MPO", "PNG", "WEBP", "BMP")
"""Formats whose EXIF orientation outlives `Image.reduce`."""


def read_reduced(source: Source, side: int | None) -> tuple[Image, tuple[int, int]]:
    """The (h, w, 3) picture of a source, reduced by a whole factor if it has more than `LARGE` pixels; and the size
    (H, W) that it had.

    A JPEG is decoded at a half, a quarter or an eighth of its size where that suffices, others are reduced before they
    become RGB arrays.

    Args:
        side: pixels that the longer side is resized to afterwards, at most: it comes out no shorter. None: nothing is
            reduced.

    Raises:
        as `recam.data.images.read_image` does.
    """
    if side is None or not isinstance(source, ImageFile):
        return _whole(source)
    with open_picture(source.path) as picture:
        factor = max(picture.size) // side
        if picture.width * picture.height <= LARGE or factor < 2:
            return _whole(source)
        size = (picture.height, picture.width)
        early = picture.format in _REDUCIBLE and picture.mode in ("1", "L", "RGB", "CMYK")
        if early:
            picture.draft(None, (max(1, picture.width // factor), max(1, picture.height // factor)))
            picture.load()
    if not early or picture.has_transparency_data:
        whole, size = _whole(source)
        return np.asarray(PIL.Image.fromarray(whole).reduce(factor)), size
    grey = picture.convert("L") if picture.mode == "1" else picture
    small = grey.reduce(max(1, max(grey.size) // side))
    stored = small.size
    small = upright(small)
    return rgb_pixels(small, source.path), size if small.size == stored else size[::-1]


def working_copy(image: Image, max_side: int | None) -> Image:
    """What a mask is predicted from, (h, w, 3): the image itself, or of one with more than `LARGE` pixels a copy of
    about `WORKING`.

    Args:
        image: (H, W, 3).
        max_side: longer side that the networks read at most (pixels); the copy is no shorter. None: the image itself,
            however large.
    """
    height, width = image.shape[:2]
    if max_side is None or height * width <= LARGE:
        return image
    side = max(max_side, int(max(height, width) * math.sqrt(WORKING / (height * width))))
    return resize_image(image, scaled_size((height, width), 1.0, side))


def enlarge(planes: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(…, h, w) → (…, *size): each pixel the nearest one of the smaller planes."""
    rows, columns = (_nearest(given, wanted) for given, wanted in zip(planes.shape[-2:], size, strict=True))
    return np.ascontiguousarray(planes[..., rows[:, None], columns])


def _whole(source: Source) -> tuple[Image, tuple[int, int]]:
    image = source.read()
    return image, (image.shape[0], image.shape[1])


def _nearest(given: int, wanted: int) -> NDArray[Any]:
    return ((np.arange(wanted) + 0.5) * (given / wanted)).astype(np.intp).clip(max=given - 1)
