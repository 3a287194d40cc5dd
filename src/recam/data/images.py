"""Decoding images to what a viewer shows, decoding masks to class values, and writing both."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ExifTags, ImageOps

from recam.data.opening import open_picture
from recam.data.palettes import VocIndices, palette_colours
from recam.digests import Digest
from recam.errors import DataError, RecamError
from recam.files import write_bytes
from recam.labels import voc_palette
from recam.types import Grey, Image, Mask, Source

IMAGE_ENDINGS = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif")
"""Lower-case endings of the files that are taken for images; HEIC and AVIF need the extra `recam[heif]`."""

MASK_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""Lower-case endings of the files that are taken for masks: those of formats that keep every value as it is."""

_LOSSY = {"JPEG": "JPEG", "MPO": "JPEG", "HEIF": "HEIC image", "AVIF": "AVIF image"}
LARGE = 40_000_000
"""Pixels above which `one_large_at_a_time` takes turns."""
_LARGE_TURN = threading.Lock()
_BLOCK = 1 << 20
"""Pixels that are converted at a time."""


def read_image(path: Path | str) -> Image:
    """The (H, W, 3) uint8 RGB picture that a viewer shows: turned upright by its EXIF orientation, alpha laid on white.

    16-bit grey values are divided by 257; 32-bit integers and floats outside [0, 1] are stretched from their own least
    to their own greatest value. Of several frames the first is read. Embedded colour profiles are not applied.

    Raises:
        DataError: there is no such file, or it is no image, truncated or damaged, or of more pixels than
            `recam.data.opening.MAX_PIXELS`; names the path.
        DependencyError: HEIC or AVIF without the package that reads it.
    """
    path = Path(path)
    with open_picture(path) as picture:
        picture.load()
    return rgb_pixels(upright(picture), path)


def rgb_pixels(picture: PIL.Image.Image, where: object) -> Image:
    """The (H, W, 3) uint8 RGB pixels of an upright picture of any mode, as `read_image` describes them.

    Raises:
        DataError: a picture that cannot be shown as RGB; names `where`.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        low, high = _grey_range(picture)
        return _by_rows(picture, lambda block: _eight_bit(block, low, high)[:, :, None], 3)
    try:
        return _by_rows(picture, _as_rgb, 3)
    except (ValueError, OSError) as error:
        raise DataError(
            f"{where} has the colour mode {picture.mode}, which cannot be shown as RGB ({error}). Save it as RGB."
        ) from error


def read_mask(path: Path | str) -> Mask:
    """The (H, W) uint8 class values of a mask: 0 background, 1…K classes, 255 ignore.

    Palette files give their indices, grey and 16-bit files their values, colour files the index of each colour in the
    VOC palette. A GIF, whose writers renumber palettes, gives its greys, or the index of each colour in the VOC
    palette.

    Raises:
        DataError: as `read_image`; or values above 255, colours that are not in the VOC palette
            (the message lists them), or a format whose compression changes values.
    """
    path = Path(path)
    with open_picture(path) as picture:
        if picture.format in _LOSSY:
            raise DataError(
                f"{path} is a {_LOSSY[picture.format]}, whose compression changes class values. Save the mask as PNG."
            )
        picture.load()
    picture = upright(picture)
    if picture.format == "GIF" and picture.mode == "P":
        table = _gif_values(picture, path)
        return _by_rows(picture, lambda block: table[np.asarray(block)])
    if picture.mode in ("P", "L", "1"):
        return _by_rows(picture, np.asarray)
    if picture.mode in ("PA", "LA"):
        return _by_rows(picture, lambda block: np.asarray(block.getchannel(0)))
    if picture.mode.startswith("I"):
        low, high = _extremes(picture)
        if low < 0 or high > 255:
            raise DataError(
                f"{path} holds mask values from {low:.0f} to {high:.0f}; 0 to 255 can be used. Renumber its classes."
            )
        return _by_rows(picture, np.asarray)
    if picture.mode in ("RGB", "RGBA"):
        indices = VocIndices()
        mask = _by_rows(picture, lambda block: indices(np.asarray(block.convert("RGB"))))
        indices.raise_foreign(path)
        return mask
    raise DataError(
        f"{path} has the colour mode {picture.mode}, which holds no class values. Save the mask as an 8-bit palette or"
        " grey PNG."
    )


def read_grey(path: Path | str) -> Grey:
    """The (H, W) float32 values in [0, 1] of a grey picture of 1, 8 or 16 bits, such as a saliency map.

    Raises:
        DataError: as `read_image`; or colours, a palette or transparency, of which nobody knows what they stand for.
    """
    path = Path(path)
    with open_picture(path) as picture:
        if picture.mode not in ("1", "L") and not (picture.mode.startswith("I") and picture.format == "PNG"):
            raise DataError(
                f"{path} has the colour mode {picture.mode}, not grey. Save it as a grey PNG of 8 or 16 bits."
            )
        picture.load()
    picture = upright(picture)
    grey = np.array(picture, np.float32)
    grey /= {"1": 1, "L": 255}.get(picture.mode, 65535)
    return grey


@contextmanager
def one_large_at_a_time(source: Source) -> Iterator[None]:
    """For threads that decode side by side: a picture of more than `LARGE` pixels is decoded while no other such one
    is."""
    pixels = 0
    if isinstance(source, ImageFile):
        with suppress(RecamError), open_picture(source.path) as picture:
            pixels = picture.width * picture.height
    with _LARGE_TURN if pixels > LARGE else nullcontext():
        yield


def write_grey(path: Path | str, grey: Grey) -> None:
    """Write (H, W) values in [0, 1] as an 8-bit grey PNG, whole or not at all. Raises `StoreError` for a full disk."""
    _write(path, PIL.Image.fromarray(np.rint(grey * 255).astype(np.uint8)))


def image_size(source: Source) -> tuple[int, int]:
    """(H, W) of an image as `read_image` gives it; of most files the head alone is read. Raises `DataError` as
    `read_image` does."""
    if isinstance(source, ImageFile):
        # Whatever is wrong with a head, reading the whole finds it.
        with suppress(Exception), open_picture(source.path) as picture:
            if (
                picture.format != "TIFF"
            ):  # Pillow's versions differ in whether the size of one is turned before it is decoded
                turned = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
                return (picture.width, picture.height) if turned else (picture.height, picture.width)
    height, width = source.read().shape[:2]
    return height, width


def write_mask(path: Path | str, mask: Mask) -> None:
    """Write the (H, W) `mask` as a PNG with the VOC palette, whole or not at all. Raises `StoreError` for a full
    disk."""
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(f"a mask is uint8 (H, W), got {mask.dtype} {mask.shape}")
    picture = PIL.Image.fromarray(mask)
    picture.putpalette(voc_palette().tobytes())
    _write(path, picture)


def write_png(path: Path | str, image: Image) -> None:
    """Write the (H, W, 3) uint8 RGB `image` as a PNG, whole or not at all. Raises `StoreError` for a full disk."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image is uint8 (H, W, 3), got {image.dtype} {image.shape}")
    # At most 4 % larger than at Pillow's own level, and written in about a third to a half of the time.
    _write(path, PIL.Image.fromarray(image), compress_level=3)


def write_jpeg(path: Path | str, image: Image, side: int) -> None:
    """Write the (H, W, 3) `image` as a JPEG for people to look at, reduced to `side` pixels where it is longer; whole
    or not at all."""
    picture = PIL.Image.fromarray(image)
    picture.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=86)
    write_bytes(path, encoded.getvalue())


@dataclass(frozen=True)
class ImageFile:
    """An image on disk, as the source of a `Sample`."""

    path: Path

    @property
    def where(self) -> str:
        return str(self.path)

    def read(self) -> Image:
        """As `read_image`."""
        return read_image(self.path)

    def fingerprint(self, digest: Digest) -> str:
        """The file's content. Raises `DataError` where it is gone."""
        return digest(self.path)


@dataclass(frozen=True)
class MaskFile:
    """A mask on disk, as the source of a `Sample`.

    Attributes:
        table: (256,) uint8, old mask value → new one, as `ClassSet.select` gives it (kept as bytes, so that the source
            is hashable); None leaves the values as they are.
    """

    path: Path
    table: bytes | NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.table is not None:
            object.__setattr__(self, "table", bytes(self.table))
            if len(self.table) != 256:
                raise ValueError(f"a table maps 256 mask values, got {len(self.table)}")

    @property
    def where(self) -> str:
        return str(self.path)

    def read(self) -> Mask:
        """As `read_mask`, with `table` applied."""
        mask = read_mask(self.path)
        return mask if self.table is None else np.frombuffer(bytes(self.table), np.uint8)[mask]

    def fingerprint(self, digest: Digest) -> str:
        """The file's content, and the table. Raises `DataError` where the file is gone."""
        content = digest(self.path)
        return content if self.table is None else f"{content}-{hashlib.sha256(bytes(self.table)).hexdigest()[:16]}"


def upright(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture turned as its EXIF orientation states, in place."""
    with suppress(Exception):  # a damaged EXIF block means nothing for the picture; viewers show it as stored
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _blocks(picture: PIL.Image.Image) -> Iterator[tuple[slice, PIL.Image.Image]]:
    """Rows of a picture, a block of them at a time, so that what is computed of them never takes the memory of the
    whole."""
    width, height = picture.size
    step = max(1, _BLOCK // max(width, 1))
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        yield rows, picture if step >= height else picture.crop((0, rows.start, width, rows.stop))


def _by_rows(
    picture: PIL.Image.Image, values_of: Callable[[PIL.Image.Image], NDArray[Any]], *channels: int
) -> NDArray[np.uint8]:
    """(H, W, *channels) uint8: what `values_of` makes of each block of rows."""
    values = np.empty((picture.height, picture.width, *channels), np.uint8)
    for rows, block in _blocks(picture):
        values[rows] = values_of(block)
    return values


def _as_rgb(block: PIL.Image.Image) -> Image:
    if block.has_transparency_data:
        block = block.convert("RGBA")
        block = PIL.Image.alpha_composite(PIL.Image.new("RGBA", block.size, "white"), block)
    return np.asarray(block.convert("RGB"))


def _finite(block: PIL.Image.Image) -> NDArray[np.float64]:
    """(h, W) values of a picture with integers or floats; what is no number is 0."""
    return np.nan_to_num(np.asarray(block).astype(np.float64), posinf=0, neginf=0)


def _extremes(picture: PIL.Image.Image) -> tuple[float, float]:
    """Least and greatest value of a picture with integers or floats."""
    found = [(values.min(), values.max()) for _, block in _blocks(picture) if (values := _finite(block)).size]
    return float(min(low for low, _ in found)), float(max(high for _, high in found))


def _grey_range(picture: PIL.Image.Image) -> tuple[float, float]:
    """The values of a picture with integers or floats that are shown black and white."""
    if picture.mode != "F" and (
        picture.mode != "I" or picture.format in ("PNG", "PPM")
    ):  # Pillow opens 16 bits of these as 32
        return 0.0, 65535.0
    low, high = _extremes(picture)
    return (0.0, 1.0) if picture.mode == "F" and low >= 0 and high <= 1 else (low, high)


def _eight_bit(block: PIL.Image.Image, low: float, high: float) -> NDArray[np.uint8]:
    return np.rint((_finite(block) - low) * (255 / max(high - low, 1e-12))).clip(0, 255).astype(np.uint8)


def _gif_values(picture: PIL.Image.Image, path: Path) -> NDArray[np.uint8]:
    """(256,) palette index → class value. GIF knows no grey and its writers renumber palettes, so it is the colours
    that count."""
    colours = palette_colours(picture)
    used = np.flatnonzero(picture.histogram()[:256])
    table = np.zeros(256, np.uint8)
    if (colours[used] == colours[used, :1]).all():
        table[used] = colours[used, 0]
        return table
    indices = VocIndices()
    table[used] = indices(colours[used])
    indices.raise_foreign(path)
    return table


def _write(path: Path | str, picture: PIL.Image.Image, compress_level: int = 6) -> None:
    # Encoded in memory first: Pillow's own errors would hide that the disk is full.
    encoded = io.BytesIO()
    picture.save(encoded, "PNG", compress_level=compress_level)
    write_bytes(path, encoded.getvalue())
