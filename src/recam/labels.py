"""Classes, mask values and colours.

The one place that knows how a class index (0…K−1, without background) becomes a mask value (1…K, 0 = background, 255 = ignore).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recam.errors import DataError, near_matches

BACKGROUND = 0
IGNORE = 255
MAX_CLASSES = 254

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


@dataclass(frozen=True)
class ClassSet:
    """The K foreground classes of a data set, in the order of their mask values. Names are kept, and compared, in composed form.

    Raises:
        DataError: no class, more than 254 of them, an empty name, a name that occurs twice, or one with a line break or ``;``, which
            separate names in tables and lists.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(nfc(name) for name in self.names))
        broken = [name for name in self.names if ";" in name or "\0" in name or len(name.splitlines()) > 1]
        if broken:
            told = ", ".join(map(repr, broken[:5]))
            raise DataError(f"class names hold ';' or a line break, which separate names in tables and lists: {told}. Rename them.")
        doubled = sorted({n for n in self.names if self.names.count(n) > 1}) if len(set(self.names)) < len(self) else []
        if doubled:
            raise DataError(f"class names occur twice: {', '.join(doubled)}. Give each class one name.")
        if not self.names or not all(self.names):
            raise DataError(f"a data set needs at least one class and no empty class name, got {list(self.names)!r}.")
        if len(self) > MAX_CLASSES:
            raise DataError(f"{len(self)} classes, but an 8-bit mask holds {MAX_CLASSES}. Select some with --classes.")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and nfc(name) in self._index

    def index(self, name: str) -> int:
        """Class index (0…K−1) of a name. Raises `DataError` with near matches for an unknown one."""
        if name not in self:
            raise DataError(f"unknown class {name!r}.{near_matches(name, self.names)}")
        return self._index[nfc(name)]

    def select(self, names: Iterable[str]) -> tuple[ClassSet, NDArray[np.uint8]]:
        """The subset `names` (kept in this set's order) and the (256,) table that maps old mask values to new ones.

        Classes left out become IGNORE in masks: their pixels are neither background nor a class.
        """
        wanted = {self.index(name) for name in names}
        kept = [index for index in range(len(self)) if index in wanted]
        table = np.full(256, IGNORE, np.uint8)
        table[BACKGROUND] = BACKGROUND
        for new, old in enumerate(kept):
            table[mask_value(old)] = mask_value(new)
        return ClassSet(tuple(self.names[index] for index in kept)), table

    @property
    def mask_names(self) -> tuple[str, ...]:
        """Names by mask value: ``("background", class 0, …)``."""
        return ("background", *self.names)


def is_background_name(name: str) -> bool:
    """Whether a name means mask value 0: ``background``, ``_background_`` or ``__background__``, in any case."""
    return name.strip().casefold().strip("_") == "background"


def nfc(name: str) -> str:
    """A name in Unicode's composed form: ``é`` is one character in most files and two in those of a Mac, and both are one name."""
    return unicodedata.normalize("NFC", name)


def mask_value(class_index: int) -> int:
    """The mask value of a class index."""
    return class_index + 1


def mask_values(class_indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
    """Mask values by plane: (n,) class indices → (n + 1,), background first, as an argmax over [background, maps…] needs."""
    return np.concatenate([[BACKGROUND], np.asarray(class_indices, np.int64) + 1]).astype(np.uint8)


def multi_hot(class_indices: Iterable[int], n_classes: int) -> NDArray[np.float32]:
    """(K,) float32 vector with 1 at each given class index."""
    vector = np.zeros(n_classes, np.float32)
    vector[list(class_indices)] = 1
    return vector


def voc_palette() -> NDArray[np.uint8]:
    """The (256, 3) RGB palette of the VOC devkit: the bits of a value, spread over the three channels from the top bit down."""
    palette = np.zeros((256, 3), np.uint8)
    values = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((values >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return palette
