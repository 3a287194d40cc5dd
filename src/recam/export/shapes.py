"""One class of a mask as other programs store shapes: run lengths, and polygons along the edges of pixels.

Everything here is exact: what is written fills the same pixels again. A mask knows no single objects, so a shape is all of one class.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Binary = NDArray[np.bool_]
"""(H, W), the pixels of one class."""
Box = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""
Loop = NDArray[np.int64]
"""(n, 2) corners x, y on the grid between pixels, the last joined to the first; along an outer border clockwise as seen."""

_RUN_BITS = (3, 4, 8, 16)
_LEFT_OF = {(1, 0): (0, -1), (0, 1): (1, 0), (-1, 0): (0, 1), (0, -1): (-1, 0)}


def box_of(binary: Binary) -> Box:
    """The smallest box around the pixels, of which there must be some."""
    rows, columns = np.flatnonzero(binary.any(1)), np.flatnonzero(binary.any(0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


def run_lengths(flat: Binary) -> NDArray[np.int64]:
    """Lengths of the runs of False and True in turn, beginning with False: of (n,) values, 0 first where the first is True."""
    changes = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], changes, [len(flat)]]))
    return np.concatenate([[0], lengths]) if len(flat) and flat[0] else lengths


def brush_runs(binary: Binary) -> list[int]:
    """Bytes of Label Studio's brush format (that of thi.ng/rle-pack): the mask as RGBA, row by row, 255 where a pixel is in.

    A head: number of values in 32 bits, bits of a value − 1 in 5, four sizes of a run's length − 1 in 4 bits each. Then for each run a
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


def polygons(binary: Binary) -> list[Loop]:
    """Polygons without holes that together cover the pixels, and no other.

    A region with a hole is cut along a row of pixels that runs through the hole, again and again, until none has one: formats of polygons
    have no holes. Regions that touch at a corner only are separate.
    """
    loops = list(_loops(binary))
    holes = [loop for loop in loops if _area(loop) < 0]
    if not holes:
        return loops
    tops = sorted(int(hole[:, 1].min() + hole[:, 1].max()) // 2 for hole in holes)
    cut = tops[len(tops) // 2]
    upper, lower = polygons(binary[:cut]), polygons(binary[cut:])
    return upper + [np.add(loop, (0, cut)) for loop in lower]


def _loops(binary: Binary) -> Iterator[Loop]:
    """Borders of all regions (clockwise) and of their holes (counter-clockwise)."""
    padded = np.pad(binary, 1)
    inside = padded[1:-1, 1:-1]
    # An edge of a pixel lies on the border where the pixel beyond is not in; it runs with the inside at its right.
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),  # above: rightward
        (padded[1:-1, 2:], (1, 0), (0, 1)),  # right: downward
        (padded[2:, 1:-1], (1, 1), (-1, 0)),  # below: leftward
        (padded[1:-1, :-2], (0, 1), (0, -1)),  # left: upward
    )
    leaving: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for beyond, (x, y), direction in sides:
        rows, columns = np.nonzero(inside & ~beyond)
        for start in zip((columns + x).tolist(), (rows + y).tolist(), strict=True):
            leaving.setdefault(start, []).append(direction)
    while leaving:
        start = place = next(iter(leaving))
        direction = leaving[start][0]
        corners: list[tuple[int, int]] = []
        while True:
            ways = leaving[place]
            # Where two regions touch at a corner, turning right stays with the same one.
            turned = next((way for way in ways if _LEFT_OF[way] == direction), ways[0]) if len(ways) > 1 and corners else ways[0]
            ways.remove(turned)
            if not ways:
                del leaving[place]
            if not corners or turned != direction:
                corners.append(place)
            direction = turned
            place = place[0] + turned[0], place[1] + turned[1]
            if place == start:
                break
        yield np.array(corners, np.int64)


def _area(loop: Loop) -> int:
    """Twice the area inside; negative along a hole."""
    following = np.roll(loop, -1, 0)
    return int((loop[:, 0] * following[:, 1] - following[:, 0] * loop[:, 1]).sum())
