"""Decoding images to what a viewer shows, decoding masks to class values, and writing both."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ExifTags, ImageOps, UnidentifiedImageError

from recam.digests import Digest
from recam.errors import DataError
from recam.files import write_bytes
from recam.labels import voc_palette
from recam.types import Grey, Image, Mask, Source

IMAGE_ENDINGS = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif")
"""Lower-case endings of the files that are taken for images; HEIC and AVIF need the extra `recam[heif]`."""

MASK_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""Lower-case endings of the files that are taken for masks: those of formats that keep every value as it is."""

_REPLACE = "Replace it by an intact copy, or take it out of the data set."


def read_image(path: Path | str) -> Image:
    """The (H, W, 3) uint8 RGB picture that a viewer shows: turned upright by its EXIF orientation, alpha laid on white.

    16-bit grey values are divided by 257; 32-bit integers and floats outside [0, 1] are stretched from their own least to their
    own greatest value. Of several frames the first is read. Embedded colour profiles are not applied.

    Raises:
        DataError: there is no such file, or it is no image, truncated or damaged; names the path.
    """
    path = Path(path)
    picture = _decode(path)
    if picture.mode.startswith("I") or picture.mode == "F":
        grey = _eight_bit(picture)
        return np.repeat(grey[:, :, None], 3, axis=2)  # (H, W, 3)
    try:
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture)
        return np.array(picture.convert("RGB"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path} has the colour mode {picture.mode}, which cannot be shown as RGB ({error}). Save it as RGB.") from error


def read_mask(path: Path | str) -> Mask:
    """The (H, W) uint8 class values of a mask: 0 background, 1…K classes, 255 ignore.

    Palette files give their indices, grey and 16-bit files their values, colour files the index of each colour in the VOC palette.

    Raises:
        DataError: as `read_image`; or values above 255, colours that are not in the VOC palette (told by the message), or a JPEG, which
            changes the values it is given.
    """
    path = Path(path)
    picture = _decode(path)
    if picture.format in ("JPEG", "MPO"):
        raise DataError(f"{path} is a JPEG, whose compression changes class values. Save the mask as PNG.")
    if picture.mode in ("P", "L", "1"):
        return np.array(picture).astype(np.uint8, copy=False)
    if picture.mode in ("PA", "LA"):
        return np.array(picture.getchannel(0))
    if picture.mode.startswith("I"):
        values = np.array(picture)
        if values.min() < 0 or values.max() > 255:
            raise DataError(f"{path} holds mask values from {values.min()} to {values.max()}; 0 to 255 can be used. Renumber its classes.")
        return values.astype(np.uint8)
    if picture.mode in ("RGB", "RGBA"):
        return _palette_indices(np.array(picture.convert("RGB")), path)
    raise DataError(
        f"{path} has the colour mode {picture.mode}, which holds no class values. Save the mask as an 8-bit palette or grey PNG."
    )


def read_grey(path: Path | str) -> Grey:
    """The (H, W) float32 values in [0, 1] of a grey picture of 1, 8 or 16 bits, such as a saliency map.

    Raises:
        DataError: as `read_image`; or colours, a palette or transparency, of which nobody knows what they stand for.
    """
    path = Path(path)
    picture = _decode(path)
    if picture.mode not in ("1", "L") and not (picture.mode.startswith("I") and picture.format == "PNG"):
        raise DataError(f"{path} has the colour mode {picture.mode}, not grey. Save it as a grey PNG of 8 or 16 bits.")
    top = {"1": 1, "L": 255}.get(picture.mode, 65535)
    return np.array(picture).astype(np.float32) / np.float32(top)


def write_grey(path: Path | str, grey: Grey) -> None:
    """Write (H, W) values in [0, 1] as an 8-bit grey PNG, whole or not at all. Raises `StoreError` for a full disk."""
    _write(path, PIL.Image.fromarray(np.rint(grey * 255).astype(np.uint8)))


def image_size(source: Source) -> tuple[int, int]:
    """(H, W) of an image as `read_image` gives it; of most files the head alone is read. Raises `DataError` as `read_image` does."""
    if isinstance(source, ImageFile):
        # Whatever is wrong with a head, reading the whole tells it.
        with suppress(Exception), PIL.Image.open(source.path) as picture:
            if picture.format != "TIFF":  # Pillow's versions differ in whether the size of one is turned before it is decoded
                turned = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
                return (picture.width, picture.height) if turned else (picture.height, picture.width)
    height, width = source.read().shape[:2]
    return height, width


def write_mask(path: Path | str, mask: Mask) -> None:
    """Write the (H, W) `mask` as a PNG with the VOC palette, whole or not at all. Raises `StoreError` for a full disk."""
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(f"a mask is uint8 (H, W), got {mask.dtype} {mask.shape}")
    picture = PIL.Image.fromarray(mask)
    picture.putpalette(voc_palette().tobytes())
    _write(path, picture)


def write_png(path: Path | str, image: Image) -> None:
    """Write the (H, W, 3) uint8 RGB `image` as a PNG, whole or not at all. Raises `StoreError` for a full disk."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image is uint8 (H, W, 3), got {image.dtype} {image.shape}")
    _write(path, PIL.Image.fromarray(image))


def write_jpeg(path: Path | str, image: Image, side: int) -> None:
    """Write the (H, W, 3) `image` as a JPEG for people to look at, reduced to `side` pixels where it is longer; whole or not at all."""
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
        table: (256,) uint8, old mask value → new one, as `ClassSet.select` gives it (kept as bytes, so that the source is hashable);
            None leaves the values as they are.
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


def _decode(path: Path) -> PIL.Image.Image:
    try:
        with PIL.Image.open(path) as picture:
            picture.load()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist. Put the file there, or take it out of the lists.") from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read. Give read permission.") from error
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        raise DataError(f"{path} {'is an empty file' if empty else 'is no image that can be read'}. {_REPLACE}") from error
    except PIL.Image.DecompressionBombError as error:
        raise DataError(f"{path} is too large: {error}. Make it smaller.") from error
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise DataError(f"{path} is truncated or damaged ({error}). {_REPLACE}") from error
    with suppress(Exception):  # a damaged EXIF block says nothing of the picture; viewers show it as stored
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _eight_bit(picture: PIL.Image.Image) -> NDArray[np.uint8]:
    """(H, W) uint8 of a picture with 16- or 32-bit integers or floats."""
    values = np.nan_to_num(np.array(picture).astype(np.float64), posinf=0, neginf=0)  # (H, W)
    low, high = float(values.min()), float(values.max())
    sixteen_bit = picture.mode != "I" or picture.format in ("PNG", "PPM")  # Pillow opens 16 bits of these as 32
    if picture.mode == "F":
        low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    elif sixteen_bit:
        low, high = 0.0, 65535.0
    return np.rint((values - low) * (255 / max(high - low, 1e-12))).clip(0, 255).astype(np.uint8)


@cache
def _palette_by_code() -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The VOC colours as 24-bit codes, ascending, and the (256,) index of each."""
    codes = _codes(voc_palette())
    order = np.argsort(codes)
    return codes[order], order.astype(np.uint8)


def _codes(colours: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(…, 3) RGB → (…) 24-bit codes."""
    codes: NDArray[np.int64] = colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    return codes


def _palette_indices(colours: Image, path: Path) -> Mask:
    sorted_codes, indices = _palette_by_code()
    codes = _codes(colours)  # (H, W)
    places = np.searchsorted(sorted_codes, codes).clip(max=255)
    foreign = np.unique(codes[sorted_codes[places] != codes])
    if len(foreign):
        first = ", ".join(str((int(c) >> 16, int(c) >> 8 & 255, int(c) & 255)) for c in foreign[:5])
        raise DataError(
            f"{path} is painted in {len(foreign)} colour{'s' * (len(foreign) != 1)} that the VOC palette does not hold: {first}"
            f"{', …' * (len(foreign) > 5)}. Save it as an 8-bit PNG of class values (0 background, 1… classes, 255 ignore)."
        )
    mask: Mask = indices[places]
    return mask


def _write(path: Path | str, picture: PIL.Image.Image) -> None:
    # Encoded in memory first: Pillow's own errors would hide that the disk is full.
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    write_bytes(path, encoded.getvalue())
