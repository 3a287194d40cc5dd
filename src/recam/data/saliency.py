"""A folder of saliency maps: one grey PNG an image, named after its id, of the image's size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recam.data.images import image_size, read_grey
from recam.errors import DataError, Problem
from recam.files import named_file
from recam.types import Grey, Sample


@dataclass(frozen=True)
class SaliencyFolder:
    """Reads the saliency map of a sample, (H, W) in [0, 1]; picklable, so that worker processes can.

    Attributes:
        folder: where ``ID.png`` lies, in sub-folders where ids have them.
    """

    folder: Path

    def path(self, sample: Sample) -> Path:
        """Where the map of a sample lies."""
        return named_file(self.folder, f"{sample.id}.png")

    def __call__(self, sample: Sample) -> Grey:
        """The map itself. Raises `DataError` naming a file that is missing, damaged or not grey."""
        return read_grey(self.path(sample))

    def missing(self, samples: Sequence[Sample]) -> str | None:
        """Which of the samples have no map, in a sentence; None where all have one. Nothing is decoded."""
        if not self.folder.is_dir():
            found = "a file" if self.folder.exists() else "nothing"
            return f"{self.folder} is no folder of saliency maps: there is {found} of that name"
        lost = [sample.id for sample in samples if not self.path(sample).is_file()]
        if not lost:
            return None
        first = ", ".join(f"{sample_id}.png" for sample_id in lost[:3])
        return f"{len(lost)} of {len(samples)} images have no saliency map in {self.folder} (first: {first})"

    def problems(
        self, samples: Sequence[Sample], show: Callable[[Sequence[Sample]], Iterable[Sample]] = iter
    ) -> Iterator[Problem]:
        """What is wrong with the maps of the samples, each decoded; `show` iterates over them with progress."""
        for sample in show(samples):
            where = str(self.path(sample))
            try:
                found, size = self(sample).shape, image_size(sample.image)
            except DataError as error:
                yield Problem("unreadable-saliency", where, str(error).removeprefix(f"{where} "))
                continue
            if found != size:
                message = (
                    f"the map is {found[1]}×{found[0]} pixels, its image {size[1]}×{size[0]}. Make it at the image's"
                    " size."
                )
                yield Problem("saliency-size", where, message)


@dataclass(frozen=True)
class AllSalient(SaliencyFolder):
    """Saliency maps that are 1 everywhere, for trials."""

    def __call__(self, sample: Sample) -> Grey:
        return np.ones(sample.image.read().shape[:2], np.float32)
