"""Colours of masks: the index of each in the VOC palette, and palettes that hold VOC's colours in another order."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from recam.errors import DataError
from recam.labels import voc_palette
from recam.types import Mask

_SHOWN = 5


class VocIndices:
    """Colours to their indices in the VOC palette, block by block; colours that it does not hold are gathered."""

    def __init__(self) -> None:
        self._foreign = np.zeros(0, np.int32)

    def __call__(self, colours: NDArray[np.uint8]) -> Mask:
        """(…, 3) RGB → (…) indices; 0 for a foreign colour."""
        codes = _codes(colours)
        indices = _index_of_code()[codes]
        wrong = _codes(voc_palette())[indices] != codes
        if wrong.any():
            self._foreign = np.union1d(self._foreign, codes[wrong])
        return indices

    def raise_foreign(self, path: Path) -> None:
        """Raises `DataError` where a colour was met that the palette does not hold."""
        count = len(self._foreign)
        if count:
            first = ", ".join(
                str((code >> 16, code >> 8 & 255, code & 255)) for code in self._foreign[:_SHOWN].tolist()
            )
            raise DataError(
                f"{path} is painted in {count} colour{'s' * (count != 1)} that the VOC palette does not hold: {first}"
                f"{', …' * (count > _SHOWN)}. Save it as an 8-bit PNG of class values (0 background, 1… classes, 255"
                " ignore)."
            )


def palette_colours(picture: PIL.Image.Image) -> NDArray[np.uint8]:
    """(256, 3) RGB of a palette picture; black beyond its palette's end."""
    own = np.asarray(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(own)] = own
    return colours


def reordered(colours: NDArray[np.uint8], used: list[int]) -> dict[int, int]:
    """Palette index → index of its colour in the VOC palette, for those of `used` where the two differ.

    Empty unless all used colours (256, 3) are VOC's: a palette of somebody's own taste does not show what its indices
    mean.
    """
    codes = _codes(colours[used])
    voc = _index_of_code()[codes]
    if (_codes(voc_palette())[voc] != codes).any():
        return {}
    return {index: value for index, value in zip(used, voc.tolist(), strict=True) if index != value}


def _codes(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    """(…, 3) RGB → (…) 24-bit codes."""
    wide = colours.astype(np.int32)
    codes: NDArray[np.int32] = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return codes


@cache
def _index_of_code() -> NDArray[np.uint8]:
    """(2²⁴,) the VOC index of each colour; 0 for those that it does not hold."""
    table = np.zeros(1 << 24, np.uint8)
    table[_codes(voc_palette())] = np.arange(256, dtype=np.uint8)
    return table
