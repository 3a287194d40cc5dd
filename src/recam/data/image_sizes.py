"""How large the images of a data set are, by the heads of some of its files: nothing is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from recam.data.images import ImageFile, image_size
from recam.data.spread import spread_evenly
from recam.errors import RecamError
from recam.types import Sample

FILES, DRAWN = 200, 20
"""Images whose size is read, at most: of files the head is read, others have to be drawn."""


@dataclass(frozen=True)
class ImageSizes:
    """Sizes of images that stand for all.

    Attributes:
        samples: the images, evenly spread over the data set.
        sizes: (H, W) of each.
    """

    samples: tuple[Sample, ...]
    sizes: tuple[tuple[int, int], ...]

    @property
    def long_side(self) -> int:
        """The longer side of the image in the middle, pixels; 0 without images."""
        return int(np.median([max(size) for size in self.sizes])) if self.sizes else 0

    @property
    def longest(self) -> int:
        """The longest side, pixels."""
        return max((max(size) for size in self.sizes), default=0)

    @property
    def pixels(self) -> float:
        """Pixels of an image, the mean."""
        return float(np.mean([height * width for height, width in self.sizes])) if self.sizes else 0.0

    @property
    def largest(self) -> Sample | None:
        """The image with the most pixels; None where all have the same size."""
        areas = [height * width for height, width in self.sizes]
        return self.samples[int(np.argmax(areas))] if len(set(areas)) > 1 else None

    def typical(self, count: int) -> list[Sample]:
        """Images of about the mean size and the mean number of labels, nearest first; those without a label last."""
        labels = [len(sample.labels) for sample in self.samples]
        mean = float(np.mean([n for n in labels if n] or [1]))

        def distance(index: int) -> float:
            height, width = self.sizes[index]
            away = abs(height * width / max(self.pixels, 1) - 1) + abs(labels[index] / mean - 1)
            return away + (0 if labels[index] else 1e6)

        return [self.samples[index] for index in sorted(range(len(labels)), key=distance)[:count]]


def read_sizes(samples: Sequence[Sample]) -> ImageSizes:
    """The sizes of some images; those that cannot be read are passed over, `recam check` reports them."""
    are_files = bool(samples) and isinstance(samples[0].image, ImageFile)
    found: list[tuple[Sample, tuple[int, int]]] = []
    for index in spread_evenly(len(samples), FILES if are_files else DRAWN):
        with suppress(RecamError):
            found.append((samples[index], image_size(samples[index].image)))
    return ImageSizes(tuple(sample for sample, _ in found), tuple(size for _, size in found))
