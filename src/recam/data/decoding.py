"""Image files decoded as they are stored: grey or colours of 8 bits as Pillow has them, all else as values of each
band."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ExifTags, ImageOps

from recam.data.decoded import Decoded, Kind, LayoutError, as_mode
from recam.data.opening import FORMATS, UnknownFormatError, bound_bytes, open_file, open_picture
from recam.data.reading import COLOURS, PLAIN, Reading
from recam.data.tiff import NODATA, RGB, TiffPage, is_tiff, number_of, read_pages, read_values

_ONE_IMAGE = ("MPO", "HEIF")
"""Formats whose further frames are a camera's own: previews, depth, a wider range of light."""
_AS_STORED = ("L", "LA", "RGB", "RGBA")
"""Pillow's modes whose bands are those of the file."""
_PNG_BEGINS = 8
"""Bytes of a PNG before its first chunk."""
_DEEP_PNG = ("RGB;16B", "RGBA;16B", "LA;16B")
"""How Pillow names the pixels of PNGs with 16-bit colours, or grey of 16 bits and transparency."""


@dataclass(frozen=True)
class Head:
    """What the head of a file holds.

    Attributes:
        size: (H, W) as it is shown.
        pixel_bytes: of one pixel as it is stored.
        is_deep: more than 8 bits.
        is_jpeg: Pillow may decode it reduced.
    """

    size: tuple[int, int]
    pixel_bytes: int
    is_deep: bool
    is_jpeg: bool = False


def decode(path: Path | str, reading: Reading = PLAIN) -> Decoded:
    """An image file as it is stored.

    Raises:
        DataError: as `open_picture`; or several pages of which none is chosen, a page that is not there.
        DependencyError: HEIC, AVIF or a TIFF without the package that reads it.
    """
    path = Path(path)
    try:
        with open_picture(path) as picture:
            page = _go_to_page(picture, reading, path)
            if page is None or _is_pillows(picture, page, reading):
                if _is_deep_png(picture) and not reading.page_index:
                    return _decode_deep_png(path, picture.tile[0][3])  # type: ignore[attr-defined]
                empty = getattr(picture, "tag_v2", {}).get(NODATA)
                picture.load()
                return of_picture(upright(picture), path, reading, empty)
    except UnknownFormatError:
        if not is_tiff(path):
            raise
        page = _choose_page(path, reading)
    values, nodata = read_values(path, page)
    return _of_tiff(path, page, values, nodata)


def of_picture(picture: PIL.Image.Image, where: object, reading: Reading = PLAIN, empty: object = None) -> Decoded:
    """An upright picture of any mode, as `decode` gives that of a file.

    Args:
        empty: GDAL's tag of the value that stands for no data, if there is one.

    Raises:
        DataError: a picture that cannot be shown as RGB; names `where`.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture)[:, :, None]  # (H, W, 1)
        if picture.mode == "I" and picture.format in ("PNG", "PPM"):  # Pillow opens 16 bits of these as 32
            values = values.astype(np.uint16)
        return of_values(values, where, empty=number_of(empty))
    kind = _kind_of(picture)
    if reading.bands is None:
        return Decoded(where, kind, picture)
    if picture.mode not in _AS_STORED or (picture.mode in ("L", "RGB") and picture.has_transparency_data):
        picture = as_mode(picture, "RGBA" if picture.has_transparency_data else "RGB", where)
    values = np.asarray(picture)
    return of_values(values if values.ndim == 3 else values[:, :, None], where, kind)


def of_values(
    values: NDArray[Any], where: object, kind: Kind | None = None, alpha: int | None = None, empty: float | None = None
) -> Decoded:
    """Values (H, W, n) as `decode` gives those of a file: one or three bands beside transparency are grey or RGB."""
    bands = values.shape[2] - (alpha is not None)
    bits, is_float = 8 * values.dtype.itemsize, values.dtype.kind == "f"
    kind = kind or Kind(_colours(bands), bands, bits, is_float, alpha is not None)
    shown = tuple(band for band in range(values.shape[2]) if band != alpha)
    return Decoded(where, kind, None, values, shown if bands in (1, 3) else (), alpha, empty)


def read_head(path: Path | str, reading: Reading = PLAIN, formats: Sequence[str] = FORMATS) -> Head:
    """Size and depth of an image, without decoding it.

    Args:
        formats: those that are opened, see `open_picture`.

    Raises:
        DataError: as `decode`.
    """
    path = Path(path)
    try:
        with open_picture(path, formats) as picture:
            page = _go_to_page(picture, reading, path)
            if page is None:
                turned = _has_exif(picture, path) and picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
                size = (picture.width, picture.height) if turned else (picture.height, picture.width)
                deep = _is_deep_png(picture) or picture.mode.startswith("I") or picture.mode == "F"
                pixel_bytes = len(picture.getbands()) * (2 if deep else 1)
                return Head(size, pixel_bytes, deep, picture.format in ("JPEG", "MPO"))
    except UnknownFormatError:
        if "TIFF" not in formats or not is_tiff(path):
            raise
        page = _choose_page(path, reading)
    size, depth = (page.height, page.width), -(-page.bits // 8)
    bound_bytes(path, page.width, page.height, page.bands, depth)
    return Head(size[::-1] if page.orientation >= 5 else size, page.bands * depth, page.bits > 8)


def upright(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture turned as its EXIF orientation states, in place."""
    with suppress(Exception):  # a damaged EXIF block means nothing for the picture; viewers show it as stored
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def is_reducible(picture: PIL.Image.Image, reading: Reading) -> bool:
    """Whether an open picture may be reduced before it is read: it has 8 bits, no band is chosen, and it is no
    animation."""
    return reading.bands is None and not _is_deep_png(picture) and _count_frames(picture) == 1


def _has_exif(picture: PIL.Image.Image, path: Path) -> bool:
    """Whether a file has EXIF; of a PNG found without decoding it, as Pillow would to see what follows the pixels."""
    if picture.format != "PNG" or {"exif", "Raw profile type exif"} & picture.info.keys():
        return True
    with open_file(path) as file:
        file.seek(_PNG_BEGINS)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return True
            file.seek(length + 4, os.SEEK_CUR)
    return False


def _go_to_page(picture: PIL.Image.Image, reading: Reading, path: Path) -> TiffPage | None:
    """Turn an open picture to the page that is read; that of a TIFF is returned."""
    if picture.format == "TIFF":
        page = _choose_page(path, reading)
        if page.index:
            picture.seek(page.index)
        return page
    count = _count_frames(picture)
    _check_page(path, count, reading)
    if reading.page_index:
        picture.seek(reading.page_index)
    return None


def _choose_page(path: Path, reading: Reading) -> TiffPage:
    pages = read_pages(path)
    _check_page(path, len(pages), reading)
    return pages[reading.page_index]


def _check_page(path: Path, count: int, reading: Reading) -> None:
    if reading.page is None and count > 1:
        raise LayoutError(
            f"{path} has {count} pages or frames, and an image is one. Set data.page to the one that is read (1 is the"
            " first), or save each as a file of its own."
        )
    if reading.page is not None and reading.page > count:
        raise LayoutError(f"{path} has {count} page{'s' * (count > 1)}, and data.page is {reading.page}.")


def _count_frames(picture: PIL.Image.Image) -> int:
    if picture.format in _ONE_IMAGE or not getattr(picture, "is_animated", False):
        return 1
    return int(getattr(picture, "n_frames", 1))


def _is_pillows(picture: PIL.Image.Image, page: TiffPage, reading: Reading) -> bool:
    """Whether Pillow reads all that is wanted of a page of a TIFF: of 16-bit colours it takes the higher half, bands
    beside RGB it drops."""
    if page.bits > 8 and page.bands > 1:
        return False
    return reading.bands is None or page.bands == len(picture.getbands()) or picture.mode == "P"


def _is_deep_png(picture: PIL.Image.Image) -> bool:
    """Colours of 16 bits, of which Pillow takes the higher half."""
    tile: list[Any] = getattr(picture, "tile", [])
    return picture.format == "PNG" and bool(tile) and tile[0][3] in _DEEP_PNG


def _decode_deep_png(path: Path, raw: str) -> Decoded:
    """Both halves of the values, which Pillow's unpackers give one at a time.

    Args:
        raw: of what its pixels consist, as Pillow names it.
    """
    if raw == "LA;16B":  # read as four bands of 8 bits: the halves of grey and those of its transparency
        halves = _load_as(path, "RGBA").astype(np.uint16)
        return of_values(halves[..., ::2] << 8 | halves[..., 1::2], path, alpha=1)
    values = _load_as(path, raw).astype(np.uint16) << 8
    values |= _load_as(path, raw.replace("16B", "16L"))
    return of_values(values, path, alpha=3 if values.shape[2] == 4 else None)


def _load_as(path: Path, raw: str) -> NDArray[np.uint8]:
    """(H, W, n) what Pillow makes of a file's pixels where they are taken for `raw`."""
    with open_picture(path) as picture:
        bound_bytes(path, picture.width, picture.height, 4, 4)
        tile = picture.tile[0]  # type: ignore[attr-defined]
        picture.tile = [type(tile)(*tile[:3], raw) if hasattr(tile, "_fields") else (*tile[:3], raw)]  # type: ignore[attr-defined]
        picture.load()
    return np.asarray(upright(picture))


def _of_tiff(path: Path, page: TiffPage, values: NDArray[Any], empty: float | None) -> Decoded:
    decoded = of_values(values, path, alpha=page.alpha, empty=empty)
    return replace(decoded, shown=(0, 1, 2)) if page.photometric == RGB and page.bands > COLOURS else decoded


def _kind_of(picture: PIL.Image.Image) -> Kind:
    names = {"1": "grey", "L": "grey", "LA": "grey", "P": "palette", "PA": "palette", "RGBA": "RGB", "RGBX": "RGB"}
    colours = names.get(picture.mode, picture.mode)
    return Kind(
        colours,
        1 if colours == "grey" else COLOURS,
        1 if picture.mode == "1" else 8,
        has_alpha=picture.has_transparency_data,
    )


def _colours(bands: int) -> str:
    return {1: "grey", COLOURS: "RGB"}.get(bands, f"{bands} bands")
