"""The pixels of one class of a mask as other programs store them: boxes and run lengths, which are exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Binary = NDArray[np.bool_]
"""(H, W), the pixels of one class."""
Box = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""

_RUN_BITS = (3, 4, 8, 16)


def box_of(binary: Binary) -> Box:
    """The smallest box around the pixels, of which there must be some."""
    rows, columns = np.flatnonzero(binary.any(1)), np.flatnonzero(binary.any(0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


def run_lengths(flat: Binary) -> NDArray[np.int64]:
    """Lengths of the runs of False and True in turn, beginning with False: of (n,) values, 0 first where the first is
    True."""
    changes = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], changes, [len(flat)]]))
    return np.concatenate([[0], lengths]) if len(flat) and flat[0] else lengths


def brush_runs(binary: Binary) -> list[int]:
    """Bytes of Label Studio's brush format (that of thi.ng/rle-pack): the mask as RGBA, row by row, 255 where a pixel
    is in.

    A head: number of values in 32 bits, bits of a value − 1 in 5, four sizes of a run's length − 1 in 4 bits each. Then
    for each run a
    bit 1, 2 bits which size, the length − 1, and the value.
    """
    bits = [f"{4 * binary.size:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _RUN_BITS)]
    value = False
    for length in (4 * run_lengths(binary.ravel())).tolist():  # four channels a pixel
        while length:
            run = min(length, 1 << _RUN_BITS[-1])
            which = next(index for index, size in enumerate(_RUN_BITS) if run <= 1 << size)
            bits.append(f"1{which:02b}{run - 1:0{_RUN_BITS[which]}b}{255 * value:08b}")
            length -= run
        value = not value
    packed = np.frombuffer("".join(bits).encode(), np.uint8) - ord("0")
    return np.packbits(packed).tolist()
