"""A photo that somebody sent: decoded within bounds and at the size that is needed, and pictures to send back."""

from __future__ import annotations

import base64
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL.Image
from PIL import ImageOps

from recam.data.decoded import LayoutError
from recam.data.decoding import read_head
from recam.data.images import read_image
from recam.data.opening import TooLargeError
from recam.data.reading import PLAIN, Reading
from recam.errors import DataError, DependencyError
from recam.preprocess import resize_image, scaled_size
from recam.review.judged import jpeg
from recam.types import Image

MAX_PIXELS = 50_000_000
"""Of a photo, by its head: decoding one takes some 10 bytes per pixel for a moment."""
MAX_DEEP_PIXELS = 12_500_000
"""Of one with 16 or 32 bits, or more than `MAX_BYTES` per pixel, whose values are stretched as float64."""
MAX_BYTES = 4
SHOWN_SIDE = 900
"""Longer side of the pictures sent back, pixels."""
KINDS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Pillow's names of the formats that are opened; of all others not even the head is read (EPS would start
Ghostscript)."""


def decode_upload(content: bytes, folder: Path, side: int, reading: Reading = PLAIN) -> tuple[Image, tuple[int, int]]:
    """The (h, w, n) picture in a file's bytes, upright, no longer than `side` pixels; and its own (width, height), as
    shown.

    The number of pixels is read from the head and bounded before anything is decoded; a JPEG is decoded at half, a
    quarter or an eighth of its size where that suffices. The bytes lie in `folder` while they are read.

    Args:
        reading: how the run reads its files.

    Raises:
        DataError: no image of a kind that data sets hold, damaged, or too large to be opened.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".try-", suffix=".tmp") as file:
        file.write(content)
        file.flush()
        path = Path(file.name)
        try:
            head = read_head(path, reading, KINDS)
        except TooLargeError as error:
            raise _too_large("more pixels", MAX_PIXELS) from error
        except (LayoutError, DependencyError) as error:
            raise DataError(str(error).replace(file.name, "the photo")) from error
        except Exception as error:  # a damaged file can make a decoder fail in any way
            raise DataError(f"this is no image that can be read; send one of {', '.join(KINDS)}.") from error
        height, width = head.size
        deep = head.pixel_bytes > MAX_BYTES or head.is_deep
        bound = MAX_DEEP_PIXELS if deep else MAX_PIXELS
        if width * height > bound:
            raise _too_large(f"{width}×{height} pixels{' of 16 or 32 bits or of many bands' * deep}", bound)
        try:
            image = _decode_jpeg(path, side) if head.is_jpeg and not reading.bands else read_image(path, reading)
        except (LayoutError, DependencyError) as error:
            raise DataError(str(error).replace(file.name, "the photo")) from error
        except Exception as error:
            raise DataError("the image is truncated or damaged. Send an intact copy.") from error
    return resize_image(image, scaled_size((image.shape[0], image.shape[1]), 1.0, side)), (width, height)


def picture_data(picture: Image) -> str:
    """A picture as the address of itself, for an ``img``."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(picture, 88, SHOWN_SIDE)).decode()}"


def _decode_jpeg(path: Path, side: int) -> Image:
    """As `read_image`, no smaller than needed for `side`; JPEG knows no transparency and 8 bits alone."""
    with PIL.Image.open(path, formats=KINDS) as picture:
        picture.draft(None, (side, side))
        picture.load()
    with suppress(Exception):  # as `read_image`: a damaged EXIF block does not matter for the picture
        ImageOps.exif_transpose(picture, in_place=True)
    return np.array(picture.convert("RGB"))


def _too_large(found: str, bound: int) -> DataError:
    return DataError(f"the photo has {found}, more than the {bound:,} that can be tried. Make it smaller.")
