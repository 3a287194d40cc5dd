"""What flows between the rooms: arrays, samples and seed maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recam.digests import Digest

Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Mask = NDArray[np.uint8]
"""(H, W): 0 background, 1…K classes, 255 ignore."""
Grey = NDArray[np.float32]
"""(H, W) in [0, 1], such as a saliency map."""
Maps = NDArray[np.float32]
"""(n, h, w) in [0, 1], one plane a class."""


class Source(Protocol):
    """Where one picture comes from: a file, an annotation, or a drawing routine. Picklable, so that worker processes can read it."""

    @property
    def where(self) -> str:
        """The path, or another name by which a person finds it."""
        ...

    def read(self) -> NDArray[np.uint8]:
        """Decode: an image (H, W, 3) RGB or a mask (H, W). Raises `DataError` naming `where`."""
        ...

    def fingerprint(self, digest: Digest) -> str:
        """Changes when what `read` returns does, and with nothing else; of files it is what `digest` says of their content."""
        ...


@dataclass(frozen=True)
class Sample:
    """One image of a data set with what is known of it.

    Attributes:
        id: unique in its catalog, with ``/`` for sub-folders and no ending; artefacts are named after it.
        labels: class indices (0…K−1) present in the image, ascending; empty for pure background.
        image: reads the (H, W, 3) uint8 RGB image.
        mask: reads the (H, W) uint8 true mask, or None where there is none.
    """

    id: str
    labels: tuple[int, ...]
    image: Source
    mask: Source | None = None


@dataclass(frozen=True)
class SeedMaps:
    """Class maps of one image, normalised per class.

    Attributes:
        maps: (n, h, w) float32 in [0, 1], usually at a quarter of the image's size.
        class_indices: (n,) which class each plane belongs to, 0…K−1.
        size: (H, W) of the image.
        ignore: (H, W) bool, pixels of which a refiner says that nobody knows: 255 in masks; None where it says so of none.
    """

    maps: Maps
    class_indices: NDArray[np.int64]
    size: tuple[int, int]
    ignore: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.maps.ndim != 3 or len(self.maps) != len(self.class_indices):
            raise ValueError(f"maps {self.maps.shape} do not fit {len(self.class_indices)} class indices")
        if self.ignore is not None and self.ignore.shape != self.size:
            raise ValueError(f"ignore {self.ignore.shape} is not of the image's size {self.size}")
