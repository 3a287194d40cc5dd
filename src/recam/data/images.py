"""Decoding images to what a viewer shows, decoding masks to class values, and writing both."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from recam.data.decoding import decode, read_head, upright
from recam.data.opening import open_picture
from recam.data.palettes import VocIndices, palette_colours
from recam.data.reading import PLAIN, Reading
from recam.data.rendering import blocks_of, by_rows, render
from recam.digests import Digest
from recam.errors import DataError, RecamError
from recam.files import write_bytes
from recam.labels import voc_palette
from recam.preprocess import rgb_of
from recam.settings import as_json
from recam.types import Grey, Image, Mask, Source

IMAGE_ENDINGS = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif")
"""Lower-case endings of the files that are taken for images; HEIC and AVIF need the extra `recam[heif]`."""

MASK_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""Lower-case endings of the files that are taken for masks: those of formats that keep every value as it is."""

_LOSSY = {"JPEG": "JPEG", "MPO": "JPEG", "HEIF": "HEIC image", "AVIF": "AVIF image"}
LARGE = 40_000_000
"""Pixels above which `one_large_at_a_time` takes turns."""
BYTES_DECODING = 8
"""Bytes that a pixel of 8-bit colours takes while it is decoded, at most."""
_LARGE_TURN = threading.Lock()


def read_image(path: Path | str, reading: Reading = PLAIN) -> Image:
    """The (H, W, 3) uint8 RGB picture that a viewer shows: turned upright by its EXIF orientation, alpha laid on white;
    or (H, W, n), the bands that `reading` chooses.

    8 bits stay as they are; `Reading.value_range` describes what becomes of more. Embedded colour profiles are not
    applied.

    Raises:
        DataError: there is no such file, or it is no image, truncated or damaged, or of more pixels than
            `recam.data.opening.MAX_PIXELS`; several pages or bands of which none is chosen; names the path.
        DependencyError: HEIC, AVIF, or a TIFF of several bands of 16 bits and the like, without the package that reads
            it.
    """
    return render(decode(path, reading), reading)


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
        return by_rows(picture, lambda block: table[np.asarray(block)])
    if picture.mode in ("P", "L", "1"):
        return by_rows(picture, np.asarray)
    if picture.mode in ("PA", "LA"):
        return by_rows(picture, lambda block: np.asarray(block.getchannel(0)))
    if picture.mode.startswith("I"):
        low, high = _extremes(picture)
        if low < 0 or high > 255:
            raise DataError(
                f"{path} holds mask values from {low:.0f} to {high:.0f}; 0 to 255 can be used. Renumber its classes."
            )
        return by_rows(picture, np.asarray)
    if picture.mode in ("RGB", "RGBA"):
        indices = VocIndices()
        mask = by_rows(picture, lambda block: indices(np.asarray(block.convert("RGB"))))
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
    pixels = 0.0
    if isinstance(source, ImageFile):
        with suppress(RecamError):
            head = read_head(source.path, source.reading)
            pixels = head.size[0] * head.size[1] * max(1.0, head.pixel_bytes / BYTES_DECODING)
    with _LARGE_TURN if pixels > LARGE else nullcontext():
        yield


def write_grey(path: Path | str, grey: Grey) -> None:
    """Write (H, W) values in [0, 1] as an 8-bit grey PNG, whole or not at all. Raises `StoreError` for a full disk."""
    _write(path, PIL.Image.fromarray(np.rint(grey * 255).astype(np.uint8)))


def image_size(source: Source) -> tuple[int, int]:
    """(H, W) of an image as `read_image` gives it; of a file the head alone is read. Raises `DataError` as `read_image`
    does."""
    if isinstance(source, ImageFile):
        one = replace(source.reading, page=source.reading.page or 1)  # whether there are others does not matter here
        with suppress(Exception):  # whatever is wrong with a head, reading the whole finds it
            return read_head(source.path, one).size
    height, width = source.read().shape[:2]
    return height, width


def write_mask(path: Path | str, mask: Mask, palette: bool = True) -> None:
    """Write the (H, W) `mask` as a PNG with the VOC palette, or as grey values for readers that would give the colours
    of a palette; whole or not at all. Raises `StoreError` for a full disk."""
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(f"a mask is uint8 (H, W), got {mask.dtype} {mask.shape}")
    picture = PIL.Image.fromarray(mask)
    if palette:
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
    picture = PIL.Image.fromarray(rgb_of(image))
    picture.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=86)
    write_bytes(path, encoded.getvalue())


@dataclass(frozen=True)
class ImageFile:
    """An image on disk, as the source of a `Sample`.

    Attributes:
        reading: pages, bands and values that are read.
    """

    path: Path
    reading: Reading = PLAIN

    @property
    def where(self) -> str:
        return str(self.path)

    def read(self) -> Image:
        """As `read_image`."""
        return read_image(self.path, self.reading)

    def fingerprint(self, digest: Digest) -> str:
        """The file's content, and what is read of it where that is chosen. Raises `DataError` where the file is
        gone."""
        content = digest(self.path)
        if self.reading.is_plain:
            return content
        chosen = json.dumps(as_json(self.reading, for_key=True))
        return f"{content}-{hashlib.sha256(chosen.encode()).hexdigest()[:16]}"


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


def _extremes(picture: PIL.Image.Image) -> tuple[float, float]:
    """Least and greatest value of a picture with integers."""
    found = [(values.min(), values.max()) for _, block in blocks_of(picture) if (values := np.asarray(block)).size]
    return float(min(low for low, _ in found)), float(max(high for _, high in found))


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
