"""Image files that Pillow does not write, drawn by hand: PNGs of 16-bit colours, and TIFFs with heads that lie."""

import struct
import zlib
from pathlib import Path

import numpy as np

WIDTH, HEIGHT, OFFSETS, COUNTS = 256, 257, 273, 279
"""Tags of a TIFF."""


def write_deep_png(path: Path, values: np.ndarray) -> Path:
    """A PNG of 16 bits from (H, W, n) values: 2 bands are grey and transparency, 3 RGB, 4 with transparency."""
    colours = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)  # no filter in any row
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colours, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def change_tags(path: Path, **changed: int) -> None:
    """Other numbers in the first directory of a little-endian TIFF, by the tag's name here, in lower case."""
    content = bytearray(path.read_bytes())
    (place,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[place : place + 2])
    wanted = {globals()[name.upper()]: value for name, value in changed.items()}
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        (tag,) = struct.unpack("<H", content[entry : entry + 2])
        if tag in wanted:
            content[entry : entry + 12] = struct.pack("<HHII", tag, 4, 1, wanted[tag])
    path.write_bytes(bytes(content))
