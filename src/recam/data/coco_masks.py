"""Masks drawn from COCO annotations when they are asked for: polygons, compressed and uncompressed run lengths.

Policies, where regions meet:

``ignore-crowd`` (default)
    Crowd regions are 255 (ignore): which pixels of the group belong to which object was never annotated. Instances lie
    over them,
    smaller ones on top of larger ones, by drawn area; of equals the later in the file is on top.
``recam``
    As the paper's code paints: crowd regions are not painted (background), later objects overwrite earlier ones.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recam.digests import Digest
from recam.errors import DataError
from recam.labels import BACKGROUND, IGNORE
from recam.types import Mask

PROTOCOLS = ("ignore-crowd", "recam")
_FURTHEST = 1e5  # pixels; the drawing routine's memory grows with the length of an outline


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
    """

    file: Path
    image: str
    size: tuple[int, int]
    regions: tuple[Region, ...]
    protocol: str

    @property
    def where(self) -> str:
        return f"{self.file}: image {self.image}"

    def read(self) -> Mask:
        """Draw: (H, W) uint8. Raises `DataError` naming the image for a run-length code that is damaged or of another
        size."""
        mask: Mask = np.full(self.size, BACKGROUND, np.uint8)
        instances: Iterable[tuple[int, NDArray[np.bool_]]] = (
            (region.value, self._draw(region.shape)) for region in self.regions if not region.crowd
        )
        if self.protocol == "ignore-crowd":
            for region in self.regions:
                if region.crowd:
                    mask[self._draw(region.shape)] = IGNORE
            instances = sorted(instances, key=lambda instance: -int(instance[1].sum()))
        for value, drawn in instances:
            mask[drawn] = value
        return mask

    def fingerprint(self, digest: Digest) -> str:
        """A hash of size, regions and protocol."""
        return hashlib.sha256(repr((self.size, self.regions, self.protocol)).encode()).hexdigest()[:16]

    def _draw(self, shape: Shape) -> NDArray[np.bool_]:
        from pycocotools import mask as coco

        height, width = self.size
        if isinstance(shape, Runs):
            if shape.size != self.size or sum(_runs(shape.counts)) != height * width:
                raise DataError(
                    f"{self.where}: a run-length code of {shape.size[0]}×{shape.size[1]} does not cover the image of"
                    f" {height}×{width}."
                    " Export the annotations again."
                )
            code: Any = {"size": list(shape.size), "counts": shape.counts}
        else:
            code = coco.merge(coco.frPyObjects([np.frombuffer(polygon) for polygon in shape], height, width))
        drawn: NDArray[np.bool_] = coco.decode(code).astype(bool)  # (H, W)
        return drawn


def pack_shape(segmentation: Any) -> Shape | None:
    """A `segmentation` of the file in the form kept in memory; None where it draws nothing.

    Polygons of less than three points, without width or height, or with coordinates that are no numbers are left out;
    so is a
    run-length code without a pixel, or whose runs do not add up to its size.
    """
    if isinstance(segmentation, list):
        return tuple(packed for polygon in segmentation if (packed := _pack_polygon(polygon)) is not None) or None
    if not isinstance(segmentation, dict):
        return None
    return _pack_runs(segmentation.get("size"), segmentation.get("counts"))


def _pack_polygon(polygon: Any) -> bytes | None:
    try:
        numbers = array("d", polygon)
    except (TypeError, OverflowError):
        return None
    xs, ys = numbers[::2], numbers[1::2]
    # The sum is NaN where any number is: min and max may not notice.
    if len(numbers) < 6 or len(xs) != len(ys) or not abs(sum(numbers)) < _FURTHEST * len(numbers):
        return None
    drawable = -_FURTHEST < min(xs) < max(xs) < _FURTHEST and -_FURTHEST < min(ys) < max(ys) < _FURTHEST
    return numbers.tobytes() if drawable else None


def _pack_runs(size: Any, counts: Any) -> Runs | None:
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)):
        return None
    from pycocotools import mask as coco

    height, width = size
    if isinstance(counts, list):
        if (
            not all(isinstance(count, int) and count >= 0 for count in counts)
            or sum(counts) != height * width
            or not any(counts[1::2])
        ):
            return None
        return Runs((height, width), coco.frPyObjects({"size": size, "counts": counts}, height, width)["counts"])
    if not isinstance(counts, str) or not any(list(_runs(counts.encode()))[1::2]):
        return None
    return Runs((height, width), counts.encode())


def _runs(counts: bytes) -> Iterator[int]:
    """Run lengths (background, foreground, background, …) of a compressed code.

    The drawing routine trusts a code that ends early and returns memory that was never written, so the sum is checked
    before.
    Five bits a character, the lowest first, bit 32 for "more to come", the last one's bit 16 for the sign; from the
    fourth run on,
    differences to the run before the last. Negative lengths are yielded as such and make the sum differ.
    """
    before = [0, 0]
    number, shift, index = 0, 0, 0
    for character in counts:
        bits = character - 48
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        if index > 2:
            number += before[0]
        yield number
        before = [before[1], number]
        number, shift, index = 0, 0, index + 1
