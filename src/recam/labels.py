"""Classes, mask values and colours.

The one place that knows how a class index (0…K−1, without background) becomes a mask value (1…K, 0 = background, 255 =
ignore).
"""

from __future__ import annotations

import colorsys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from recam.errors import DataError, near_matches

BACKGROUND = 0
IGNORE = 255
MAX_CLASSES = 254
PIXEL_BLOCK = 1 << 22
"""Pixels that are counted at a time: counting takes 8 bytes per pixel and more, a mask 1."""

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


@dataclass(frozen=True)
class ClassSet:
    """The K foreground classes of a data set, in the order of their mask values. Names are kept, and compared, in
    composed form.

    Attributes:
        names: of the classes.
        background: whether pixels may belong to none of them; False: mask value 0 does not occur, since every pixel
            belongs to a class or is not known.

    Raises:
        DataError: no class, more than 254 of them, an empty name, a name that occurs twice, or one with a line break or
            ``;``, which separate names in tables and lists.
    """

    names: tuple[str, ...]
    background: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(nfc(name) for name in self.names))
        broken = [
            name for name in self.names if ";" in name or "\0" in name or len(f"{name}.".splitlines()) > 1
        ]  # also one at the end
        if broken:
            names_text = ", ".join(map(repr, broken[:5]))
            raise DataError(
                "class names hold ';' or a line break, which separate names in tables and lists:"
                f" {names_text}. Rename them."
            )
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
        return ClassSet(tuple(self.names[index] for index in kept), self.background), table

    @property
    def mask_names(self) -> tuple[str, ...]:
        """Names by mask value: ``("background", class 0, …)``, whether the first occurs or not."""
        return ("background", *self.names)


def is_background_name(name: str) -> bool:
    """Whether a name means mask value 0: ``background``, ``_background_`` or ``__background__``, in any case."""
    return name.strip().casefold().strip("_") == "background"


def nfc(name: str) -> str:
    """A name in Unicode's composed form: ``é`` is one character in most files and two in those of a Mac, and both are
    one name."""
    return unicodedata.normalize("NFC", name)


def mask_value(class_index: int) -> int:
    """The mask value of a class index."""
    return class_index + 1


def check_class_indices(
    class_indices: Iterable[int] | NDArray[np.integer],
    n_planes: int | None = None,
    n_classes: int = MAX_CLASSES,
    unique: bool = True,
) -> NDArray[np.int64]:
    """Class indices as an (n,) int64 array.

    Args:
        class_indices: (n,) integers: a sequence, an array or a tensor of a CPU.
        n_planes: how many maps they belong to; None: any number.
        n_classes: K; 254 where it is not known, as an 8-bit mask holds no more.
        unique: refuse an index that occurs twice.

    Raises:
        DataError: anything but whole numbers 0…K−1, one for each map; a multi-hot row of labels is named as what it is.
    """
    indices = np.asarray(class_indices if hasattr(class_indices, "__array__") else list(class_indices))
    if indices.ndim == 1 and not len(indices):
        indices = indices.astype(np.int64)  # an empty list has no type of its own
    way_out = "Give (n,) whole numbers 0…K−1; of a multi-hot row of labels that is np.flatnonzero(row)"
    if indices.dtype.kind not in "iu" or indices.ndim != 1:
        raise DataError(f"class indices are {indices.dtype} {indices.shape}. {way_out}.")
    wrong = sorted({int(index) for index in indices if not 0 <= index < n_classes})
    problems = [f"{_first(wrong)} are no classes: an index is 0…{n_classes - 1}"] if wrong else []
    values, counts = np.unique(indices, return_counts=True)
    if unique and (counts > 1).any():
        problems.append(f"{_first(values[counts > 1].tolist())} occur twice")
    if n_planes is not None and len(indices) != n_planes:
        problems.append(f"{len(indices)} indices for {n_planes} maps: give one for each")
    if problems:
        raise DataError(f"class indices {_first(indices.tolist())}: {'; '.join(problems)}. {way_out}.")
    return indices.astype(np.int64, copy=False)


def _first(values: Sequence[int], limit: int = 10) -> str:
    return ", ".join(map(str, values[:limit])) + ", …" * (len(values) > limit)


def mask_values(class_indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
    """Mask values by plane: (n,) class indices → (n + 1,), background first, as an argmax over [background, maps…]
    needs.

    Raises:
        DataError: as `check_class_indices` does.
    """
    return np.concatenate([[BACKGROUND], check_class_indices(class_indices) + 1]).astype(np.uint8)


def output_values(n_classes: int, background: bool) -> NDArray[np.uint8]:
    """Mask values by output of a segmentation network: (K + 1,), background first, or (K,) where there is none."""
    return mask_values(range(n_classes))[0 if background else 1 :]


def row_blocks(size: tuple[int, int]) -> Iterator[slice]:
    """Rows of an (H, W) image, as many at a time as make `PIXEL_BLOCK` pixels."""
    height, width = size
    step = max(1, PIXEL_BLOCK // max(width, 1))
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def present_values(mask: NDArray[np.uint8]) -> list[int]:
    """The values that occur in a mask of any shape, ascending."""
    counts, flat = np.zeros(256, np.int64), mask.reshape(-1)
    for start in range(0, flat.size, PIXEL_BLOCK):
        counts += np.bincount(flat[start : start + PIXEL_BLOCK], minlength=256)
    return np.flatnonzero(counts).tolist()


def multi_hot(class_indices: Iterable[int], n_classes: int) -> NDArray[np.float32]:
    """(K,) float32 vector with 1 at each given class index. Raises `DataError` as `check_class_indices` does."""
    vector = np.zeros(n_classes, np.float32)
    vector[check_class_indices(class_indices, n_classes=n_classes)] = 1
    return vector


_BRIGHT = (
    0xF59F3B, 0x3FC1C9, 0xE056B4, 0xB8D94A, 0x4F7DF3, 0xF0626C, 0x00872D, 0xD2C3FF, 0x877800, 0x00FFC3,
    0xB45A1E, 0x963CFF, 0xFFD21E, 0x87C3FF, 0x78B487, 0x008778, 0xFFA5C3, 0x8769A5, 0x0096C3, 0xB4A569,
)  # fmt: skip
"""Colours of the first classes in pictures, as RGB: none too dark for a dark photo, any two at least 22 apart in CIELAB
and 16 by CIEDE2000 (chosen by taking, again and again, the colour that is furthest from all before it)."""


def class_colours() -> NDArray[np.uint8]:
    """(256, 3) RGB by mask value of what people look at: pictures, overlays, report and review page.

    Mask files carry `voc_palette` instead, which readers of masks know and half of which is too dark to be seen over a
    dark photo. From the 21st class on hues turn by the golden angle. Background is black, ignore light cream.
    """
    colours = voc_palette()
    colours[1:IGNORE] = [_turned(index) for index in range(MAX_CLASSES)]
    colours[1 : len(_BRIGHT) + 1] = [(code >> 16, code >> 8 & 255, code & 255) for code in _BRIGHT]
    return colours


@cache
def _turned(index: int) -> tuple[int, ...]:
    red, green, blue = colorsys.hls_to_rgb(index * 137.508 % 360 / 360, 0.68 if index % 2 else 0.56, 0.8)
    return tuple(round(255 * part) for part in (red, green, blue))


def voc_palette() -> NDArray[np.uint8]:
    """The (256, 3) RGB palette of the VOC devkit: the bits of a value, spread over the three channels from the top bit
    down."""
    palette = np.zeros((256, 3), np.uint8)
    values = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((values >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return palette
