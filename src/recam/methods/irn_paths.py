"""Pairs of pixels within a radius and the paths between them, for IRN (`recam.methods.irn`): geometry, computed once
per radius, and the largest edge on each path."""

from __future__ import annotations

import math
from functools import lru_cache, reduce
from typing import NamedTuple

import torch
from torch import Tensor


class Offset(NamedTuple):
    """From the first point of a pair to the second, in pixels of the map; y points down and is never negative."""

    y: int
    x: int


Piece = tuple[Offset, Offset]
"""A path already known, and where it starts within the path that it is a part of."""


def reach(radius: float) -> int:
    """⌈radius⌉ − 1, the largest offset along an axis."""
    return math.ceil(radius) - 1


def pair_offsets(radius: float) -> tuple[Offset, ...]:
    """The (P,) offsets from a pixel to those within the radius that follow it in reading order, the shorter first: each
    pair once."""
    r = reach(radius)
    half_plane = [Offset(y, x) for y in range(r + 1) for x in range(-r, r + 1) if y > 0 or x > 0]
    near = [offset for offset in half_plane if offset.y**2 + offset.x**2 < radius**2]
    return tuple(sorted(near, key=lambda offset: (offset.y**2 + offset.x**2, offset)))


def path(offset: Offset) -> frozenset[Offset]:
    """The grid points of the bounding box from (0, 0) to `offset` whose distance to the line between them is below 1,
    ends included."""
    length_squared = offset.y**2 + offset.x**2
    if not length_squared:
        return frozenset([offset])
    columns = range(min(offset.x, 0), max(offset.x, 0) + 1)
    box = (Offset(y, x) for y in range(offset.y + 1) for x in columns)
    return frozenset(point for point in box if (point.y * offset.x - point.x * offset.y) ** 2 < length_squared)


@lru_cache(maxsize=8)
def path_pieces(radius: float) -> dict[Offset, tuple[Piece, ...]]:
    """For each offset, shorter paths that together cover its path: on average two instead of fourteen points at radius
    10.

    A maximum does not change by what it reads twice, so the pieces may overlap. (0, 0) is the path of one point.
    Greedy: the piece that covers most of what is left comes first.
    """
    known = {Offset(0, 0): path(Offset(0, 0))}
    pieces: dict[Offset, tuple[Piece, ...]] = {}
    for offset in pair_offsets(radius):
        whole = path(offset)
        candidates: dict[Piece, frozenset[Offset]] = {}
        for shorter, points in known.items():
            for start in whole:
                if Offset(start.y + shorter.y, start.x + shorter.x) in whole:
                    shifted = frozenset(Offset(start.y + point.y, start.x + point.x) for point in points)
                    if shifted <= whole:
                        candidates[shorter, start] = shifted
        left, chosen = set(whole), []
        while left:
            best = max(candidates, key=lambda piece: len(candidates[piece] & left))
            chosen.append(best)
            left -= candidates[best]
        pieces[offset] = tuple(chosen)
        known[offset] = whole
    return pieces


def affinities(edges: Tensor, radius: float) -> dict[Offset, Tensor]:
    """a_ij = 1 − max of the edges on the path, for every pair of pixels that both lie on the map.

    Args:
        edges: (B, h, w) in [0, 1].
        radius: see `IrnSettings`.

    Returns:
        for each offset (y, x) that fits on the map (B, h − y, w − |x|) in [0, 1], by the upper left corner of the
        pair's bounding box.
    """
    return {offset: 1 - maximum for offset, maximum in path_maxima(edges, radius).items()}


def path_maxima(edges: Tensor, radius: float) -> dict[Offset, Tensor]:
    """The largest edge on the path of each pair, laid out as `affinities`."""
    height, width = edges.shape[1:]
    largest = {Offset(0, 0): edges}
    for offset, pieces in path_pieces(radius).items():
        rows, columns = height - offset.y, width - abs(offset.x)
        if rows <= 0 or columns <= 0:
            continue
        views = []
        for part, start in pieces:
            # The corner of the part's box, relative to the corner of the whole's.
            top, left = start.y, start.x + min(part.x, 0) - min(offset.x, 0)
            views.append(largest[part][:, top : top + rows, left : left + columns])
        largest[offset] = reduce(torch.maximum, views)
    del largest[Offset(0, 0)]
    return largest
