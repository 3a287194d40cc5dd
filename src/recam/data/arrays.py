"""What people hand over as an image: arrays, pictures, tensors and paths, all brought to one form, or refused with what
was got.

Knows no PyTorch, so that exported networks predict where it is not installed: a tensor is what can be detached and
become an array.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageOps

from recam.data.decoding import of_picture, of_values
from recam.data.images import read_image
from recam.data.reading import PLAIN, Reading
from recam.data.rendering import render
from recam.errors import DataError, Problem, data_error
from recam.types import Image

TAKEN = (
    "An image is a path, a PIL image, an array (H, W, 3) of uint8 or of floats in [0, 1], also grey (H, W) or RGBA (H,"
    " W, 4),"
    " or a tensor (3, H, W) or (H, W, 3) of the same"
)
CHANNELS = (3, 4, 1)
"""RGB, RGBA, grey; where the layout of a tensor is in doubt, the one that makes it the earlier of these."""
ROUNDING = 1e-5
"""How far a float may lie outside [0, 1]: what normalisation there and back leaves."""


class TensorLike(Protocol):
    """A PyTorch tensor, as far as it is used here."""

    def detach(self) -> Any:
        """The tensor without a graph."""
        ...


ImageLike = str | os.PathLike[str] | PIL.Image.Image | NDArray[Any] | TensorLike
"""One image, in any form that `as_image` takes."""


def as_image(given: ImageLike, reading: Reading = PLAIN) -> Image:
    """The (H, W, 3) uint8 RGB image that is meant, contiguous; or (H, W, n), the bands that `reading` chooses.

    Args:
        given: a path; a PIL image of any mode, read as `read_image` reads a file of it; an array (H, W, 3), grey (H, W)
            or (H, W, 1), or RGBA (H, W, 4), which is laid on white, of uint8 or of floats in [0, 1]; a tensor of the
            same, also channels first.
        reading: how files are read. What is no file is read as one that holds it: with chosen bands, an array (H, W, C)
            has all of the file's; with a value range, all but uint8 is in the units of the files.

    Raises:
        DataError: anything else, described by its type, shape and values.
    """
    if isinstance(given, str | os.PathLike):
        return read_image(os.fspath(given), reading)
    if isinstance(given, PIL.Image.Image):
        return _pixels_of_picture(given, reading)
    if isinstance(given, np.ndarray):
        values = given
    elif hasattr(given, "detach"):
        values = _values_of_tensor(given, reading)
    else:
        raise DataError(f"a {type(given).__name__} is no image. {TAKEN}.")
    shaped = _with_channels(values, reading)  # (H, W, C)
    if reading.value_range is None or shaped.dtype == np.uint8:
        shaped = _eight_bit(shaped)
    elif shaped.dtype.kind not in "iuf":
        raise _refused(values, "")
    where = f"the array {values.shape}"
    alpha = 3 if shaped.shape[2] == 4 and reading.bands is None else None
    if alpha is not None and shaped.dtype == np.uint8:
        return render(of_picture(PIL.Image.fromarray(shaped), where))
    return render(of_values(shaped, where, alpha=alpha), reading)


def as_images(given: Sequence[ImageLike], reading: Reading = PLAIN) -> list[Image]:
    """`as_image` of each. Raises one `DataError` that names all that are none, by their place in the list from 0."""
    images, problems = [], []
    for place, one in enumerate(given):
        try:
            images.append(as_image(one, reading))
        except DataError as error:
            problems.append(Problem("no-image", f"image {place} of {len(given)}", str(error)))
    if problems:
        raise data_error(problems, rest="fix these first")
    return images


def _pixels_of_picture(picture: PIL.Image.Image, reading: Reading) -> Image:
    what = f"the PIL image ({picture.mode}, {picture.width}×{picture.height})"
    try:
        upright = ImageOps.exif_transpose(picture)  # a copy; the caller's stays as it is
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise DataError(f"{what} cannot be decoded ({error}). Open an intact copy.") from error
    upright.format = picture.format  # a copy loses it, and it decides what 32-bit greys mean
    return render(of_picture(upright, what, reading), reading)


def _values_of_tensor(tensor: Any, reading: Reading) -> NDArray[Any]:
    """A tensor as an array, its channels last: (H, W) or (H, W, C)."""
    tensor = tensor.detach().cpu()
    values: NDArray[Any] = (tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy()
    if values.ndim != 3:
        return values
    first, last = values.shape[0], values.shape[2]
    if reading.bands is not None:  # any number of bands, but fewer than rows and columns
        return values.transpose(1, 2, 0) if first <= last else values
    order = [channels for channels in CHANNELS if channels in (first, last)]
    return values.transpose(1, 2, 0) if order and first == order[0] else values  # (C, H, W) → (H, W, C)


def _with_channels(values: NDArray[Any], reading: Reading) -> NDArray[Any]:
    """(H, W) or (H, W, C) → (H, W, C), C 1, 3 or 4, or any number where bands are chosen among them."""
    shaped = values[:, :, None] if values.ndim == 2 else values
    if shaped.ndim == 3 and (shaped.shape[2] in CHANNELS or reading.bands is not None) and shaped.size:
        return shaped
    hint = ""
    if values.ndim == 4:
        hint = " Pass several images as a list, e.g. list(batch)."
    elif values.ndim == 3 and values.shape[0] in CHANNELS:
        hint = " Channels come last in an array: pass image.transpose(1, 2, 0)."
    raise _refused(values, hint)


def _eight_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W, C) uint8, or floats in [0, 1] → (H, W, C) uint8."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f":
        low, high = values.min(), values.max()  # NaN where any is
        if low >= -ROUNDING and high <= 1 + ROUNDING:
            scaled: NDArray[np.uint8] = np.rint(values.astype(np.float64) * 255).clip(0, 255).astype(np.uint8)
            return scaled
        hint = " Floats must be finite and in [0, 1]"
        hint += ": divide by 255, or pass image.astype(np.uint8)." if low >= 0 and 1 < high <= 255 else "."
    elif values.dtype.kind in "iu":
        in_bytes = values.min() >= 0 and values.max() <= 255
        hint = " Pass image.astype(np.uint8)." if in_bytes else " Divide 16-bit values by 257 and pass them as uint8."
    else:
        hint = " A mask is no image." if values.dtype.kind == "b" else ""
    raise _refused(values, hint)


def _refused(values: NDArray[Any], hint: str) -> DataError:
    span = f" with values {values.min():g}…{values.max():g}" if values.size and values.dtype.kind in "fiu" else ""
    return DataError(f"got {values.dtype} {values.shape}{span}.{hint} {TAKEN}.")
