"""Photos of more than `LARGE` pixels where the networks read fewer anyway (`data.max_side`): reduced, to bound memory
and time."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from recam.data.decoding import is_reducible, of_picture, upright
from recam.data.images import LARGE, ImageFile
from recam.data.opening import UnknownFormatError, open_picture
from recam.data.rendering import render
from recam.preprocess import change_bands, resize_image, scaled_size
from recam.types import Image, Source

WORKING = 10_000_000
"""Pixels of the copy that a mask is predicted from: n planes of probabilities take 4 n bytes for each of them."""
_REDUCIBLE = ("JPEG", "MPO", "PNG", "WEBP", "BMP")
"""Formats whose EXIF orientation outlives `Image.reduce`."""
_MODES = ("1", "L", "RGB", "CMYK")


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
    with suppress(UnknownFormatError), open_picture(source.path) as picture:  # such as a TIFF of several bands
        factor = max(picture.size) // side
        if picture.width * picture.height <= LARGE or factor < 2:
            return _whole(source)
        if picture.format in _REDUCIBLE and picture.mode in _MODES and is_reducible(picture, source.reading):
            size = (picture.height, picture.width)
            picture.draft(None, (max(1, picture.width // factor), max(1, picture.height // factor)))
            picture.load()
            if not picture.has_transparency_data:
                return _reduce_early(picture, source, side, size)
    whole, size = _whole(source)
    factor = max(size) // side if size[0] * size[1] > LARGE else 1
    return (change_bands(whole, lambda band: band.reduce(factor)) if factor > 1 else whole), size


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


def _reduce_early(
    picture: PIL.Image.Image, source: ImageFile, side: int, size: tuple[int, int]
) -> tuple[Image, tuple[int, int]]:
    grey = picture.convert("L") if picture.mode == "1" else picture
    small = grey.reduce(max(1, max(grey.size) // side))
    stored = small.size
    small = upright(small)
    return render(of_picture(small, source.path)), size if small.size == stored else size[::-1]


def _whole(source: Source) -> tuple[Image, tuple[int, int]]:
    image = source.read()
    return image, (image.shape[0], image.shape[1])


def _nearest(given: int, wanted: int) -> NDArray[Any]:
    return ((np.arange(wanted) + 0.5) * (given / wanted)).astype(np.intp).clip(max=given - 1)
