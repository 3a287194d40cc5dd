"""How the image files of a data set become arrays of 8 bits: which page, which bands, and what is black and white in
files of more bits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from recam.errors import RecipeError
from recam.settings import Settings, as_json

COLOURS = 3
"""Bands that networks read where none are chosen: red, green and blue; grey files give the same one three times."""

Band = Annotated[int, Field(ge=1)]
Bands = Annotated[tuple[Band, ...], Field(min_length=1)]
Page = Annotated[int, Field(ge=1)]
ValueRange = Annotated[tuple[tuple[float, float], ...], Field(min_length=1)]


@dataclass(frozen=True)
class Reading(Settings):
    """What decides, beside the file, which pixels come out of it. The same everywhere: kept with a run, and with every
    network that learned from images so read.

    Attributes:
        bands: which bands are read, in this order, 1 the first one of the file; None: grey or RGB as a viewer shows it.
        page: which page of a TIFF, or frame of an animation, 1 the first; None: files have one.
        value_range: (low, high) that become 0 and 255 in images of more than 8 bits, for each band or for all;
            None: 0 and 65535 of unsigned 16 bits, 0 and 1 of floats in between, else the least and the greatest value
            of each file.
    """

    bands: Bands | None = None
    page: Page | None = None
    value_range: ValueRange | None = None

    def __post_init__(self) -> None:
        if wrong := list(self._mistakes()):
            raise RecipeError("; ".join(wrong) + ".")

    @property
    def is_plain(self) -> bool:
        """Nothing is chosen: files are read as they were before anything could be."""
        return self == PLAIN

    @property
    def page_index(self) -> int:
        """Which page or frame is read, from 0; the first where none is chosen."""
        return (self.page or 1) - 1

    @property
    def channels(self) -> int:
        """Number of bands that networks read."""
        return len(self.bands) if self.bands else COLOURS

    def ranges(self, count: int) -> tuple[tuple[float, float], ...] | None:
        """(low, high) of each of `count` bands; None where none are known. Of another number, as for a grey file among
        colours, all bands have the widest."""
        known = self.value_range
        if known is None or len(known) == count:
            return known
        return ((min(low for low, _ in known), max(high for _, high in known)),) * count

    def described(self) -> dict[str, Any]:
        """JSON-ready, for what is kept with a network; empty where nothing is chosen."""
        return {} if self.is_plain else {"reading": as_json(self)}

    def _mistakes(self) -> Iterator[str]:
        ranges = self.value_range or ()
        for low, high in ranges:
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                yield f"value_range: ({low:g}, {high:g}) is none: give (low, high) with low below high"
        if len(ranges) not in (0, 1, self.channels):
            yield (
                f"value_range has {len(ranges)} pairs for {self.channels} bands: give one for each band, or one for all"
            )


PLAIN = Reading()
"""Nothing chosen."""
