"""Class maps on disk: unsigned integers, compressed, without pickle."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from recam.errors import StoreError
from recam.files import atomic_write
from recam.types import SeedMaps


def save_seed(path: Path, seed: SeedMaps, bits: int = 8) -> None:
    """Write class maps as unsigned integers of 8 or 16 bits, compressed, without pickle; rounding errs by at most 1/510 or 1/131070."""
    top = (1 << bits) - 1
    kind = np.uint8 if bits == 8 else np.uint16
    planes: dict[str, Any] = {
        "maps": np.rint(seed.maps * top).astype(kind),
        "class_indices": seed.class_indices.astype(np.int64),
        "size": np.asarray(seed.size, np.int64),
    }
    if seed.ignore is not None:
        planes["ignore"] = np.packbits(seed.ignore)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **planes)


def read_seed(path: Path, way_out: str = "Delete it; `recam run` makes it again.") -> SeedMaps:
    """Read what `save_seed` wrote, as float32 in [0, 1]. Raises `StoreError`, which ends in `way_out`, for a missing or damaged file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = file["maps"]
            if stored.dtype not in (np.uint8, np.uint16):  # others would be divided by the largest value of their own kind
                raise ValueError(f"its maps are {stored.dtype}; they must be uint8 or uint16, 0 to 255 or 65535, as save_seed writes them")
            height, width = file["size"].tolist()
            ignore = None
            if "ignore" in file:
                ignore = np.unpackbits(file["ignore"], count=height * width).astype(bool).reshape(height, width)
            return SeedMaps(stored.astype(np.float32) / np.iinfo(stored.dtype).max, file["class_indices"], (height, width), ignore)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        # NumPy's own words on a file that is no .npz advise unsafe ways to load it.
        why = "it is no .npz file" if "pickle" in str(error) else error
        raise StoreError(f"{path} cannot be read as class maps ({why}). {way_out}") from error
