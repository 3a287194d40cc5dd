"""What is read of a decoded image: the RGB pixels that a viewer shows, or the chosen bands, all of 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from recam.data.decoded import Decoded, LayoutError, as_mode
from recam.data.reading import COLOURS, PLAIN, Reading
from recam.types import Image

_BLOCK = 1 << 20
"""Pixels that are converted at a time."""


def render(decoded: Decoded, reading: Reading = PLAIN) -> Image:
    """The (H, W, 3) uint8 RGB pixels that a viewer shows, alpha laid on white; or (H, W, n) the chosen bands.

    Values of 8 bits stay as they are. Of more, `Reading.value_range` decides what is black and white; without data is
    black.

    Raises:
        DataError: bands that are not there, or several of which none is chosen; a picture that cannot be shown as RGB.
    """
    if decoded.picture is not None:
        return by_rows(decoded.picture, lambda block: _as_rgb(block, decoded.where), COLOURS)
    values, bands = decoded.values, chosen_bands(decoded, reading)
    assert values is not None
    ranges = reading.ranges(len(bands)) or _own_range(decoded, bands)
    alpha = decoded.alpha if reading.bands is None else None
    shape = (*values.shape[:2], reading.channels)
    image = np.empty(shape, np.uint8)
    step = max(1, _BLOCK // max(values.shape[1], 1))
    for top in range(0, len(values), step):
        block = values[top : top + step]
        pixels = np.stack(
            [_eight_bit(block[..., band], ends, decoded.empty) for band, ends in zip(bands, ranges, strict=True)], -1
        )
        if alpha is not None:
            share = _share(block[..., alpha])[..., None]
            pixels = np.rint(pixels * share + 255 * (1 - share)).astype(np.uint8)
        image[top : top + step] = pixels  # one grey band becomes all three
    return image


def chosen_bands(decoded: Decoded, reading: Reading) -> tuple[int, ...]:
    """Which bands of the values are read, from 0. Raises `LayoutError` as `render` does."""
    assert decoded.values is not None
    count = decoded.values.shape[2]
    if reading.bands is None:
        if not decoded.shown:
            raise LayoutError(
                f"{decoded.where} has {count} bands. Choose those that are read with data.bands, e.g. data.bands ="
                f" {list(range(1, min(count, 4)))}; 1 is the first."
            )
        return decoded.shown
    if missing := [band for band in reading.bands if band > count]:
        raise LayoutError(
            f"{decoded.where} has {count} band{'s' * (count > 1)}, and data.bands = {list(reading.bands)} names"
            f" {', '.join(map(str, missing))}. Choose bands that all images have, or leave such images out."
        )
    return tuple(band - 1 for band in reading.bands)


def _own_range(decoded: Decoded, bands: Sequence[int]) -> tuple[tuple[float, float], ...]:
    """(low, high) of each band where no range of the data set is known: the least and the greatest value of them all;
    but the whole range of 8 bits and of unsigned 16, and 0 to 1 of floats in between."""
    values = decoded.values
    assert values is not None
    if values.dtype in (np.uint8, np.uint16):
        return ((0.0, float(np.iinfo(values.dtype).max)),) * len(bands)
    ends = [
        (found.min(), found.max())
        for band in bands
        if (found := values[..., band][~is_empty(values[..., band], decoded.empty)]).size
    ]
    low, high = (float(min(low for low, _ in ends)), float(max(high for _, high in ends))) if ends else (0.0, 1.0)
    return ((0.0, 1.0) if values.dtype.kind == "f" and low >= 0 and high <= 1 else (low, high),) * len(bands)


def is_empty(values: NDArray[Any], empty: float | None) -> NDArray[np.bool_]:
    """Which values stand for no data."""
    found = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    stored = None if empty is None else _stored_as(empty, values.dtype)
    return found if stored is None else found | (values == stored)


def blocks_of(picture: PIL.Image.Image) -> Iterator[tuple[slice, PIL.Image.Image]]:
    """Rows of a picture, a block of them at a time, so that what is computed of them never takes the memory of the
    whole."""
    width, height = picture.size
    step = max(1, _BLOCK // max(width, 1))
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        yield rows, picture if step >= height else picture.crop((0, rows.start, width, rows.stop))


def by_rows(
    picture: PIL.Image.Image, values_of: Callable[[PIL.Image.Image], NDArray[Any]], *channels: int
) -> NDArray[np.uint8]:
    """(H, W, *channels) uint8: what `values_of` makes of each block of rows."""
    values = np.empty((picture.height, picture.width, *channels), np.uint8)
    for rows, block in blocks_of(picture):
        values[rows] = values_of(block)
    return values


def _as_rgb(block: PIL.Image.Image, where: object) -> Image:
    if block.has_transparency_data:
        block = as_mode(block, "RGBA", where)
        block = PIL.Image.alpha_composite(PIL.Image.new("RGBA", block.size, "white"), block)
    return np.asarray(as_mode(block, "RGB", where))


def _eight_bit(values: NDArray[Any], ends: tuple[float, float], empty: float | None) -> NDArray[np.uint8]:
    """Values (h, w) between the ends as 0 to 255; those of 8 bits as they are."""
    if values.dtype == np.uint8:
        return values
    low, high = ends
    missing = is_empty(values, empty)
    found = np.where(missing, low, values).astype(np.float64)
    return np.rint((found - low) * (255 / max(high - low, 1e-12))).clip(0, 255).astype(np.uint8)


def _share(alpha: NDArray[Any]) -> NDArray[np.float64]:
    """Transparency (h, w) as shares from 0 to 1."""
    greatest = 1.0 if alpha.dtype.kind == "f" else float(np.iinfo(alpha.dtype).max)
    return np.nan_to_num(alpha.astype(np.float64) / greatest).clip(0, 1)


def _stored_as(empty: float, kind: np.dtype[Any]) -> Any:
    """The value that stands for no data in the type of the values; None where that cannot hold it."""
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return kind.type(empty)
    fits = empty.is_integer() and np.iinfo(kind).min <= empty <= np.iinfo(kind).max
    return kind.type(int(empty)) if fits else None
