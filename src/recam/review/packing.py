"""The binary form in which maps and masks go to the browser, and its reader.

::

    u32 number of images, then for each image
      u32 number of the image · u16 planes n · u16 height h · u16 width w · u16 full height H · u16 full width W · u16
      kind (0 maps, 1 mask)
      n × u16 class index of each plane (of a mask: one plane of mask values, 65535)
      n × h × w bytes, row by row

All integers are little-endian. Maps are 8-bit: 255 is 1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from recam.labels import IGNORE
from recam.types import Mask, SeedMaps

MASK_PLANE = 0xFFFF
_HEAD = struct.Struct("<IHHHHHH")


@dataclass(frozen=True)
class Packed:
    """Planes of one image.

    Attributes:
        number: of the image.
        planes: (n, h, w) uint8.
        class_indices: (n,) class of each plane; `MASK_PLANE` for mask values.
        size: (H, W) of the image.
    """

    number: int
    planes: NDArray[np.uint8]
    class_indices: NDArray[np.int64]
    size: tuple[int, int]


def pack_maps(number: int, seed: SeedMaps, side: int) -> Packed:
    """Class maps with 8 bits, reduced where their longer side exceeds `side` (0: never); ignored pixels are a further
    plane of 255."""
    shape = _reduced(seed.maps.shape[1:], side)
    planes = [_resize(np.rint(plane * 255).astype(np.uint8), shape, PIL.Image.Resampling.BOX) for plane in seed.maps]
    indices = seed.class_indices
    if seed.ignore is not None:
        planes.append(_resize((seed.ignore * IGNORE).astype(np.uint8), shape, PIL.Image.Resampling.NEAREST))
        indices = np.append(indices, MASK_PLANE)
    return Packed(number, np.stack(planes) if planes else np.zeros((0, *shape), np.uint8), indices, seed.size)


def pack_mask(number: int, mask: Mask, side: int) -> Packed:
    """A mask, reduced where its longer side exceeds `side` (0: never) by taking the nearest pixel."""
    shape = (mask.shape[0], mask.shape[1])
    return Packed(
        number, _resize(mask, _reduced(shape, side), PIL.Image.Resampling.NEAREST)[None], np.array([MASK_PLANE]), shape
    )


def write_packed(items: Iterable[Packed]) -> bytes:
    """All images as one block of bytes."""
    parts = []
    for item in items:
        n, height, width = item.planes.shape
        is_mask = int(n == 1 and item.class_indices[0] == MASK_PLANE)
        parts.append(_HEAD.pack(item.number, n, height, width, *item.size, is_mask))
        parts.append(item.class_indices.astype("<u2").tobytes())
        parts.append(np.ascontiguousarray(item.planes).tobytes())
    return struct.pack("<I", len(parts) // 3) + b"".join(parts)


def read_packed(content: bytes) -> Iterator[Packed]:
    """What `write_packed` wrote."""
    (count,), place = struct.unpack_from("<I", content), 4
    for _ in range(count):
        number, n, height, width, full_height, full_width, _ = _HEAD.unpack_from(content, place)
        place += _HEAD.size
        indices = np.frombuffer(content, "<u2", n, place).astype(np.int64)
        planes = np.frombuffer(content, np.uint8, n * height * width, place + 2 * n).reshape(n, height, width)
        place += 2 * n + planes.size
        yield Packed(number, planes, indices, (full_height, full_width))


def _reduced(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    height, width = shape[0], shape[1]
    factor = min(1.0, side / max(height, width, 1)) if side else 1.0
    return max(1, round(height * factor)), max(1, round(width * factor))


def _resize(plane: NDArray[np.uint8], shape: tuple[int, int], how: PIL.Image.Resampling) -> NDArray[np.uint8]:
    if plane.shape == shape:
        return plane
    resized: NDArray[np.uint8] = np.asarray(PIL.Image.fromarray(plane).resize((shape[1], shape[0]), how))
    return resized
