"""A decoded image as it is stored, before anything is chosen of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import PIL.Image
from numpy.typing import NDArray

from recam.errors import DataError


class LayoutError(DataError):
    """Pages or bands that nobody has chosen among, or that are not there."""


@dataclass(frozen=True)
class Kind:
    """What an image file holds.

    Attributes:
        colours: ``grey``, ``RGB``, ``palette``, ``CMYK``, …, or ``4 bands``.
        bands: of each pixel, without transparency.
        bits: of each band.
        is_float: values are floats.
        has_alpha: there is transparency besides.
    """

    colours: str
    bands: int
    bits: int = 8
    is_float: bool = False
    has_alpha: bool = False

    @property
    def is_deep(self) -> bool:
        """More than 8 bits: a range of values becomes black to white."""
        return self.bits > 8 or self.is_float

    def __str__(self) -> str:
        alpha = " with transparency" if self.has_alpha else ""
        return f"{self.colours}{alpha}, {f'{self.bits}-bit floats' if self.is_float else f'{self.bits} bits'}"


@dataclass(frozen=True)
class Decoded:
    """A decoded image, upright: a picture of 8 bits as Pillow has it, or values.

    Attributes:
        where: its path, or what else it is, as messages begin.
        kind: what it holds.
        picture: of 8 bits; None where there are values.
        values: (H, W, n), all bands of the file.
        shown: which bands are shown where none are chosen, from 0; empty where nobody knows.
        alpha: which band is transparency, from 0; None where none is.
        empty: the value of pixels without data, beside NaN and infinities; None: none besides.
    """

    where: object
    kind: Kind
    picture: PIL.Image.Image | None = None
    values: NDArray[Any] | None = None
    shown: tuple[int, ...] = ()
    alpha: int | None = None
    empty: float | None = None


def as_mode(picture: PIL.Image.Image, mode: str, where: object) -> PIL.Image.Image:
    """A picture in another mode. Raises `DataError` that names `where` for one that has no such colours."""
    try:
        return picture.convert(mode)
    except (ValueError, OSError) as error:
        raise DataError(
            f"{where} has the colour mode {picture.mode}, which cannot be shown as RGB ({error}). Save it as RGB."
        ) from error
