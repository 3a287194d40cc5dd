"""Unlabelled things: trees, bushes, rocks, fences, clouds. They stand on y = 0; the unit is free."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from recam.scenes.curves import ellipse, lobed
from recam.scenes.figure import Colour, Figure, mix, shade

LEAVES: dict[str, tuple[Colour, ...]] = {
    "grass": ((86, 132, 70), (112, 148, 76), (70, 116, 84)),
    "dry": ((128, 136, 74), (150, 142, 82), (104, 120, 70)),
    "autumn": ((196, 122, 58), (208, 158, 68), (164, 84, 58)),
    "snow": ((82, 112, 96), (96, 124, 112), (180, 198, 204)),
    "sand": ((120, 142, 84), (98, 128, 84), (146, 146, 92)),
}
_BARK: Colour = (110, 82, 62)


def tree(rng: Generator, ground: str) -> Figure:
    """A round tree, a fir or a poplar."""
    figure = Figure()
    leaf = LEAVES[ground][int(rng.integers(3))]
    style = rng.random()
    if style < 0.4 or (ground == "snow" and style < 0.8):
        figure.limb([(0, 0, 0.05), (0, 0.3, 0.04)], _BARK, 0.7)
        for k in range(4):
            y, w = 0.16 + 0.2 * k, 0.3 - 0.06 * k
            figure.blob(
                [
                    (-w, y),
                    (-w * 0.5, y + 0.12),
                    (0, y + 0.34),
                    (w * 0.5, y + 0.12),
                    (w, y),
                    (w * 0.5, y - 0.02),
                    (0, y + 0.02),
                    (-w * 0.5, y - 0.02),
                ],
                shade(leaf, 0.86 + 0.08 * k),
                0.7,
                0.12,
            )
        return figure
    lean = float(rng.uniform(-0.04, 0.04))
    figure.limb([(0, 0, 0.06), (lean, 0.25, 0.042), (lean, 0.55, 0.03)], _BARK, 0.8)
    figure.limb([(lean, 0.32, 0.022), (lean + 0.1, 0.48, 0.016)], _BARK, 0.5)
    if style > 0.85:
        figure.add(lobed(0, 0.58, 0.14, 0.4, 13, 0.16), leaf, 0.9, 0.1)
        return figure
    for dx, y, r, light in (
        (-0.17, 0.56, 0.17, 0.86),
        (0.18, 0.56, 0.17, 0.9),
        (0.0, 0.72, 0.23, 1.0),
        (0.03, 0.54, 0.18, 0.97),
    ):
        figure.add(lobed(dx + lean, y, r, r * 0.9, 9, 0.17), shade(leaf, light), 0.8, 0.1)
    return figure


def bush(rng: Generator, ground: str) -> Figure:
    """Three leafy lobes, sometimes with berries."""
    figure = Figure()
    leaf = LEAVES[ground][int(rng.integers(3))]
    for dx, r, light in ((-0.32, 0.24, 0.85), (0.34, 0.22, 0.9), (0.0, 0.34, 1.0)):
        figure.add(lobed(dx, r * 0.78, r, r * 0.78, 9, 0.14), shade(leaf, light), 0.8, 0.12)
    if rng.random() < 0.4:
        berry: Colour = ((196, 66, 70), (240, 230, 220), (226, 140, 160))[int(rng.integers(3))]
        for x, y in zip(rng.uniform(-0.35, 0.35, 8), rng.uniform(0.1, 0.45, 8), strict=True):
            figure.oval(float(x), float(y), 0.026, 0.026, berry)
    return figure


def rock(rng: Generator, ground: str) -> Figure:
    """A boulder, sometimes with a small one beside it."""
    figure = Figure()
    stone = mix((150, 146, 142), (150, 122, 98), float(rng.random()))
    if rng.random() < 0.5:
        figure.blob([(0.3, 0.0), (0.34, 0.2), (0.52, 0.26), (0.66, 0.12), (0.68, 0.0)], shade(stone, 0.9), 0.8, 0.25)
    tops = [
        (x, float(y))
        for x, y in zip(
            (-0.42, -0.22, 0.06, 0.3, 0.44), rng.uniform(0.85, 1.15, 5) * (0.3, 0.52, 0.56, 0.42, 0.2), strict=True
        )
    ]
    figure.blob([(-0.5, 0.0), *tops, (0.48, 0.0)], stone, 1.1, 0.25)
    figure.blob([tops[1], tops[2], (0.02, 0.34), (-0.18, 0.32)], shade(stone, 1.12))
    figure.limb([(0.1, 0.34, 0.008), (0.16, 0.2, 0.01), (0.12, 0.1, 0.006)], shade(stone, 0.72))
    if ground == "snow":
        figure.blob([(-0.4, 0.34), tops[1], tops[2], (0.3, 0.42), (0.1, 0.45), (-0.15, 0.42)], (246, 248, 252), 0.3)
    return figure


def fence(rng: Generator, ground: str) -> Figure:
    """A run of wooden posts with two rails."""
    figure = Figure()
    wood: Colour = ((166, 128, 90), (140, 112, 90), (226, 218, 204))[int(rng.integers(3))]
    n = int(rng.integers(4, 7))
    for y in (0.3, 0.66):
        tilt = float(rng.uniform(-0.03, 0.03))
        figure.limb(
            [(-0.15, y - tilt, 0.055), (n * 0.4, y, 0.055), (n * 0.8 - 0.65, y + tilt, 0.055)],
            shade(wood, 0.88),
            0.6,
            0.3,
        )
    for k in range(n):
        x = 0.8 * k
        tall = float(rng.uniform(0.88, 1.0))
        figure.add(
            np.array([(x - 0.07, 0), (x - 0.07, tall - 0.07), (x, tall), (x + 0.07, tall - 0.07), (x + 0.07, 0)]),
            wood,
            0.6,
            0.3,
        )
    return figure


def cloud(rng: Generator) -> Figure:
    """A heap of white."""
    figure = Figure()
    n = int(rng.integers(3, 6))
    for k in range(n):
        x = k - (n - 1) / 2
        r = (0.62 - 0.09 * abs(x)) * float(rng.uniform(0.8, 1.15))
        figure.add(ellipse(x * 0.62, r * 0.62, r * 1.05, r * 0.72), (252, 252, 250), 0.22)
    figure.oval(0, 0.12, n * 0.4, 0.17, (250, 250, 250))
    return figure


PROPS = {"tree": tree, "bush": bush, "rock": rock, "fence": fence}
