"""Birds and people. The unit is free, they look to the right; what stands, stands on y = 0."""

from __future__ import annotations

from math import cos, sin

from numpy.random import Generator

from recam.scenes.curves import box, smooth
from recam.scenes.figure import Colour, Figure, mix, shade

_PLUMAGE: tuple[tuple[Colour, Colour], ...] = (
    ((196, 78, 62), (246, 214, 170)), ((74, 120, 178), (236, 226, 206)), ((228, 178, 62), (250, 236, 190)),
    ((112, 132, 84), (226, 214, 150)), ((128, 92, 66), (226, 200, 164)), ((232, 230, 226), (250, 248, 244)),
    ((128, 130, 138), (206, 206, 208)), ((62, 58, 66), (110, 104, 112)), ((168, 96, 58), (240, 208, 160)),
)  # fmt: skip
"""Back and breast."""


def bird(rng: Generator, flying: bool) -> Figure:
    """A bird that stands, or flies with raised or lowered wings; neck, legs, beak and tail vary from songbird to
    goose."""
    figure = Figure()
    back, breast = _PLUMAGE[int(rng.integers(len(_PLUMAGE)))]
    wing = shade(back, rng.uniform(0.7, 0.88))
    beak: Colour = ((238, 164, 52), (74, 66, 64), (226, 122, 58))[int(rng.integers(3))]
    neck, plump, leg = rng.uniform(0.0, 0.34) ** 1.3, rng.uniform(0.26, 0.34), rng.uniform(0.16, 0.3)
    y = leg + plump * 0.9
    hx, hy = 0.36 + neck * 0.5, y + 0.24 + neck * (0.5 if flying else 1.0)
    head = rng.uniform(0.13, 0.18)
    if flying:
        flap = rng.uniform(0.4, 0.75) * (1 if rng.random() < 0.7 else -0.8)
        _wing(figure, 0.12, y + 0.1, flap * 0.9, -0.18, shade(wing, 0.82))
    else:
        for dx, light in ((0.08, 0.75), (-0.03, 1.0)):
            colour = shade(beak, light)
            figure.limb([(dx, y - plump * 0.7, 0.03), (dx + 0.02, leg * 0.5, 0.022), (dx, 0.03, 0.022)], colour)
            figure.blob(
                [(dx - 0.07, 0.0), (dx - 0.02, 0.045), (dx + 0.05, 0.045), (dx + 0.15, 0.01), (dx + 0.1, 0.0)], colour
            )
    fan, tip = rng.uniform(0.06, 0.13), rng.uniform(-0.1, 0.16)
    figure.blob(
        [(-0.36, y + 0.1), (-0.78, y + tip + fan), (-0.82, y + tip - fan * 0.4), (-0.4, y - 0.06)],
        shade(wing, 0.88),
        0.5,
        0.25,
    )
    body = [
        (-0.5, y + 0.06),
        (-0.2, y + plump * 0.75),
        (0.15, y + plump * 0.85),
        (hx - 0.12, hy),
        (hx + 0.06, hy - 0.1),
        (0.44, y - 0.02),
        (0.25, y - plump * 0.8),
        (-0.1, y - plump * 0.88),
        (-0.38, y - plump * 0.4),
    ]
    figure.blob(body, back, 0.9, 0.2)
    figure.blob(
        [
            (hx - 0.02, hy - 0.12),
            (0.43, y),
            (0.26, y - plump * 0.76),
            (-0.1, y - plump * 0.84),
            (-0.3, y - plump * 0.45),
            (0.05, y - plump * 0.3),
            (0.22, y),
        ],
        breast,
        0.3,
    )
    figure.oval(hx, hy, head, head * 0.95, back, 0.7)
    if rng.random() < 0.5:
        figure.oval(hx + 0.03, hy - head * 0.4, head * 0.72, head * 0.5, breast)
    long = rng.uniform(0.1, 0.24)
    figure.blob(
        [(hx + head * 0.75, hy + 0.05), (hx + head + long, hy - 0.02), (hx + head * 0.75, hy - 0.07)], beak, 0.3, 0.35
    )
    figure.eye(hx + head * 0.35, hy + head * 0.2, 0.034)
    if rng.random() < 0.25:
        figure.blob(
            [
                (hx - 0.06, hy + head * 0.8),
                (hx - 0.16, hy + head * 1.7),
                (hx + 0.02, hy + head * 1.3),
                (hx + 0.06, hy + head * 0.8),
            ],
            wing,
            0.3,
        )
    if flying:
        _wing(figure, 0.0, y + 0.08, flap, -0.05, wing)
    else:
        figure.blob(
            [
                (0.18, y + 0.1),
                (-0.05, y + plump * 0.55),
                (-0.38, y + 0.1),
                (-0.58, y - 0.04),
                (-0.2, y - plump * 0.45),
                (0.1, y - plump * 0.3),
            ],
            wing,
            0.7,
            0.3,
        )
        figure.limb([(0.02, y - 0.06, 0.012), (-0.2, y - 0.1, 0.014), (-0.42, y - 0.04, 0.008)], shade(wing, 0.75))
    return figure


def _wing(figure: Figure, x: float, y: float, rise: float, lean: float, colour: Colour) -> None:
    up = 1.0 if rise > 0 else -1.0
    tip = (x + lean - 0.35, y + rise)
    edge = [(x + 0.2, y), (x + 0.12 + lean * 0.5, y + rise * 0.55), tip, (x - 0.38 + lean, y + rise * 0.72 - 0.04 * up)]
    feathers = [
        (x - 0.42 + lean, y + rise * 0.5),
        (x - 0.36, y + rise * 0.3),
        (x - 0.32, y + rise * 0.08),
        (x - 0.2, y - 0.06 * up),
    ]
    figure.blob(edge + feathers, colour, 0.5, 0.3)
    figure.limb([(x - 0.02, y + rise * 0.2, 0.01), (x - 0.2 + lean * 0.7, y + rise * 0.6, 0.012)], shade(colour, 0.8))


_SKIN: tuple[Colour, ...] = ((246, 208, 176), (228, 180, 140), (190, 136, 96), (140, 94, 66), (98, 66, 50))
_HAIR: tuple[Colour, ...] = ((48, 38, 36), (92, 62, 42), (150, 100, 56), (216, 176, 98), (176, 84, 46), (190, 188, 186))
_CLOTH: tuple[Colour, ...] = (
    (200, 74, 66), (66, 108, 168), (232, 184, 78), (88, 140, 96), (148, 96, 152), (226, 224, 214), (84, 84, 96),
    (222, 132, 76),
    (110, 170, 178), (146, 98, 62),
)  # fmt: skip


def person(rng: Generator) -> Figure:
    """A child or a grown-up, standing, walking or waving, in trousers or a dress."""
    figure = Figure()
    tone = int(rng.integers(5))
    skin, hair = _SKIN[tone], _HAIR[int(rng.integers(6 if tone < 2 else 2))]
    first, second = rng.permutation(len(_CLOTH))[:2]
    shirt, trousers = _CLOTH[int(first)], shade(_CLOTH[int(second)], 0.85)
    shoes = mix(trousers, (52, 44, 42), 0.75)
    head = float(rng.uniform(0.078, 0.112))  # of the height: grown-ups to children
    wide = float(rng.uniform(0.1, 0.135))
    neck_y = 1 - 2.15 * head
    hip_y = neck_y * rng.uniform(0.54, 0.6)
    stride = float(rng.uniform(0.03, 0.13))
    dress = rng.random() < 0.35
    leg_colour = skin if dress or rng.random() < 0.15 else trousers
    waving = rng.random() < 0.3
    for side, light in ((1, 0.78), (-1, 1.0)):
        foot = side * stride + 0.01
        hx = side * wide * 0.38
        colour = shade(leg_colour, light)
        figure.limb(
            [(hx, hip_y, 0.058), ((hx + foot) / 2 + 0.02, hip_y * 0.5, 0.044), (foot, 0.045, 0.034)], colour, 0.8
        )
        figure.blob(
            [
                (foot - 0.045, 0.0),
                (foot - 0.045, 0.05),
                (foot + 0.02, 0.055),
                (foot + 0.085, 0.025),
                (foot + 0.085, 0.0),
            ],
            shade(shoes, light),
            0.3,
        )
    _arm(figure, 1, neck_y, hip_y, wide, shade(shirt, 0.8), skin, waving and rng.random() < 0.5, rng)
    long_hair = rng.random() < 0.45
    hx, hy = 0.012, 1 - head
    if long_hair:
        figure.blob(
            [
                (hx - head, hy + 0.02),
                (hx, 1.0),
                (hx + head, hy + 0.02),
                (hx + head * 0.95, hy - head * 1.5),
                (hx - head * 1.05, hy - head * 1.6),
            ],
            shade(hair, 0.85),
            0.4,
        )
    if dress:
        flare = rng.uniform(1.25, 1.7)
        hem = hip_y * 0.5
        outline = [
            (-wide * 0.9, neck_y - 0.03),
            (-wide * 0.3, neck_y + 0.01),
            (wide * 0.3, neck_y + 0.01),
            (wide * 0.9, neck_y - 0.03),
            (wide * 0.72, hip_y + 0.08),
            (wide * flare, hem),
            (0, hem - 0.015),
            (-wide * flare, hem),
            (-wide * 0.72, hip_y + 0.08),
        ]
        figure.blob(outline, shirt, 0.9, 0.2)
    else:
        waist = hip_y - 0.02
        outline = [
            (-wide * 0.95, neck_y - 0.03),
            (-wide * 0.35, neck_y + 0.012),
            (wide * 0.35, neck_y + 0.012),
            (wide * 0.95, neck_y - 0.03),
            (wide * 0.8, hip_y + 0.1),
            (wide * 0.85, waist),
            (0, waist - 0.01),
            (-wide * 0.85, waist),
            (-wide * 0.8, hip_y + 0.1),
        ]
        figure.blob(outline, shirt, 0.9, 0.2)
        if rng.random() < 0.3:
            for k in (0.25, 0.5, 0.75):
                y = waist + (neck_y - waist) * k
                figure.add(box(-wide * 0.8, y, wide * 0.8, y + 0.02), mix(shirt, (250, 246, 236), 0.6))
    _arm(figure, -1, neck_y, hip_y, wide, shirt, skin, waving, rng)
    figure.limb([(0.0, neck_y - 0.01, 0.034), (0.008, neck_y + 0.05, 0.032)], shade(skin, 0.85))
    _face(figure, hx, hy, head, skin, hair, rng)
    return figure


def _arm(
    figure: Figure,
    side: int,
    neck_y: float,
    hip_y: float,
    wide: float,
    sleeve: Colour,
    skin: Colour,
    raised: bool,
    rng: Generator,
) -> None:
    x, y = side * wide * 0.85, neck_y - 0.045
    reach = (neck_y - hip_y) * 1.05
    angle = rng.uniform(0.9, 1.25) if raised else rng.uniform(-1.5, -1.05)
    bend = angle + (0.3 if raised else 0.35)
    ex, ey = x + side * cos(angle) * reach * 0.5, y + sin(angle) * reach * 0.5
    wx, wy = ex + side * cos(bend) * reach * 0.5, ey + sin(bend) * reach * 0.5
    figure.limb([(ex, ey, 0.026), ((ex + wx) / 2, (ey + wy) / 2, 0.024), (wx, wy, 0.026)], skin, 0.5)
    figure.limb([(x, y, 0.042), (ex, ey, 0.034), (ex * 0.6 + wx * 0.4, ey * 0.6 + wy * 0.4, 0.031)], sleeve, 0.7, 0.2)


def _face(figure: Figure, x: float, y: float, r: float, skin: Colour, hair: Colour, rng: Generator) -> None:
    figure.oval(x, y, r * 0.86, r, skin, 0.6, 0.15)
    look = r * 0.18
    for dx in (-0.3, 0.34):
        figure.oval(x + look + dx * r, y + r * 0.02, r * 0.16, r * 0.17, (250, 246, 240))
        figure.oval(x + look + dx * r + r * 0.02, y + r * 0.01, r * 0.1, r * 0.13, (36, 28, 28))
        figure.oval(x + look + dx * r * 1.35, y - r * 0.3, r * 0.17, r * 0.11, mix(skin, (226, 96, 88), 0.35))
    figure.limb(
        [
            (x + look - 0.26 * r, y - r * 0.42, r * 0.045),
            (x + look, y - r * 0.54, r * 0.05),
            (x + look + 0.28 * r, y - r * 0.4, r * 0.045),
        ],
        mix(skin, (140, 40, 40), 0.65),
    )
    style = rng.random()
    cap = [
        (x - r * 0.98, y - r * 0.1),
        (x - r * 0.8, y + r * 0.72),
        (x, y + r * 1.08),
        (x + r * 0.82, y + r * 0.7),
        (x + r * 0.95, y),
        (x + r * 0.62, y + r * 0.42),
        (x, y + r * 0.56),
        (x - r * 0.6, y + r * 0.3),
    ]
    figure.blob(cap, hair, 0.5)
    if style < 0.35:
        hat = _CLOTH[int(rng.integers(len(_CLOTH)))]
        figure.add(
            smooth(
                [
                    (x - r * 0.85, y + r * 0.5),
                    (x - r * 0.7, y + r * 1.1),
                    (x, y + r * 1.4),
                    (x + r * 0.7, y + r * 1.1),
                    (x + r * 0.85, y + r * 0.5),
                ]
            ),
            hat,
            0.6,
            0.2,
        )
        figure.oval(x + r * 0.05, y + r * 0.55, r * (1.45 if style < 0.18 else 1.0), r * 0.17, shade(hat, 0.82), 0.3)
