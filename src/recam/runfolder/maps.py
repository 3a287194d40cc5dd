"""Class maps on disk: unsigned integers, compressed, without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recam.errors import DataError, StoreError
from recam.files import ARRAY_ERRORS, atomic_write
from recam.types import SeedMaps

_MAP_ERRORS: tuple[type[Exception], ...] = (*ARRAY_ERRORS, DataError)
MAX_SIDE = 65_535
"""Longest side (pixels) of an image that maps are made of; the formats of images end there or before."""


def save_seed(path: Path, seed: SeedMaps, bits: int = 8, background: bool = True) -> None:
    """Write class maps as unsigned integers of 8 or 16 bits, compressed, without pickle; rounding errs by at most 1/510
    or 1/131070.

    Args:
        background: False: each pixel belongs to the class of its largest map, which is stored as 1 at least, so that it
            exceeds the threshold 0.
    """
    top = (1 << bits) - 1
    kind = np.uint8 if bits == 8 else np.uint16
    stored = np.rint(seed.maps * top).astype(kind)
    if not background and len(stored):
        winner = seed.maps.argmax(0)[None]  # (1, h, w)
        np.put_along_axis(stored, winner, np.maximum(np.take_along_axis(stored, winner, 0), 1), 0)
    planes: dict[str, Any] = {
        "maps": stored,
        "class_indices": seed.class_indices.astype(np.int64),
        "size": np.asarray(seed.size, np.int64),
    }
    if seed.ignore is not None:
        planes["ignore"] = np.packbits(seed.ignore)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **planes)


def read_seed(path: Path, way_out: str = "Delete it; `recam run` makes it again.") -> SeedMaps:
    """Read what `save_seed` wrote, as float32 in [0, 1]. Raises `StoreError`, which ends in `way_out`, for a missing or
    damaged file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = file["maps"]
            if stored.dtype not in (
                np.uint8,
                np.uint16,
            ):  # others would be divided by the largest value of their own kind
                raise ValueError(
                    f"its maps are {stored.dtype}; they must be uint8 or uint16, 0 to 255 or 65535, as save_seed"
                    " writes them"
                )
            height, width = _check_planes(stored, file["class_indices"], file["size"])
            ignore = None
            if "ignore" in file:
                if len(file["ignore"]) != -(-height * width // 8):  # unpacking would fill up what is missing
                    raise ValueError(f"its ignored pixels are not those of an image of {height}×{width}")
                ignore = np.unpackbits(file["ignore"], count=height * width).astype(bool).reshape(height, width)
            return SeedMaps(
                stored.astype(np.float32) / np.iinfo(stored.dtype).max, file["class_indices"], (height, width), ignore
            )
    except _MAP_ERRORS as error:
        # NumPy's own words on a file that is no .npz advise unsafe ways to load it.
        why = "it is no .npz file" if "pickle" in str(error) else error
        raise StoreError(f"{path} cannot be read as class maps ({why}). {way_out}") from error


def _check_planes(maps: NDArray[Any], class_indices: NDArray[Any], size: NDArray[Any]) -> tuple[int, int]:
    """(H, W). Raises `ValueError` where arrays of a seed do not fit together."""
    if size.dtype.kind not in "iu" or size.shape != (2,) or size.min() < 1 or size.max() > MAX_SIDE:
        raise ValueError(f"its size is {size.tolist()!r:.60}, not height and width")
    if class_indices.dtype.kind not in "iu" or maps.ndim != 3 or class_indices.shape != maps.shape[:1]:
        raise ValueError(
            f"maps {maps.shape} and class indices {class_indices.shape} of kind {class_indices.dtype} do not fit"
            " together"
        )
    if len(set(class_indices.tolist())) < len(class_indices) or (
        len(class_indices) and not 0 <= class_indices.min() <= class_indices.max() < 254
    ):
        raise ValueError(f"its class indices are {class_indices.tolist()!r:.60}, not different ones from 0 to 253")
    height, width = (int(side) for side in size)
    if not (maps.shape[1] <= height and maps.shape[2] <= width) or (len(maps) and 0 in maps.shape):
        raise ValueError(f"maps {maps.shape} are larger than the image of {height}×{width}, or empty")
    return height, width
