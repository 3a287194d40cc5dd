"""TIFFs that Pillow does not read, or not with all bits: several bands, 16 bits and more in colours, wide floats.

The directories of a file are read here, with bounds, before anything is decoded: how many pages it has, how large the
page is, how many bands of how many bits. Decoding is tifffile's (`recam[tiff]`). Layout: TIFF 6.0 and BigTIFF.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from recam.data.opening import REPLACE, bound_bytes, open_file
from recam.errors import DataError, DependencyError, RecamError, first_line

MOST_PAGES = 10_000
"""Directories that are counted."""
MOST_ENTRIES = 65_535
REDUCED_OR_MASK = 0b101
"""Bits of NewSubfileType: a smaller copy of another page, as GIS programs add for display, or its transparency."""
RGB = 2
"""Photometric interpretation."""
NODATA = 42113
"""GDAL's tag of the value that stands for no data, as text."""
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _FORMAT = 256, 257, 258, 262, 277, 339
_SUBFILE, _ORIENTATION, _EXTRA = 254, 274, 338
_WANTED = {_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _FORMAT, _SUBFILE, _ORIENTATION, _EXTRA}
_LETTERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""Types that hold unsigned whole numbers, as `struct` names them."""
_ALPHA = (1, 2)
"""Kinds of an extra sample: associated and unassociated alpha."""


@dataclass(frozen=True)
class TiffPage:
    """A page of a TIFF, by its directory.

    Attributes:
        index: of its directory in the file, from 0.
        width, height: as stored, before the orientation turns it.
        bands: of each pixel.
        bits: of each band; the most where they differ.
        is_float: values are floats.
        photometric: what the bands stand for, by TIFF's numbers.
        alpha: which band is transparency, from 0; None where none is.
        orientation: as of EXIF, 1 to 8.
    """

    index: int
    width: int
    height: int
    bands: int
    bits: int
    is_float: bool
    photometric: int
    alpha: int | None
    orientation: int

    def __str__(self) -> str:
        return f"{self.bands} band{'s' * (self.bands > 1)} of {self.bits} bits"


def is_tiff(path: Path) -> bool:
    """Whether a file begins as a TIFF does. Raises `DataError` where it cannot be opened."""
    with open_file(path) as file:
        return _byte_order(file.read(4)) is not None


def read_pages(path: Path) -> list[TiffPage]:
    """The pages of a TIFF, without reduced copies and transparency masks.

    A chain of directories that breaks off, or leads back, ends there: what stands before is the file.

    Raises:
        DataError: it cannot be opened, or its first directory is damaged.
    """
    with open_file(path) as file:
        try:
            pages = _walk(file)
        except (struct.error, OverflowError, OSError, ValueError) as error:
            raise DataError(f"{path} is truncated or damaged ({error}). {REPLACE}") from error
    if not pages:
        raise DataError(f"{path} is truncated or damaged (it holds no page). {REPLACE}")
    return pages


def read_values(path: Path, page: TiffPage) -> tuple[NDArray[Any], float | None]:
    """(H, W, n) the values of a page, upright, and the value that stands for no data (GDAL's tag), where there is one.

    Raises:
        DataError: more bytes than the limit, damaged, or of a layout that is no image.
        DependencyError: tifffile, or what its compression needs, is not installed.
    """
    bound_bytes(path, page.width, page.height, page.bands, -(-page.bits // 8))
    try:
        import tifffile
    except ImportError as error:
        raise DependencyError(
            f"{path} is a TIFF of {page}. To read it: pip install 'recam[tiff]', or save it with 8 bits as grey or RGB."
        ) from error
    try:
        with tifffile.TiffFile(path) as file:
            found = file.pages[page.index]
            if not isinstance(found, tifffile.TiffPage) or found.dtype is None:
                raise ValueError("values of a kind that is not known")
            bound_bytes(path, found.imagewidth, found.imagelength, found.samplesperpixel, found.dtype.itemsize)
            values, axes = found.asarray(maxworkers=1), found.axes
            tag = found.tags.get(NODATA)
            empty = number_of(None if tag is None else tag.value)
    except RecamError:
        raise
    except Exception as error:  # a damaged file can make a decoder fail in any way
        if "imagecodecs" in str(error):
            raise DependencyError(
                f"{path} is compressed ({first_line(error)}). To read it: pip install 'recam[tiff]'."
            ) from error
        raise DataError(f"{path} is truncated or damaged ({first_line(error)}). {REPLACE}") from error
    if values.ndim != len(axes) or not values.size:
        raise DataError(f"{path} is truncated or damaged (values {values.shape} of axes {axes}). {REPLACE}")
    if axes == "SYX":
        values = np.moveaxis(values, 0, 2)
    elif axes == "YX":
        values = values[:, :, None]
    elif axes != "YXS":
        raise DataError(f"{path} has the axes {axes} of values {values.shape}, and an image has (H, W, bands).")
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise DataError(f"{path} holds {values.dtype}, which is no image. Save its values as integers or floats.")
    return turn(values.astype(np.uint8) if values.dtype == bool else values, page.orientation), empty


def turn(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """(H, W, …) turned upright, as EXIF's orientation 1 to 8 states; a view."""
    if orientation in (2, 3):
        values = values[:, ::-1]
    if orientation in (3, 4):
        values = values[::-1]
    if orientation in (6, 7):
        values = values[::-1]
    if orientation in (7, 8):
        values = values[:, ::-1]
    return values.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else values


def number_of(text: object) -> float | None:
    """The number in GDAL's tag of the value that stands for no data; None where there is no tag, or no number in it."""
    try:
        return None if text is None else float(str(text).strip("\0 "))
    except ValueError:
        return None


def _byte_order(head: bytes) -> str | None:
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 4 or struct.unpack(f"{order}H", head[2:4])[0] not in (42, 43):
        return None
    return order


def _walk(file: IO[bytes]) -> list[TiffPage]:
    """Pages by the chain of directories."""
    head = file.read(16)
    order = _byte_order(head)
    if order is None:
        raise ValueError("it does not begin as a TIFF does")
    big = struct.unpack(f"{order}H", head[2:4])[0] == 43
    (place,) = struct.unpack(f"{order}Q", head[8:16]) if big else struct.unpack(f"{order}I", head[4:8])
    pages, seen = list[TiffPage](), set[int]()
    while place and place not in seen and len(seen) < MOST_PAGES:
        seen.add(place)
        try:
            entries, place = _read_directory(file, place, order, big)
        except (struct.error, OverflowError, OSError, ValueError):
            if not pages:
                raise
            break
        if entries.get(_SUBFILE, (0,))[0] & REDUCED_OR_MASK == 0:
            pages.append(_page(len(seen) - 1, entries))
    return pages


def _read_directory(file: IO[bytes], place: int, order: str, big: bool) -> tuple[dict[int, tuple[int, ...]], int]:
    """The whole numbers of a directory by tag, as far as they are wanted, and where the next one lies (0: nowhere)."""
    word, entry_size = (8, 20) if big else (4, 12)
    offset = f"{order}Q" if big else f"{order}I"
    file.seek(place)
    head = file.read(8 if big else 2)
    (count,) = struct.unpack(f"{order}Q" if big else f"{order}H", head)
    if count > MOST_ENTRIES:
        raise ValueError(f"a directory of {count} entries")
    table, following = file.read(count * entry_size), file.read(word)
    found = {}
    for start in range(0, len(table) - entry_size + 1, entry_size):
        tag, kind = struct.unpack(f"{order}HH", table[start : start + 4])
        if tag not in _WANTED or kind not in _LETTERS:
            continue
        (number,) = struct.unpack(offset, table[start + 4 : start + 4 + word])
        held, size = table[start + 4 + word : start + entry_size], struct.calcsize(_LETTERS[kind])
        length = min(number, MOST_ENTRIES) * size
        if length > len(held):
            file.seek(struct.unpack(offset, held)[0])
            held = file.read(length)
        if length and len(held) >= length:
            found[tag] = struct.unpack(f"{order}{length // size}{_LETTERS[kind]}", held[:length])
    return found, struct.unpack(offset, following)[0] if len(following) == word else 0


def _page(index: int, entries: dict[int, tuple[int, ...]]) -> TiffPage:
    bands = entries.get(_SAMPLES, (1,))[0]
    extra = entries.get(_EXTRA, ())
    alpha = next((bands - len(extra) + i for i, kind in enumerate(extra) if kind in _ALPHA), None)
    return TiffPage(
        index,
        entries.get(_WIDTH, (0,))[0],
        entries.get(_HEIGHT, (0,))[0],
        bands,
        max(entries.get(_BITS, (1,))),
        entries.get(_FORMAT, (1,))[0] == 3,
        entries.get(_PHOTOMETRIC, (1,))[0],
        alpha if alpha is not None and alpha > 0 else None,
        entries.get(_ORIENTATION, (1,))[0],
    )
