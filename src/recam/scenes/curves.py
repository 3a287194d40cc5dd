"""Smooth outlines from a few control points, as (n, 2) polygons with x to the right and y upwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import cos, sin

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
"""(n, 2) x and y, y upwards."""


@lru_cache(maxsize=32)
def _catmull_rom(steps: int) -> Points:
    """(steps, 4) weights of four neighbouring control points at `steps` places between the middle two."""
    t = np.arange(steps) / steps
    return 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1)


def _through(padded: Points, steps: int) -> Points:
    n = len(padded) - 3
    windows = np.concatenate([padded[:n], padded[1 : n + 1], padded[2 : n + 2], padded[3:]]).reshape(4, -1)
    points: Points = (_catmull_rom(steps) @ windows).reshape(steps, n, -1).swapaxes(0, 1).reshape(steps * n, -1)
    return points


def smooth(points: ArrayLike, steps: int = 4) -> Points:
    """A closed Catmull-Rom curve through `points`."""
    p = np.asarray(points, np.float64)
    return _through(np.concatenate([p[-1:], p, p[:2]]), steps)


def curve(points: ArrayLike, steps: int = 5) -> Points:
    """An open Catmull-Rom curve through `points` (k, d), from the first to the last."""
    p = np.asarray(points, np.float64)
    return np.concatenate([_through(np.concatenate([p[:1], p, p[-1:]]), steps), p[-1:]])


CAPS = 5
"""Points of each round end of a limb; `limb` gives one side, an end, the other side backwards, the other end."""

_CAP = np.array([0.5 + 0.87j, 0.87 + 0.5j, 1, 0.87 - 0.5j, 0.5 - 0.87j])


def limb(points: ArrayLike, steps: int = 4) -> Points:
    """The outline of a tapering limb with round ends, from (k, 3) rows of x, y and half-width along its middle."""
    given = np.asarray(points, np.float64)
    middle = curve(given, steps) if len(given) > 2 else given
    z = middle[:, 0] + 1j * middle[:, 1]
    along = np.empty_like(z)
    along[1:-1] = z[2:] - z[:-2]
    along[0], along[-1] = z[1] - z[0], z[-1] - z[-2]
    along *= middle[:, 2] / (np.abs(along) + 1e-9)
    side = along * 1j
    outline: NDArray[np.complex128] = np.concatenate(
        [z + side, z[-1] + _CAP * along[-1], (z - side)[::-1], z[0] - _CAP * along[0]]
    )
    return outline.view(np.float64).reshape(-1, 2)


@lru_cache(maxsize=16)
def _circle(n: int) -> Points:
    angles = np.arange(n) * (2 * np.pi / n)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0, n: int = 24) -> Points:
    """An ellipse around (x, y), turned by `turn` radians against the clock."""
    points = _circle(n) * (rx, ry)
    if turn:
        c, s = cos(turn), sin(turn)
        points = points @ np.array([[c, s], [-s, c]])
    return np.add(points, (x, y))


def scalloped(outline: Points, bumps: int, height: float, phase: float = 0.0) -> Points:
    """An outline swollen into `bumps` round lobes, as fleece, leaves and clouds have; `height` in the outline's
    units."""
    resampled = _evenly(outline, bumps * 6)
    centre = resampled.mean(0)
    out = resampled - centre
    out /= np.sqrt((out**2).sum(1, keepdims=True)) + 1e-9
    lobes: NDArray[np.float64] = np.abs(np.sin(np.arange(len(resampled)) * (np.pi / 6) + phase)) ** 0.7
    swollen: Points = resampled + out * (height * lobes)[:, None]
    return swollen


def lobed(x: float, y: float, rx: float, ry: float, bumps: int, swell: float) -> Points:
    """An ellipse with `bumps` round lobes that rise by `swell` of its radius: a crown of leaves."""
    return np.add(_lobes(bumps, swell) * (rx, ry), (x, y))


@lru_cache(maxsize=64)
def _lobes(bumps: int, swell: float) -> Points:
    rise: NDArray[np.float64] = 1 + swell * np.abs(np.sin(np.arange(bumps * 6) * (np.pi / 6))) ** 0.7
    return _circle(bumps * 6) * rise[:, None]


def _evenly(outline: Points, n: int) -> Points:
    """`n` points at equal distance along a closed outline."""
    closed = np.concatenate([outline, outline[:1]])
    walked = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.arange(n) * (walked[-1] / n)
    return np.stack([np.interp(at, walked, closed[:, 0]), np.interp(at, walked, closed[:, 1])], 1)


def box(x0: float, y0: float, x1: float, y1: float) -> Points:
    """An upright rectangle."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def rounded(x0: float, y0: float, x1: float, y1: float, r: float) -> Points:
    """An upright rectangle with corners rounded by the radius `r`."""
    quarter = _circle(24)[:7] * r
    turned = [quarter, quarter[::-1] * (-1, 1), -quarter, quarter[::-1] * (1, -1)]
    corners = [(x1 - r, y1 - r), (x0 + r, y1 - r), (x0 + r, y0 + r), (x1 - r, y0 + r)]
    return np.concatenate([q + c for q, c in zip(turned, corners, strict=True)])


@dataclass(frozen=True)
class Frame:
    """A local system of coordinates: origin, size of its unit, and turn in radians against the clock."""

    x: float
    y: float
    scale: float
    turn: float = 0.0

    def __call__(self, points: ArrayLike | Sequence[Sequence[float]]) -> Points:
        """Local (n, 2) points, or (n, 3) points with a half-width, in the outer system."""
        p = np.array(points, np.float64)
        c, s = cos(self.turn) * self.scale, sin(self.turn) * self.scale
        x, y = p[:, 0] * c - p[:, 1] * s + self.x, p[:, 0] * s + p[:, 1] * c + self.y
        p[:, 0], p[:, 1] = x, y
        p[:, 2:] *= self.scale
        return p
