"""A photo that somebody sent: decoded with care, and pictures to send back."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

import PIL.Image

from recam.data.images import read_image
from recam.errors import DataError
from recam.review.judged import jpeg
from recam.types import Image

MAX_PIXELS = 50_000_000
SHOWN_SIDE = 900
"""Longer side of the pictures sent back, pixels."""
KINDS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


def decode_upload(content: bytes, folder: Path) -> Image:
    """The (H, W, 3) picture in a file's bytes, upright. It lies in `folder` while it is read.

    Raises:
        DataError: no image of a kind that data sets hold, damaged, or too large to be opened.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".try-", suffix=".tmp") as file:
        file.write(content)
        file.flush()
        try:
            with PIL.Image.open(file.name, formats=KINDS) as picture:  # reads the header only
                width, height = picture.size
        except Exception as error:  # a damaged file can make a decoder fail in any way
            raise DataError(f"this is no image that can be read; send one of {', '.join(KINDS)}.") from error
        if width * height > MAX_PIXELS:
            raise DataError(f"the photo has {width}×{height} pixels, more than {MAX_PIXELS:,} can be tried. Make it smaller.")
        try:
            return read_image(file.name)
        except DataError as error:
            raise DataError("the image is truncated or damaged. Send an intact copy.") from error


def picture_data(picture: Image) -> str:
    """A picture as the address of itself, for an ``img``."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(picture, 88, SHOWN_SIDE)).decode()}"
