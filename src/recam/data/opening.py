"""The one place that opens pictures: formats that start no other program, and no more pixels than a limit of our
own."""

from __future__ import annotations

import importlib
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

import PIL.Image
from PIL import UnidentifiedImageError

from recam.errors import DataError, DependencyError, RecamError, RecipeError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "HEIF", "AVIF")
"""Pillow's names of the formats that are read, whatever the ending. EPS, for one, is not among them: Pillow would start
Ghostscript."""

MAX_PIXELS = 250_000_000
"""Pictures of more pixels are refused before any of them is decoded; `LIMIT_VARIABLE` in the environment changes
that."""
LIMIT_VARIABLE = "RECAM_MAX_PIXELS"

REPLACE = "Replace it by an intact copy, or take it out of the data set."

BYTES_PER_PIXEL = 4
"""Bytes that decoded values may take for each of `max_pixels`, whatever their number of bands and bits: a gigabyte at
the default limit."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")


class UnknownFormatError(DataError):
    """No picture of the formats that Pillow reads."""


class TooLargeError(DataError):
    """More pixels or bytes than the limit."""


@contextmanager
def open_file(path: Path | str) -> Iterator[IO[bytes]]:
    """A file to read. Raises `DataError` that names it where it is not there, or may not be read."""
    path = Path(path)
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist. Put the file there, or take it out of the lists.") from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read. Give read permission.") from error
    except (OSError, ValueError) as error:  # a folder, a name that is too long or holds a NUL
        raise DataError(f"{path} cannot be opened ({getattr(error, 'strerror', None) or error}). {REPLACE}") from error
    with file:
        yield file


@contextmanager
def open_picture(path: Path | str, formats: Sequence[str] = FORMATS) -> Iterator[PIL.Image.Image]:
    """A picture of which the head has been read; ``load()`` in the block decodes it, after which it outlives the block.

    Pillow's own `Image.open` is not used: it warns of photos that are merely large, and refuses them at twice that
    size. Some of its plugins read the same limit while they decode, so that one, which belongs to the process, is
    raised to ours.

    Args:
        formats: names among `FORMATS` that are tried.

    Raises:
        DataError: no such file, no picture of these formats (`UnknownFormatError`), too many pixels
            (`TooLargeError`), or, from the block too, whatever a damaged file makes a decoder raise; names the path.
        DependencyError: HEIC or AVIF without the package that reads it.
    """
    path, limit = Path(path), max_pixels()
    if PIL.Image.MAX_IMAGE_PIXELS is not None:
        PIL.Image.MAX_IMAGE_PIXELS = max(PIL.Image.MAX_IMAGE_PIXELS, limit)
    with open_file(path) as file:
        try:
            with _identify(file, path, formats) as picture:
                _bound(picture, limit, path)
                yield picture
        except RecamError:
            raise
        except UnidentifiedImageError as error:
            empty = path.stat().st_size == 0
            raise UnknownFormatError(
                f"{path} {'is an empty file' if empty else 'is no image that can be read'}. {REPLACE}"
            ) from error
        except (PIL.Image.DecompressionBombError, MemoryError) as error:
            raise DataError(
                f"{path} is too large for the memory ({error or 'out of memory'}). Make it smaller."
            ) from error
        except Exception as error:  # a damaged file can make a decoder fail in any way
            raise DataError(f"{path} is truncated or damaged ({error}). {REPLACE}") from error


def max_pixels() -> int:
    """The limit in force. Raises `RecipeError` where `LIMIT_VARIABLE` holds no whole number above 0."""
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not text:
        return MAX_PIXELS
    if not text.isdecimal() or int(text) == 0:
        raise RecipeError(f"{LIMIT_VARIABLE} is {text!r}. Give a number of pixels, such as {MAX_PIXELS}, or unset it.")
    return int(text)


def _bound(picture: PIL.Image.Image, limit: int, path: Path) -> None:
    for width, height in (
        picture.size,
        getattr(picture, "_tile_size", picture.size),
    ):  # a TIFF is decoded into a tile of its own size
        if width * height > limit:
            raise TooLargeError(
                f"{path} has {width}×{height} pixels, more than the limit of {limit:,}. Make it smaller, or raise the"
                " limit in the"
                f" environment: {LIMIT_VARIABLE}={width * height}."
            )


def bound_bytes(path: Path, width: int, height: int, bands: int, size: int) -> None:
    """Raises `TooLargeError` where width × height pixels of `bands` values of `size` bytes are more than the limit."""
    limit, pixels = max_pixels(), width * height
    needed = max(pixels, -(-pixels * bands * size // BYTES_PER_PIXEL))
    if needed > limit:
        raise TooLargeError(
            f"{path} has {width}×{height} pixels of {bands} × {size} bytes, {pixels * bands * size / 1e9:.3g} GB when"
            f" decoded, more than the limit of {limit:,} pixels of {BYTES_PER_PIXEL} bytes. Cut it into tiles, or raise"
            f" the limit in the environment: {LIMIT_VARIABLE}={needed}."
        )


def _identify(file: IO[bytes], path: Path, formats: Sequence[str]) -> PIL.Image.Image:
    """As the body of Pillow's `Image.open`, without its limit."""
    _load_plugins()
    head = file.read(16)
    _require_plugin(head, path)
    for name in formats:
        if name not in PIL.Image.OPEN:
            continue
        factory, accepts = PIL.Image.OPEN[name]
        accepted = accepts is None or accepts(head)
        if not accepted or isinstance(accepted, str):
            continue
        file.seek(0)
        with suppress(
            SyntaxError, IndexError, TypeError, struct.error, *((KeyError,) if name == "TIFF" else ())
        ):  # by these a plugin reports that the file is of another format; of a TIFF, an unknown compression
            return factory(file, str(path))
    raise UnidentifiedImageError(str(path))


@cache
def _load_plugins() -> None:
    """Pillow's plugins enter themselves when they are imported."""
    for name in ("Jpeg", "Png", "WebP", "Bmp", "Tiff", "Gif", "Ppm", "Avif"):
        with suppress(ImportError):
            importlib.import_module(f"PIL.{name}ImagePlugin")


def _require_plugin(head: bytes, path: Path) -> None:
    """Enter the plugin for HEIC where such a file is met. Raises `DependencyError` where it, or that for AVIF, is not
    installed."""
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    if brand in _HEIF_BRANDS and "HEIF" not in PIL.Image.OPEN:
        try:
            import pillow_heif
        except ImportError as error:
            raise DependencyError(
                f"{path} is a HEIC image. To read it: pip install 'recam[heif]', or save it as JPEG."
            ) from error
        pillow_heif.register_heif_opener()
    if brand in _AVIF_BRANDS and ("AVIF" not in PIL.Image.OPEN or isinstance(_accepts_avif(head), str)):
        raise DependencyError(f"{path} is an AVIF image. To read it: pip install 'recam[heif]', or save it as JPEG.")


def _accepts_avif(head: bytes) -> bool | str:
    """Pillow's answer: a string where it was built without AVIF."""
    accepts = PIL.Image.OPEN["AVIF"][1]
    return accepts is None or accepts(head)
