"""What flows between the rooms: arrays, samples and seed maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recam.digests import Digest
from recam.errors import DataError
from recam.labels import check_class_indices

Image = NDArray[np.uint8]
"""(H, W, 3) RGB, or (H, W, n) where a data set's bands are chosen (`data.bands`)."""
Mask = NDArray[np.uint8]
"""(H, W): 0 background, 1…K classes, 255 ignore; no 0 where the data have no background."""
Grey = NDArray[np.float32]
"""(H, W) in [0, 1], such as a saliency map."""
Maps = NDArray[np.float32]
"""(n, h, w) in [0, 1], one plane per class."""

ROUNDING = 1e-4
"""How far a value may lie outside [0, 1] by rounding."""


class Source(Protocol):
    """Where one picture comes from: a file, an annotation, or a drawing routine. Picklable, so that worker processes
    can read it."""

    @property
    def where(self) -> str:
        """The path, or another name by which a person finds it."""
        ...

    def read(self) -> NDArray[np.uint8]:
        """Decode: an image (H, W, 3) RGB, or of chosen bands, or a mask (H, W). Raises `DataError` naming `where`."""
        ...

    def fingerprint(self, digest: Digest) -> str:
        """Changes when what `read` returns does, and with nothing else; of files it is what `digest` gives for their
        content."""
        ...


@dataclass(frozen=True)
class Sample:
    """One image of a data set with what is known of it.

    Attributes:
        id: unique in its catalog, with ``/`` for sub-folders and no ending; artefacts are named after it.
        labels: class indices (0…K−1) present in the image, ascending; empty for pure background.
        image: reads the (H, W, 3) uint8 RGB image.
        mask: reads the (H, W) uint8 true mask, or None where there is none.
        group: images of one group (a patient, a slide) are never on both sides of a split; None: it is a group of its
            own.
        no_data: pixels of exactly this 8-bit value, (1,), or with these in its bands, (n,), hold nothing: 255 in masks;
            None: there are none.
    """

    id: str
    labels: tuple[int, ...]
    image: Source
    mask: Source | None = None
    group: str | None = None
    no_data: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SeedMaps:
    """Class maps of one image, normalised per class.

    Attributes:
        maps: (n, h, w) float32 in [0, 1], usually at a quarter of the image's size.
        class_indices: (n,) which class each plane belongs to, 0…K−1.
        size: (H, W) of the image.
        ignore: (H, W) bool, pixels that a refiner leaves out: 255 in masks; None where it leaves out none.

    Raises:
        DataError: as `check_maps` and `recam.labels.check_class_indices` do, or pixels to ignore of another size.
    """

    maps: Maps
    class_indices: NDArray[np.int64]
    size: tuple[int, int]
    ignore: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        check_maps(self.maps)
        indices = check_class_indices(self.class_indices, len(self.maps))
        object.__setattr__(self, "class_indices", indices)
        if self.ignore is not None and self.ignore.shape != self.size:
            raise DataError(
                f"ignore {self.ignore.shape} is not of the image's size {self.size}: make it for the same image."
            )


def check_maps(maps: NDArray[Any], what: str = "class maps") -> None:
    """Raises `DataError` naming `what` where maps are not (n, h, w), not float, or have values that are not finite or
    outside [0, 1]."""
    if maps.ndim != 3 or maps.dtype.kind != "f":
        raise DataError(f"{what} are {maps.dtype} {maps.shape}: give (n, h, w) floats in [0, 1].")
    if maps.size and not -ROUNDING <= maps.min() <= maps.max() <= 1 + ROUNDING:  # NaN where any is
        raise DataError(
            f"{what} have values {maps.min():g}…{maps.max():g}: they must be finite and in [0, 1]. Normalise them,"
            " e.g. with"
            " recam.methods.cam.normalise; NaN and inf come from a network that diverged."
        )
