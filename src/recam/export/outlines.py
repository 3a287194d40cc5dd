"""Outlines of the regions of a mask as polygons, exact or simplified, on shapely's GEOS.

The edges of pixels between different values are joined to lines that end where more than two of them meet, so that a
border is one line
for the regions on both its sides. These lines are simplified, all together, by Douglas and Peucker's rule with a check
that none crosses
another (GEOS's topology-preserving simplifier), and polygons are what they enclose: neither gaps nor overlaps open
between regions.
GEOS's own simplifier of coverages is not used: it goes by areas of triangles, which bound no distance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from recam.labels import BACKGROUND
from recam.types import Mask

Loop = NDArray[np.int64]
"""(n, 2) corners x, y on the grid between pixels, clockwise as displayed, from the topmost left one on, the last joined
to the first."""
Edges = NDArray[np.int64]
"""(n, 2, 2) edges of pixels: start and end, x and y."""
Shapes = NDArray[np.object_]
"""(n,) lines or polygons of shapely; polygons go clockwise as displayed, so that their pixels lie at the right."""
Sides = frozenset[tuple[int, bool]]
"""The lines that the outer ring of a polygon consists of, by number, each with whether it is followed in its own
direction."""

KEPT = 0.75
"""Least part of its area that simplifying may leave of a region; the border of one that would lose more stays exact."""


def outlines(mask: Mask, tolerance: float = 0.0) -> dict[int, list[Loop]]:
    """Polygons without holes of the regions of a mask (H, W), by value; 0 has none.

    Regions that touch at a corner only are separate. A region with a hole is cut along a row of pixels that runs
    through the hole, again and again, until none has one: formats of polygons have no holes.

    Args:
        tolerance: how far (pixels) an outline may move; corners are left out, none is new. 0: polygons fill just the
            pixels of their value.
    """
    edges, frame = _inner_edges(mask), _frame_edges(mask)
    while True:
        lines = _join(edges)
        shapes = _enclosed(lines, frame)
        values = _values_right_of(_first_edges(shapely.get_exterior_ring(shapes)), mask)
        cuts = [_cut(shape) for shape in shapes[(values != BACKGROUND) & (shapely.get_num_interior_rings(shapes) > 0)]]
        if not cuts:
            break
        edges = np.concatenate([edges, *cuts])
    if tolerance:
        shapes = _simplify(lines, frame, shapes, tolerance)
    found: dict[int, list[Loop]] = {int(value): [] for value in np.unique(values) if value != BACKGROUND}
    for value, shape in zip(values.tolist(), shapes, strict=True):
        if value != BACKGROUND:
            found[value].append(_corners(shape))
    return {value: sorted(loops, key=lambda loop: (loop[0, 1], loop[0, 0])) for value, loops in found.items()}


def area_of(loop: Loop) -> float:
    """Pixels inside a polygon."""
    following = np.roll(loop, -1, 0)
    return float((loop[:, 0] * following[:, 1] - following[:, 0] * loop[:, 1]).sum()) / 2


def _simplify(lines: Shapes, frame: Edges, shapes: Shapes, tolerance: float) -> Shapes:
    """The polygons with simpler lines, in the same order.

    GEOS checks all lines for each that it simplifies: seconds for the 6 500 of a mask of squares at random, far less
    for one of things.
    """
    stiff = np.zeros(len(lines), bool)
    borders = _sides(shapes, lines, frame)
    while True:
        # What stays is passed on in stretches of two points, which cannot become simpler and which no other line may
        # cross. Those of the frame are single edges: no line fits onto one, so that regions along it do not vanish.
        stretches = np.concatenate([frame, *(_pairs(shapely.simplify(line, 0.0)) for line in lines[stiff])])
        together = shapely.multilinestrings(np.concatenate([lines[~stiff], shapely.linestrings(stretches)]))
        moved = lines.copy()
        moved[~stiff] = shapely.get_parts(shapely.simplify(together, tolerance, preserve_topology=True))[
            : (~stiff).sum()
        ]
        made = _enclosed(moved, frame)
        now = dict(zip(_sides(made, moved, frame), made, strict=True))
        damaged = {
            line
            for sides, shape in zip(borders, shapes, strict=True)
            if sides not in now or now[sides].area < KEPT * shape.area
            for line, _ in sides
            if line < len(lines) and not stiff[line]
        }
        if not damaged:
            return np.array([now[sides] for sides in borders])
        stiff[list(damaged)] = True


def _inner_edges(mask: Mask) -> Edges:
    """Edges between pixels of different values."""
    rows, columns = np.nonzero(mask[:, 1:] != mask[:, :-1])
    upright = _edges(columns + 1, rows, 0, 1)
    rows, columns = np.nonzero(mask[1:] != mask[:-1])
    return np.concatenate([upright, _edges(columns, rows + 1, 1, 0)])


def _frame_edges(mask: Mask) -> Edges:
    """Edges of the image itself where a region lies along it."""
    height, width = mask.shape
    x, y = np.arange(width), np.arange(height)
    sides = (
        _edges(x, np.zeros_like(x), 1, 0)[mask[0] != BACKGROUND],
        _edges(x, np.full_like(x, height), 1, 0)[mask[-1] != BACKGROUND],
        _edges(np.zeros_like(y), y, 0, 1)[mask[:, 0] != BACKGROUND],
        _edges(np.full_like(y, width), y, 0, 1)[mask[:, -1] != BACKGROUND],
    )
    return np.concatenate(sides)


def _edges(x: NDArray[Any], y: NDArray[Any], right: int, down: int) -> Edges:
    start = np.stack([x, y], -1)
    return np.stack([start, start + np.array((right, down))], 1)


def _join(edges: Edges) -> Shapes:
    """Lines of edges, from one place where more or less than two of them meet to the next."""
    joined: Shapes = shapely.get_parts(shapely.line_merge(shapely.multilinestrings(shapely.linestrings(edges))))
    return joined


def _enclosed(lines: Shapes, frame: Edges) -> Shapes:
    """The polygons that lines and the image's frame make, regions and background within them."""
    shapes = shapely.get_parts(shapely.polygonize(np.concatenate([lines, shapely.linestrings(frame)])))
    # With y downwards, what is counter-clockwise to GEOS is clockwise as displayed.
    oriented: Shapes = shapely.orient_polygons(shapes, exterior_cw=False)
    return oriented


def _values_right_of(edges: NDArray[np.float64], mask: Mask) -> NDArray[np.uint8]:
    """(n,) values of the pixels at the right of edges as one follows them."""
    middle, along = edges.mean(1), edges[:, 1] - edges[:, 0]
    pixels = np.floor(middle + along[:, ::-1] * (-1, 1) / 2).astype(np.int64)
    values: NDArray[np.uint8] = mask[pixels[:, 1], pixels[:, 0]]
    return values


def _first_edges(rings: Shapes) -> NDArray[np.float64]:
    """(n, 2, 2) first and second place of each ring."""
    return np.stack([shapely.get_coordinates(shapely.get_point(rings, place)) for place in (0, 1)], 1)


def _sides(shapes: Shapes, lines: Shapes, frame: Edges) -> list[Sides]:
    """What the outer ring of each polygon consists of; the frame's edges are numbered after the lines."""
    place_of: dict[tuple[float, ...], tuple[int, bool]] = {}
    for number, line in enumerate([*lines, *shapely.linestrings(frame)]):
        for (x, y), (next_x, next_y) in _pairs(line).tolist():
            place_of[x, y, next_x, next_y] = number, True
            place_of[next_x, next_y, x, y] = number, False
    rings = shapely.get_exterior_ring(shapes)
    return [frozenset(place_of[*start, *end] for start, end in _pairs(ring).tolist()) for ring in rings]


def _pairs(line: shapely.LineString) -> NDArray[np.float64]:
    """(n, 2, 2) each place of a line with the next."""
    places = shapely.get_coordinates(line)
    return np.stack([places[:-1], places[1:]], 1)


def _cut(shape: shapely.Polygon) -> Edges:
    """The row of edges inside a polygon that runs through the middle one of its holes."""
    middles = sorted(int(hole.bounds[1] + hole.bounds[3]) // 2 for hole in shape.interiors)
    columns = np.arange(int(shape.bounds[0]), int(shape.bounds[2]))
    row = _edges(columns, np.full_like(columns, middles[len(middles) // 2]), 1, 0)
    shapely.prepare(shape)
    inside: Edges = row[shapely.contains(shape, shapely.linestrings(row))]  # an edge on the hole's own border is not
    return inside


def _corners(shape: shapely.Polygon) -> Loop:
    """The outer ring without points on straight edges."""
    ring = np.rint(shapely.get_coordinates(shape.exterior)[:-1]).astype(np.int64)
    before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
    corners = ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    return np.roll(corners, -int(np.lexsort((corners[:, 0], corners[:, 1]))[0]), 0)
