"""The masks that are exported, as formats receive them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from recam.data.images import read_mask
from recam.errors import DataError
from recam.export.outlines import Loop, outlines
from recam.export.shapes import Binary
from recam.labels import BACKGROUND, IGNORE, ClassSet, present_values
from recam.progress import Progress
from recam.types import Mask, Source

Shapes = Literal["rle", "polygons"]


@dataclass(frozen=True)
class MaskItem:
    """One mask and its photo.

    Attributes:
        id: name without ending, with ``/`` for sub-folders.
        mask: the file.
        image_name: file name of the photo, from the images' folder on; where no photo is known the id with ``.jpg``.
        image: reads the photo; None where it is not known.
        size: (H, W) of the mask, and of the photo; formats receive items that were read once, and know it.
    """

    id: str
    mask: Path
    image_name: str
    image: Source | None
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Region:
    """All of one class in a mask: masks know no single objects.

    Attributes:
        value: in the mask.
        name: of the class.
        binary: its pixels.
        polygons: without holes, see `recam.export.outlines`; empty where run lengths are wanted.
    """

    value: int
    name: str
    binary: Binary
    polygons: Sequence[Loop]


@dataclass(frozen=True)
class MaskSet:
    """The masks to write, as formats see them.

    Attributes:
        items: in the order of `image_name`.
        classes: names of the mask values 1…K.
        ignore_as: name of a class that the pixels of 255 become; None: they belong to no shape.
        shapes: run lengths, or polygons, where a format has both.
        simplify: how far (pixels) polygons may be from the outlines of the pixels; 0: they fill just these.
        image_prefix: put before the names of photos where a format refers to them by address.
        values: that occur in any of the masks.
    """

    items: Sequence[MaskItem]
    classes: ClassSet
    ignore_as: str | None = None
    shapes: Shapes = "rle"
    simplify: float = 0.0
    image_prefix: str = ""
    values: frozenset[int] = frozenset()

    @property
    def named(self) -> dict[int, str]:
        """Class names by mask value, background left out."""
        named = dict(enumerate(self.classes.names, start=1))
        return {**named, IGNORE: self.ignore_as} if self.ignore_as else named

    def read(self, item: MaskItem) -> Mask:
        """The (H, W) mask. Raises `DataError` where it is not the one that was checked before."""
        mask = read_mask(item.mask)
        if mask.shape != item.size or not self.values.issuperset(present_values(mask)):
            raise DataError(f"{item.mask} changed while it was exported. Run the same command again.")
        return mask

    def regions(self, item: MaskItem) -> Iterator[Region]:
        """Each class in a mask, without background and what is left out like it."""
        mask, named = self.read(item), self.named
        shown = np.where(np.isin(mask, list(named)), mask, np.uint8(BACKGROUND))
        polygons = outlines(shown, self.simplify) if self.shapes == "polygons" else {}
        for value in present_values(shown):
            if value != BACKGROUND:
                yield Region(value, named[value], mask == value, polygons.get(value, []))

    def each(self, what: str) -> Iterator[MaskItem]:
        """The items, with progress."""
        with Progress(what, len(self.items)) as progress:
            for item in self.items:
                yield item
                progress.advance()
