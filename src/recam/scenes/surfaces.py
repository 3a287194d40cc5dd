"""Grey photos of manufactured surfaces with defects, as a camera over a belt takes them: no objects, no context,
defects from a third of a percent of the picture to a quarter, and a third of the pictures without any.

Brushed metal, cast metal and ceramic tiles differ in grain and light; joints of tiles and glare occur with defects and
without, and are none. All lengths are in parts of the picture's side.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as Pictures

from recam.labels import mask_value
from recam.types import Image, Mask

VERSION = 1
DEFECTS = ("scratch", "crack", "hole", "stain", "wear")
"""The five classes, in the order of their mask values."""
STYLES = ("brushed", "cast", "tile")
SOUND, SECOND = 0.35, 0.15
"""Shares of pictures without a defect, and of the others with a second kind."""
Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Surface:
    """What a picture shows.

    Attributes:
        style: of `STYLES`.
        labels: kinds of its defects, ascending.
    """

    style: str
    labels: tuple[int, ...]


def plan_surface(seed: int, split: str, index: int) -> Surface:
    """What a picture shows, without drawing it."""
    rng = _generator(seed, split, index, 0)
    style = STYLES[rng.integers(len(STYLES))]
    if rng.random() < SOUND:
        return Surface(style, ())
    kinds = rng.permutation(len(DEFECTS))[: 1 + (rng.random() < SECOND)]
    return Surface(style, tuple(sorted(int(kind) for kind in kinds)))


def draw_surface(seed: int, split: str, index: int, size: int) -> tuple[Image, Mask]:
    """Picture (size, size, 3) uint8, grey, and mask (size, size) uint8: where a defect changes the surface."""
    plan, rng = plan_surface(seed, split, index), _generator(seed, split, index, 1)
    light = _paint_surface(plan.style, size, rng)
    mask = np.zeros((size, size), np.uint8)
    for kind in sorted(plan.labels, key=lambda kind: -kind):  # large ones first, so that small ones stay visible
        cover = _PAINTERS[DEFECTS[kind]](light, size, rng)  # (size, size) in [0, 1]
        mask[cover >= 0.5] = mask_value(kind)
    light += rng.normal(0, 2.0, light.shape).astype(np.float32)  # the camera
    grey = np.rint(light).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), mask


def _generator(seed: int, split: str, index: int, part: int) -> Generator:
    return np.random.default_rng([seed, zlib.crc32(split.encode()), index, part, 31])


def _smooth(rng: Generator, size: int, across: float, down: float) -> Plane:
    """(size, size) noise of mean 0 and deviation 1 whose spots are so large, in parts of the side."""
    cells = [max(2, round(1 / max(length, 1 / size))) for length in (down, across)]
    grid = rng.standard_normal((cells[0] + 2, cells[1] + 2)).astype(np.float32)
    wide = Pictures.fromarray(grid).resize((size, size), Pictures.Resampling.BICUBIC)
    noise: Plane = np.asarray(wide, np.float32)
    noise = (noise - noise.mean()) / max(float(noise.std()), 1e-6)
    return noise


def _paint_surface(style: str, size: int, rng: Generator) -> Plane:
    """The sound surface: grey values of 0 to 255."""
    light = np.full((size, size), rng.uniform(95, 165), np.float32)
    light += rng.uniform(6, 16) * _smooth(rng, size, 0.6, 0.6)  # uneven light
    if style == "brushed":
        light += rng.uniform(6, 11) * _smooth(rng, size, 0.4, 1 / size) + 4 * _smooth(rng, size, 0.08, 1 / size)
    elif style == "cast":
        light += rng.uniform(5, 9) * _smooth(rng, size, 0.012, 0.012) + 4 * _smooth(rng, size, 0.05, 0.05)
    else:
        light += 3 * _smooth(rng, size, 0.02, 0.02)
        for axis in (0, 1):  # joints between tiles
            at = rng.uniform(0.08, 0.92) * size
            joint = np.exp(-(((np.arange(size) - at) / (0.012 * size)) ** 2)).astype(np.float32)
            light -= 45 * (joint[:, None] if axis == 0 else joint[None])
    if rng.random() < 0.4:  # glare
        y, x = _positions(size)
        where, width = rng.uniform(0, 1, 2), rng.uniform(0.1, 0.25)
        light += 35 * np.exp(-((y - where[0]) ** 2 + (x - where[1]) ** 2) / width**2)
    return light


def _positions(size: int) -> tuple[Plane, Plane]:
    """Rows (size, 1) and columns (1, size) in parts of the side."""
    steps: Plane = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return steps[:, None], steps[None]


def _near_line(points: NDArray[np.float64], size: int) -> Plane:
    """(size, size): distance to a line through points (P, 2), in parts of the side."""
    y, x = _positions(size)
    nearest = np.full((size, size), np.inf, np.float32)
    for (y0, x0), (y1, x1) in pairwise(points):
        dy, dx = y1 - y0, x1 - x0
        along = ((y - y0) * dy + (x - x0) * dx) / max(dy * dy + dx * dx, 1e-9)
        along = along.clip(0, 1)
        nearest = np.minimum(nearest, np.hypot(y - y0 - along * dy, x - x0 - along * dx))
    return nearest


def _within(distance: Plane, radius: float, size: int) -> Plane:
    """1 within a radius, 0 outside, a pixel wide in between."""
    cover: Plane = ((radius - distance) * size + 0.5).clip(0, 1).astype(np.float32)
    return cover


def _scratch(light: Plane, size: int, rng: Generator) -> Plane:
    """A bright line with a dark side, nearly straight."""
    angle, length = rng.uniform(0, np.pi), rng.uniform(0.3, 0.7)
    middle, step = rng.uniform(0.25, 0.75, 2), np.array([np.sin(angle), np.cos(angle)]) * length / 4
    points = np.array([middle + step * t for t in (-2, -1, 0, 1, 2)]) + rng.normal(0, 0.008, (5, 2))
    width = max(rng.uniform(0.005, 0.009), 0.8 / size)
    cover = _within(_near_line(points, size), width, size)
    side = _within(_near_line(points + 1.4 * width, size), width, size)
    light += rng.uniform(40, 70) * cover - 30 * side * (1 - cover)
    return cover


def _crack(light: Plane, size: int, rng: Generator) -> Plane:
    """A dark line that wanders, with branches."""
    heading, at, points = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.7, 2), []
    for _ in range(14):
        points.append(at)
        heading += rng.normal(0, 0.55)
        at = (at + 0.035 * np.array([np.sin(heading), np.cos(heading)])).clip(0.02, 0.98)
    lines = [np.array(points)]
    for start in rng.integers(3, 11, 2):
        turned = heading + rng.choice([-1, 1]) * rng.uniform(0.7, 1.3)
        lines.append(points[start] + np.outer(np.arange(4) * 0.03, [np.sin(turned), np.cos(turned)]))
    width = max(rng.uniform(0.003, 0.005), 0.7 / size)
    cover: Plane = np.max([_within(_near_line(line, size), width, size) for line in lines], axis=0)
    light -= rng.uniform(50, 75) * cover
    return cover


def _hole(light: Plane, size: int, rng: Generator) -> Plane:
    """One to four dark pits with a bright edge on one side."""
    y, x = _positions(size)
    cover = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 5)):
        middle, radius = rng.uniform(0.1, 0.9, 2), rng.uniform(0.015, 0.032)
        longer = rng.uniform(0.75, 1.3)
        distance = np.hypot((y - middle[0]) * longer, (x - middle[1]) / longer)
        pit = _within(distance, radius, size)
        edge = _within(np.hypot(y - middle[0] - 0.4 * radius, x - middle[1] - 0.4 * radius), 1.15 * radius, size)
        light += 25 * edge * (1 - pit) - rng.uniform(55, 80) * pit
        cover = np.maximum(cover, pit)
    return cover


def _stain(light: Plane, size: int, rng: Generator) -> Plane:
    """A blot with an uneven edge, darker towards it."""
    y, x = _positions(size)
    middle, radius = rng.uniform(0.25, 0.75, 2), rng.uniform(0.1, 0.2)
    distance = np.hypot(y - middle[0], x - middle[1]) - 0.22 * radius * _smooth(rng, size, 0.1, 0.1)
    cover = _within(distance, radius, size)
    light *= 1 - cover * (rng.uniform(0.16, 0.26) + 0.12 * (distance / radius).clip(0, 1) ** 4)
    return cover


def _wear(light: Plane, size: int, rng: Generator) -> Plane:
    """A rough, bright area that comes in from an edge."""
    y, x = _positions(size)
    depth = [y, 1 - y, x, 1 - x][rng.integers(4)] + np.zeros((size, size), np.float32)
    reach = rng.uniform(0.12, 0.3)
    cover = _within(depth - 0.3 * reach * _smooth(rng, size, 0.12, 0.12), reach, size)
    rough = rng.uniform(14, 22) * _smooth(rng, size, 0.016, 0.016) + 12 * _smooth(rng, size, 0.05, 0.05)
    light += cover * (rough + rng.uniform(12, 26))
    return cover


_PAINTERS: dict[str, Callable[[Plane, int, Generator], Plane]] = {
    "scratch": _scratch, "crack": _crack, "hole": _hole, "stain": _stain, "wear": _wear
}  # fmt: skip
"""Each paints a defect into the surface and returns how much of each pixel it covers, in [0, 1]."""
