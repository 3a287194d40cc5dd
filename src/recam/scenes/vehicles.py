"""Boats, trains and cars, looking to the right; `aspect` is the wanted width over height."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from recam.scenes.curves import box, rounded
from recam.scenes.figure import Colour, Figure, mix, shade

_PAINTS: tuple[Colour, ...] = (
    (196, 62, 56), (62, 104, 166), (236, 190, 70), (86, 142, 96), (230, 226, 214), (92, 96, 106), (222, 126, 66),
    (110, 168, 180),
    (132, 84, 132), (150, 96, 60), (62, 60, 66),
)  # fmt: skip
_GLASS: Colour = (172, 206, 222)
_IRON: Colour = (58, 56, 62)


def _paint(rng: Generator) -> Colour:
    return shade(_PAINTS[int(rng.integers(len(_PAINTS)))], float(rng.uniform(0.9, 1.08)))


def _wheel(figure: Figure, x: float, y: float, r: float, hub: Colour, spokes: int = 0) -> None:
    figure.oval(x, y, r, r, (44, 42, 46), 0.5)
    figure.oval(x, y, r * 0.68, r * 0.68, hub, 0.4)
    for k in range(spokes):
        a = np.pi * k / spokes
        figure.limb(
            [
                (x - np.cos(a) * r * 0.7, y - np.sin(a) * r * 0.7, r * 0.06),
                (x + np.cos(a) * r * 0.7, y + np.sin(a) * r * 0.7, r * 0.06),
            ],
            _IRON,
        )
    figure.oval(x, y, r * 0.2, r * 0.2, shade(hub, 0.55))


def _window(figure: Figure, x0: float, y0: float, x1: float, y1: float, r: float) -> None:
    figure.add(rounded(x0, y0, x1, y1, r), _GLASS, 0.0, 0.7)
    w = x1 - x0
    figure.add(
        np.array(
            [
                (x0 + w * 0.25, y0 + r * 0.3),
                (x0 + w * 0.45, y0 + r * 0.3),
                (x0 + w * 0.75, y1 - r * 0.3),
                (x0 + w * 0.55, y1 - r * 0.3),
            ]
        ),
        mix(_GLASS, (255, 255, 255), 0.5),
    )


def car(rng: Generator, aspect: float) -> Figure:
    """A saloon, an estate or a small van in side view."""
    figure = Figure()
    paint = _paint(rng)
    style = rng.random()
    height = 1 / max(aspect, 1.6)
    sill, belt, r = 0.055, height * 0.56, height * 0.215
    bonnet = float(rng.uniform(0.24, 0.3)) if style < 0.7 else 0.15
    if style < 0.4:
        roof = [(-0.36, belt), (-0.22, height * 0.96), (-0.08, height), (0.1, height * 0.98), (0.5 - bonnet, belt)]
    elif style < 0.7:
        roof = [(-0.47, belt), (-0.42, height * 0.95), (-0.2, height), (0.08, height * 0.98), (0.5 - bonnet, belt)]
    else:
        roof = [(-0.48, belt), (-0.46, height * 0.95), (-0.3, height), (0.18, height), (0.5 - bonnet, belt)]
    figure.oval(0, sill + 0.01, 0.44, 0.04, (40, 38, 42))
    shell = [
        (-0.5, sill + 0.03),
        (-0.495, belt * 0.85),
        *roof,
        (0.44, belt * 0.88),
        (0.495, belt * 0.68),
        (0.5, sill + 0.03),
        (0.44, sill),
        (-0.44, sill),
    ]
    figure.add(_soften(np.array(shell)), paint, 0.9, 0.25)
    middle = float(rng.uniform(-0.12, -0.02))
    top, bottom = height * 0.92, belt * 1.02
    first, last = roof[0][0] + 0.05, roof[-1][0] - 0.03
    left, right = max(roof[1][0] + 0.03, first), roof[3][0] - 0.01
    for window in (
        [(first, bottom), (left + 0.01, top), (middle - 0.015, top), (middle - 0.015, bottom)],
        [(middle + 0.015, bottom), (middle + 0.015, top), (right, top), (last, bottom)],
    ):
        figure.add(np.array(window), _GLASS, 0.0, 0.5)
        w = np.array(window)
        figure.add(
            np.array(
                [w[0] * 0.7 + w[3] * 0.3, w[1] * 0.6 + w[2] * 0.4, w[1] * 0.35 + w[2] * 0.65, w[0] * 0.5 + w[3] * 0.5]
            ),
            mix(_GLASS, (255, 255, 255), 0.45),
        )
    for x in (middle, roof[-1][0] - 0.02):
        figure.limb([(x, belt, 0.003), (x, sill + 0.03, 0.003)], shade(paint, 0.7))
    figure.add(box(middle - 0.08, belt * 0.86, middle - 0.03, belt * 0.86 + 0.012), shade(paint, 0.5))
    figure.add(box(-0.5, sill, 0.5, sill + 0.025), shade(paint, 0.6))
    figure.oval(0.475, belt * 0.7, 0.022, 0.03, (255, 240, 190), 0, 0.4)
    figure.oval(-0.488, belt * 0.72, 0.014, 0.032, (206, 50, 44))
    for x in (-0.29, 0.3):
        figure.oval(x, r, r * 1.22, r * 1.22, shade(paint, 0.35))
        _wheel(figure, x, r, r, (196, 196, 200))
    return figure


def _soften(
    corners: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Cut every corner of a polygon twice, which rounds it (Chaikin)."""
    for _ in range(2):
        following = np.concatenate([corners[1:], corners[:1]])
        corners = np.stack([corners * 0.75 + following * 0.25, corners * 0.25 + following * 0.75], 1).reshape(-1, 2)
    return corners


def train(rng: Generator, aspect: float) -> Figure:
    """A steam or electric locomotive with as many carriages behind it as `aspect` leaves room for; height about 1."""
    figure = Figure()
    paint, trim = _paint(rng), _paint(rng)
    steam = rng.random() < 0.55
    long = 1.7 if steam else 1.6
    room = max(aspect - long, 0.0)
    carriages = max(round(room / 1.35), 0)
    width = room / carriages if carriages else 0.0
    wagon = _paint(rng)
    for k in range(carriages):
        x1 = -0.05 - k * width
        _carriage(figure, x1 - width + 0.08, x1, wagon, trim, rng)
    (_steam if steam else _electric)(figure, long, paint, trim, rng)
    return figure


def _carriage(figure: Figure, x0: float, x1: float, paint: Colour, trim: Colour, rng: Generator) -> None:
    figure.add(box(x0 - 0.1, 0.2, x1 + 0.1, 0.26), _IRON)
    for x in (x0 + 0.18, x0 + 0.42, x1 - 0.42, x1 - 0.18):
        _wheel(figure, x, 0.11, 0.11, (120, 116, 120))
    figure.add(rounded(x0, 0.18, x1, 0.84, 0.05), paint, 0.8, 0.3)
    figure.add(box(x0 + 0.01, 0.32, x1 - 0.01, 0.38), mix(paint, (248, 240, 220), 0.7))
    figure.add(rounded(x0 - 0.03, 0.8, x1 + 0.03, 0.9, 0.045), shade(trim, 0.8), 0.5, 0.3)
    n = 3
    gap = (x1 - x0) / n
    for k in range(n):
        _window(figure, x0 + gap * (k + 0.2), 0.48, x0 + gap * (k + 0.8), 0.72, 0.03)


def _steam(figure: Figure, long: float, paint: Colour, trim: Colour, rng: Generator) -> None:
    hub = mix(trim, (190, 60, 50), 0.5)
    figure.add(box(0.0, 0.2, long - 0.06, 0.3), _IRON)
    figure.add(np.array([(long - 0.16, 0.28), (long - 0.1, 0.04), (long + 0.04, 0.04)]), shade(trim, 0.75), 0.4, 0.3)
    tall = float(rng.uniform(0.95, 1.05))
    for x, w in ((1.4, 0.075), (0.98, 0.07)):
        figure.limb(
            [(x, 0.66, w), (x, tall - 0.1 if w > 0.07 else 0.84, w)],
            shade(paint, 0.75) if w > 0.07 else (214, 176, 92),
            0.6,
        )
    figure.add(np.array([(1.3, tall - 0.12), (1.5, tall - 0.12), (1.54, tall), (1.26, tall)]), _IRON, 0.4)
    figure.add(rounded(0.45, 0.28, long - 0.05, 0.74, 0.08), paint, 1.1, 0.3)
    figure.add(rounded(long - 0.16, 0.28, long - 0.02, 0.76, 0.06), _IRON, 0.7)
    for x in (0.72, 1.1, 1.34):
        figure.add(box(x, 0.285, x + 0.03, 0.735), shade(trim, 0.9))
    figure.oval(long - 0.04, 0.66, 0.06, 0.07, (255, 238, 180), 0, 0.6)
    figure.add(rounded(0.0, 0.24, 0.5, 0.9, 0.03), shade(paint, 0.92), 0.7, 0.3)
    _window(figure, 0.12, 0.54, 0.38, 0.78, 0.03)
    figure.add(rounded(-0.06, 0.87, 0.57, 0.97, 0.045), shade(trim, 0.75), 0.5, 0.3)
    for x in (0.26, 0.64, 1.0):
        _wheel(figure, x, 0.17, 0.17, hub, 3)
    _wheel(figure, 1.36, 0.11, 0.11, hub, 2)
    figure.limb([(0.26, 0.13, 0.022), (1.0, 0.13, 0.022)], (176, 174, 178), 0.4)


def _electric(figure: Figure, long: float, paint: Colour, trim: Colour, rng: Generator) -> None:
    figure.add(box(-0.1, 0.2, long - 0.1, 0.28), _IRON)
    for x in (0.2, 0.46, long - 0.6, long - 0.34):
        _wheel(figure, x, 0.12, 0.12, (120, 116, 120))
    nose = float(rng.uniform(0.12, 0.3))
    shell = [
        (0.0, 0.16),
        (0.0, 0.88),
        (0.05, 0.92),
        (long - nose, 0.92),
        (long - nose * 0.55, 0.86),
        (long, 0.4),
        (long, 0.22),
        (long - 0.05, 0.16),
    ]
    figure.add(_soften(np.array(shell)), paint, 0.9, 0.3)
    figure.add(
        np.array([(0.01, 0.26), (0.01, 0.38), (long - 0.02, 0.38), (long - 0.01, 0.26)]),
        mix(trim, (246, 240, 226), 0.4),
    )
    figure.add(
        np.array(
            [(long - nose - 0.1, 0.54), (long - nose - 0.1, 0.8), (long - nose * 0.7, 0.8), (long - nose * 0.25, 0.54)]
        ),
        _GLASS,
        0.0,
        0.6,
    )
    for k in range(3):
        _window(figure, 0.12 + 0.34 * k, 0.52, 0.36 + 0.34 * k, 0.76, 0.03)
    figure.oval(long - 0.04, 0.36, 0.04, 0.05, (255, 240, 190), 0, 0.5)
    if rng.random() < 0.6:
        figure.limb([(0.4, 0.92, 0.015), (0.6, 1.0, 0.015), (0.4, 1.08, 0.015), (0.62, 1.08, 0.015)], _IRON)


def boat(rng: Generator, aspect: float) -> Figure:
    """A sailing boat where `aspect` is narrow, else a fishing boat or a steamer; hull of length 1, floating at y =
    0."""
    figure = Figure()
    paint, trim = _paint(rng), _paint(rng)
    deck = float(rng.uniform(0.17, 0.23))
    if aspect < 1.15:
        _sails(figure, deck, min(1 / aspect, 1.25), rng)
    else:
        _cabins(figure, deck, 1 / aspect, trim, rng)
    sheer = float(rng.uniform(0.03, 0.09))
    hull = [
        (-0.48, deck),
        (-0.2, deck - 0.02),
        (0.2, deck - 0.01),
        (0.55, deck + sheer),
        (0.47, deck * 0.45),
        (0.38, 0.0),
        (-0.4, 0.0),
        (-0.46, deck * 0.5),
    ]
    figure.add(_soften(np.array(hull)), paint, 0.9, 0.3)
    stripe = [
        (-0.465, deck * 0.78),
        (0.0, deck * 0.68),
        (0.51, deck * 0.95),
        (0.52, deck * 1.18),
        (0.0, deck * 0.86),
        (-0.47, deck * 0.95),
    ]
    figure.add(np.array(stripe), mix(paint, (250, 244, 230), 0.75))
    figure.add(np.array([(-0.43, 0.045), (0.41, 0.045), (0.38, 0.0), (-0.4, 0.0)]), shade(paint, 0.6))
    if aspect >= 1.15 and rng.random() < 0.6:
        for x in (-0.25, -0.05, 0.15):
            figure.oval(x, deck * 0.45, 0.028, 0.028, _GLASS, 0, 0.7)
    return figure


def _sails(figure: Figure, deck: float, tall: float, rng: Generator) -> None:
    mast = float(rng.uniform(-0.02, 0.1))
    cloth: Colour = ((246, 240, 226), (232, 214, 178), (206, 84, 68), (238, 190, 92))[int(rng.integers(4))]
    figure.limb([(mast, deck - 0.05, 0.016), (mast, tall, 0.012)], (124, 88, 60), 0.5)
    foot = deck + 0.07
    figure.blob(
        [
            (mast - 0.03, foot),
            (mast - 0.03, tall * 0.6),
            (mast - 0.03, tall * 0.97),
            (mast - 0.22, tall * 0.6),
            (mast - 0.46, foot + 0.03),
            (mast - 0.25, foot - 0.01),
        ],
        cloth,
        0.6,
        0.2,
    )
    figure.blob(
        [
            (mast + 0.03, foot + 0.02),
            (mast + 0.04, tall * 0.5),
            (mast + 0.03, tall * 0.88),
            (mast + 0.2, tall * 0.5),
            (mast + 0.4, foot + 0.04),
        ],
        shade(cloth, 0.93),
        0.6,
        0.2,
    )
    figure.limb([(mast - 0.46, foot - 0.015, 0.011), (mast, foot - 0.02, 0.011)], (124, 88, 60))
    figure.add(np.array([(mast, tall), (mast - 0.14, tall - 0.035), (mast, tall - 0.07)]), _paint(rng))


def _cabins(figure: Figure, deck: float, tall: float, trim: Colour, rng: Generator) -> None:
    x = float(rng.uniform(-0.34, -0.2))
    wide = float(rng.uniform(0.34, 0.5))
    roof = deck + (tall - deck) * 0.5
    white: Colour = (240, 234, 222)
    funnel = x + wide * rng.uniform(0.3, 0.6)
    figure.add(
        np.array(
            [(funnel - 0.06, roof - 0.02), (funnel + 0.06, roof - 0.02), (funnel + 0.05, tall), (funnel - 0.05, tall)]
        ),
        trim,
        0.7,
        0.3,
    )
    figure.add(
        np.array(
            [(funnel - 0.051, tall - 0.06), (funnel + 0.051, tall - 0.06), (funnel + 0.05, tall), (funnel - 0.05, tall)]
        ),
        _IRON,
        0.4,
    )
    figure.add(rounded(x, deck - 0.06, x + wide, roof, 0.025), white, 0.6, 0.3)
    figure.add(rounded(x - 0.03, roof - 0.02, x + wide + 0.03, roof + 0.025, 0.02), shade(trim, 0.85), 0.4)
    for k in range(3):
        gap = wide / 3
        _window(figure, x + gap * (k + 0.2), deck + 0.06, x + gap * (k + 0.8), max(roof - 0.05, deck + 0.1), 0.015)
    figure.limb([(0.3, deck - 0.02, 0.012), (0.3, tall * 0.85, 0.009)], (124, 88, 60))
    figure.add(np.array([(0.3, tall * 0.85), (0.17, tall * 0.81), (0.3, tall * 0.77)]), trim)
