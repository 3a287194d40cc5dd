"""Masks drawn from COCO annotations when they are read: polygons, compressed and uncompressed run lengths.

Policies, where regions meet:

``ignore-crowd`` (default)
    Crowd regions are 255 (ignore): which pixels of the group belong to which object was never annotated. Instances lie
    over them,
    smaller ones on top of larger ones, by drawn area; of equals the later in the file is on top. A region of a category
    that is called
    background is an instance that paints 0; one that is no smaller than any other lies below the crowds too.
``recam``
    As the paper's code paints: crowd regions are not painted (background), later objects overwrite earlier ones.

Nothing is drawn before the size that the file gives was compared with the image's own: both the size and the length of
outlines command memory.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recam.data.images import ImageFile, image_size
from recam.data.json_numbers import whole_number
from recam.digests import Digest
from recam.errors import DataError
from recam.labels import BACKGROUND, IGNORE
from recam.types import Mask

PROTOCOLS = ("ignore-crowd", "recam")
_FURTHEST = 1e5  # pixels; the drawing routine's memory grows with the length of an outline
_LONGEST = 1e7
"""Pixels of all outlines of an image together: the drawing routine takes 30 bytes and 70 ns for each."""
_MOST_PIXELS = 2**28
"""Of a mask; more than any image that can be decoded."""
_MOST_LAYERS, _FEW_PIXELS = 256, 1e8
"""How often regions may cover an image, in the mean of its pixels; as many pixels are painted in any case."""


class Runs(NamedTuple):
    """A run-length code: `size` (H, W), `counts` in COCO's compressed form."""

    size: tuple[int, int]
    counts: bytes


Shape = tuple[bytes, ...] | Runs
"""Polygons, each as the bytes of float64 (x₀, y₀, x₁, y₁, …), a third of what lists of numbers take; or a run-length
code."""


class Region(NamedTuple):
    """One annotation as it is painted: `value` is a mask value."""

    value: int
    crowd: bool
    shape: Shape


class _Painted(NamedTuple):
    """A region with its run lengths: (n,) int64, column by column, of pixels outside, inside, outside, …"""

    region: Region
    lengths: NDArray[np.int64]

    @property
    def area(self) -> int:
        return int(self.lengths[1::2].sum())


@dataclass(frozen=True)
class CocoMask:
    """The mask of one image, as the source of a `Sample`: holds this image's own annotations and nothing else of the
    file.

    Attributes:
        file: the annotations' JSON file.
        image: the image's file name there.
        size: (H, W) of the mask.
        regions: what is painted, in the order of the file.
        protocol: one of `PROTOCOLS`.
        photo: the image itself, whose size is compared with `size` before anything is drawn; None compares nothing.
    """

    file: Path
    image: str
    size: tuple[int, int]
    regions: tuple[Region, ...]
    protocol: str
    photo: Path | None = None

    @property
    def where(self) -> str:
        return f"{self.file}: image {self.image}"

    def read(self) -> Mask:
        """Draw: (H, W) uint8.

        Raises:
            DataError: naming the image: it is of another size than the file has it, a run-length code is damaged or of
                another size, or outlines or areas are larger than any that people draw.
        """
        self._check_size()
        self._check_outlines()
        painted = [_Painted(region, self._draw(region.shape)) for region in self.regions]
        height, width = self.size
        area = sum(one.area for one in painted)
        if area > max(_MOST_LAYERS * height * width, _FEW_PIXELS):
            raise DataError(
                f"{self.where} has {len(painted)} annotations that cover it {area // (height * width)} times over, so"
                " they are damaged."
                " Export the annotations again."
            )
        columns: NDArray[np.uint8] = np.full(
            height * width, BACKGROUND, np.uint8
        )  # column by column, as run lengths are
        for value, lengths in self._in_order(painted):
            paint_runs(columns, lengths, value)
        return np.ascontiguousarray(columns.reshape(width, height).T)  # (H, W)

    def fingerprint(self, digest: Digest) -> str:
        """A hash of size, regions and protocol."""
        return hashlib.sha256(repr((self.size, self.regions, self.protocol)).encode()).hexdigest()[:16]

    def _check_size(self) -> None:
        height, width = self.size
        if self.photo is not None and (own := image_size(ImageFile(self.photo))) != self.size:
            turned = (
                " The image is turned upright by EXIF, and annotations must be as well."
                if own == (width, height)
                else ""
            )
            raise DataError(
                f"{self.where} is listed with {width}×{height} pixels and has {own[1]}×{own[0]}.{turned}"
                " Correct width and height, or export the annotations again."
            )
        if height * width > _MOST_PIXELS:
            raise DataError(
                f"{self.where} is listed with {width}×{height} pixels, more than can be drawn. Correct width and"
                " height."
            )

    def _check_outlines(self) -> None:
        length = sum(
            _outline(polygon)
            for region in self.regions
            if not isinstance(region.shape, Runs)
            for polygon in region.shape
        )
        if length > _LONGEST:
            raise DataError(
                f"{self.where} has outlines of {length:.0f} pixels, more than {_LONGEST:.0f}, so they are damaged."
                " Export the annotations again."
            )

    def _in_order(self, painted: list[_Painted]) -> Iterable[tuple[int, NDArray[np.int64]]]:
        """(value, run lengths), the lowest first."""
        if self.protocol != "ignore-crowd":
            return [(one.region.value, one.lengths) for one in painted if not one.region.crowd]
        largest = max((one.area for one in painted if one.region.value != BACKGROUND), default=0)

        def rank(one: _Painted) -> tuple[int, int]:
            is_background = one.region.value == BACKGROUND
            layer = 0 if is_background and one.area >= largest else 1 if one.region.crowd and not is_background else 2
            return layer, -one.area

        ranked = sorted(painted, key=rank)
        return [(IGNORE if rank(one)[0] == 1 else one.region.value, one.lengths) for one in ranked]

    def _draw(self, shape: Shape) -> NDArray[np.int64]:
        from pycocotools import mask as coco

        height, width = self.size
        if isinstance(shape, Runs):
            lengths = run_lengths(shape.counts)
            if shape.size != self.size or lengths is None or lengths.sum() != height * width:
                raise DataError(
                    f"{self.where} has a run-length code of {shape.size[0]}×{shape.size[1]} that does not cover its"
                    f" {height}×{width}."
                    " Export the annotations again."
                )
            return lengths
        code = coco.merge(coco.frPyObjects([np.frombuffer(polygon) for polygon in shape], height, width))
        drawn = run_lengths(code["counts"])
        assert drawn is not None, "the drawing routine's own code is whole"
        return drawn


def pack_shape(segmentation: Any) -> tuple[Shape | None, int]:
    """A `segmentation` of the file in the form kept in memory.

    Returns:
        shape: None where it draws nothing.
        lost: how many of its polygons (or run-length codes) are given and draw nothing. Polygons of less than three
            points, without width or height, within the first pixel, or with coordinates that are no numbers are such;
            so is a run-length code without a pixel, or an uncompressed one whose runs do not add up to its size. An
            empty list has nothing to lose.
    """
    if isinstance(segmentation, list):
        # Some write the one polygon without the list around it.
        polygons = (
            [segmentation]
            if segmentation and all(isinstance(value, int | float) for value in segmentation)
            else segmentation
        )
        packed = [one for polygon in polygons if (one := _pack_polygon(polygon)) is not None]
        return tuple(packed) or None, len(polygons) - len(packed)
    if not isinstance(segmentation, dict):
        return None, int(bool(segmentation))
    runs = _pack_runs(segmentation.get("size"), segmentation.get("counts"))
    return runs, int(runs is None and bool(segmentation))


def _pack_polygon(polygon: Any) -> bytes | None:
    try:
        numbers = array("d", polygon)
    except (TypeError, OverflowError, ValueError):
        return None
    xs, ys = numbers[::2], numbers[1::2]
    # The sum is NaN where any number is: min and max may not notice.
    if len(numbers) < 6 or len(xs) != len(ys) or not abs(sum(numbers)) < _FURTHEST * len(numbers):
        return None
    drawable = -_FURTHEST < min(xs) < max(xs) < _FURTHEST and -_FURTHEST < min(ys) < max(ys) < _FURTHEST
    drawable = drawable and max(max(xs), max(ys)) > 1  # else shares of width and height: no pixel, or a single one
    return numbers.tobytes() if drawable else None


def _pack_runs(size: Any, counts: Any) -> Runs | None:
    if not isinstance(size, list) or len(size) != 2:
        return None
    height, width = (whole_number(side) or 0 for side in size)
    if not (height > 0 and width > 0 and height * width <= _MOST_PIXELS):
        return None
    if isinstance(counts, list):
        lengths = _as_lengths(counts)
        if lengths is None or lengths.min(initial=0) < 0 or lengths.sum() != height * width or not lengths[1::2].any():
            return None
        from pycocotools import mask as coco

        return Runs(
            (height, width),
            coco.frPyObjects({"size": [height, width], "counts": lengths.tolist()}, height, width)["counts"],
        )
    if not isinstance(counts, str) or not counts.isascii():
        return None
    code = counts.encode()
    lengths = run_lengths(code)
    # A damaged code is kept: drawing it reports what is wrong.
    return Runs((height, width), code) if code and (lengths is None or lengths[1::2].any()) else None


def _as_lengths(counts: list[Any]) -> NDArray[np.int64] | None:
    """(n,) int64 of a list of numbers; None where one of them is not whole, or too large for a picture."""
    try:
        numbers = np.array(counts)
    except ValueError:  # lists in the list
        return None
    if numbers.ndim != 1 or numbers.dtype.kind not in "iuf" or not (np.abs(numbers) <= _MOST_PIXELS).all():
        return None
    lengths = numbers.astype(np.int64)
    return lengths if (lengths == numbers).all() else None


def run_lengths(counts: bytes) -> NDArray[np.int64] | None:
    """(n,) int64 run lengths (background, foreground, background, …) of a compressed code; None where it is damaged.

    pycocotools trusts a code that ends early and returns memory that was never written, so codes of others are read
    here. Five bits per character, the lowest first, bit 32 for "more to come", the last one's bit 16 for the sign; from
    the fourth run on, differences to the run before the last.
    """
    bits = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(bits):
        return np.zeros(0, np.int64)
    ends = np.flatnonzero(bits & 32 == 0)
    if bits.min() < 0 or bits.max() > 63 or bits[-1] & 32:
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    digits = ends - starts + 1
    if digits.max() > 7:  # more than any difference of 32-bit numbers takes
        return None
    places = np.arange(len(bits)) - np.repeat(starts, digits)
    numbers = np.add.reduceat((bits & 31) << (5 * places), starts)
    numbers -= np.where(bits[ends] & 16, np.int64(1) << (5 * digits), 0)
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers if numbers.min() >= 0 and numbers.max() <= _MOST_PIXELS else None


def paint_runs(columns: NDArray[np.uint8], lengths: NDArray[np.int64], value: int) -> None:
    """Set what is inside of run lengths, in place, (H·W,) column by column; from the first to the last column of the
    region alone, so that many small regions take little time."""
    first = int(lengths[0]) if len(lengths) else 0
    inside = lengths[1:]
    drawn = np.repeat(np.arange(len(inside)) % 2 == 0, inside)
    columns[first : first + len(drawn)][drawn] = value


def _outline(polygon: bytes) -> float:
    """Pixels along the longer axis of each edge, the last point joined with the first."""
    points = np.frombuffer(polygon).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())
