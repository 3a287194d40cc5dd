"""Pixels that count for nothing: of data without a background those that no true mask names, and those that hold no
data, such as the black frames of satellite tiles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recam.data.catalog import Background, Catalog, PassedOver
from recam.digests import Digest
from recam.errors import DataError, Problem, RecipeError
from recam.labels import BACKGROUND, IGNORE, ClassSet
from recam.types import Image, Mask, Sample, Source

Colour = tuple[int, ...]
NoData = int | tuple[int, ...]
"""A value in all bands, or one for each, of pixels that hold nothing."""
LABEL_NEEDED = "label-needed"
"""Kind of the note on images with an empty label where every pixel belongs to a class."""


def as_colour(no_data: NoData | Sequence[int] | None) -> Colour | None:
    """A value for all bands, (1,), or one for each, (n,). Raises `RecipeError` for what is neither."""
    if no_data is None:
        return None
    values = (no_data,) if isinstance(no_data, int) else tuple(no_data)
    if not values or any(not isinstance(value, int) or not 0 <= value <= 255 for value in values):
        raise RecipeError(
            f"no_data = {no_data!r}: give a value from 0 to 255, as images are read in 8 bits, or one for each band:"
            " [0, 0, 0]."
        )
    return values


def find_no_data(image: Image, colour: Colour | None) -> NDArray[np.bool_] | None:
    """(H, W) pixels of an image (H, W, n) that have exactly this value in each band; None where none has.

    Raises:
        DataError: neither one value nor one for each band.
    """
    if colour is None:
        return None
    if len(colour) not in (1, image.shape[2]):
        raise DataError(
            f"no_data has {len(colour)} values for {image.shape[2]} bands: give one for each, or one for all."
        )
    found: NDArray[np.bool_] = (image == np.asarray(colour, np.uint8)).all(2)  # (H, W)
    return found if found.any() else None


def ignoring(catalog: Catalog, background: Background, no_data: NoData | Sequence[int] | None) -> Catalog:
    """The data set, or what `IgnoringCatalog` makes of it where something is ignored. Raises as that and `as_colour`
    do."""
    colour, has_background = as_colour(no_data), background == "rest"
    return catalog if has_background and colour is None else IgnoringCatalog(catalog, has_background, colour)


def check_first_value(first_value: Any, background: Background) -> None:
    """Raises `RecipeError` where the first class has the value of the background."""
    if first_value == 0 and background == "rest":
        raise RecipeError(
            "data.first_value = 0 leaves no value for the background. Set data.background = 'none' where every pixel"
            " belongs to a class, or number the classes from 1."
        )


@dataclass(frozen=True)
class IgnoringMask:
    """A true mask with 255 where nothing counts, as the source of a `Sample`.

    Attributes:
        inner: reads the mask as it is stored.
        image: reads the image.
        background: whether 0 is a class of its own; else it is a pixel that nobody has named.
        no_data: see `Sample`.
    """

    inner: Source
    image: Source
    background: bool
    no_data: Colour | None

    @property
    def where(self) -> str:
        return self.inner.where

    def read(self) -> Mask:
        """The (H, W) mask. Raises `DataError` as the inner one does."""
        mask = self.inner.read()
        ignored = find_no_data(self.image.read(), self.no_data) if self.no_data else None
        if not self.background:
            mask = np.where(mask == BACKGROUND, np.uint8(IGNORE), mask)
        if ignored is not None and ignored.shape == mask.shape:  # another size is a problem that the check reports
            mask = np.where(ignored, np.uint8(IGNORE), mask)
        return mask

    def fingerprint(self, digest: Digest) -> str:
        """That of the inner one, and what is ignored."""
        return f"{self.inner.fingerprint(digest)}-{self.background}-{self.no_data}"


def stored_mask(source: Source | None) -> Source | None:
    """What reads a true mask as it is stored."""
    return source.inner if isinstance(source, IgnoringMask) else source


class IgnoringCatalog(Catalog):
    """A data set whose true masks have 255 where nothing counts.

    Without a background an image with an empty label cannot be: nobody knows what it shows, so it counts as unlabelled.

    Args:
        inner: the data set.
        background: False: every pixel belongs to one of the image's classes.
        no_data: see `Sample`.

    Raises:
        DataError: a single class and no background, so that there is nothing to tell apart.
    """

    def __init__(self, inner: Catalog, background: bool, no_data: Colour | None) -> None:
        if not background and len(inner.classes) == 1:
            raise DataError(
                f"data.background = 'none' with the single class {inner.classes.names[0]!r}: every pixel would be of"
                " it. Name two classes or more, or leave out the setting."
            )
        self._inner, self._background, self._no_data = inner, background, no_data
        self.classes = ClassSet(inner.classes.names, background)
        self.roles = inner.roles

    @property
    def splits(self) -> tuple[str, ...]:
        return self._inner.splits

    def samples(self, split: str) -> Sequence[Sample]:
        return [self._adapt(sample) for sample in self._inner.samples(split) if not self._needs_label(sample)]

    def unlabelled(self) -> Sequence[Sample]:
        found = {sample.id: sample for split in self.splits for sample in self._inner.samples(split)}
        without = [sample for sample in found.values() if self._needs_label(sample)]
        return [self._adapt(sample) for sample in (*self._inner.unlabelled(), *without)]

    def problems(self, splits: Iterable[str] | None = None) -> list[Problem]:
        wanted = list(self.splits if splits is None else splits)
        found = self._inner.problems(None if splits is None else wanted)
        samples = {sample.id for split in wanted for sample in self._inner.samples(split) if self._needs_label(sample)}
        if samples:
            message = (
                f"{len(samples)} images have an empty label (first: {min(samples)}), and with data.background = 'none'"
                " every pixel belongs to a class: they count as unlabelled. Label them, or leave out the setting."
            )
            found.append(Problem(LABEL_NEEDED, ", ".join(wanted), message))
        return found

    def passed_over(self) -> list[PassedOver]:
        return self._inner.passed_over()

    def _needs_label(self, sample: Sample) -> bool:
        return not self._background and not sample.labels

    def _adapt(self, sample: Sample) -> Sample:
        mask = sample.mask and IgnoringMask(sample.mask, sample.image, self._background, self._no_data)
        return replace(sample, mask=mask, no_data=self._no_data)
