"""The heads of the five animals that share a body: what distinguishes them. Each is drawn in a frame whose unit is the
head's length.

The origin of the frame is where the neck ends, x points to the muzzle, y to the forehead.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin

from numpy.random import Generator

from recam.scenes.coats import Coat
from recam.scenes.curves import Frame, ellipse, lobed
from recam.scenes.figure import Colour, Figure, mix, shade

PINK = (226, 164, 150)


def cow_head(figure: Figure, at: Frame, coat: Coat, rng: Generator) -> None:
    """Broad muzzle, ears to the sides, usually horns."""
    face = coat.spots if coat.spots and rng.random() < 0.5 else coat.face
    length = rng.uniform(0.28, 0.62) if rng.random() < 0.9 else 0.0
    lean, curl = rng.uniform(-0.25, 0.15), rng.uniform(-0.1, 0.3)
    if length:
        _horn(figure, at, coat, (0.2, 0.22), length * 0.95, lean + 0.22, curl, 0.8)
    figure.blob(at([(0.16, 0.2), (0.02, 0.34), (0.2, 0.46), (0.32, 0.3)]), shade(face, 0.75), 0.4)
    outline = [
        (-0.2, 0.1),
        (0.02, 0.27),
        (0.26, 0.27),
        (0.6, 0.17),
        (0.92, 0.17),
        (1.06, 0.0),
        (1.0, -0.22),
        (0.76, -0.28),
        (0.4, -0.27),
        (0.08, -0.33),
        (-0.15, -0.24),
    ]
    figure.blob(at(outline), face, 0.9, 0.25)
    if coat.spots and rng.random() < 0.6:
        figure.blob(
            at([(0.12, 0.24), (0.4, 0.22), (0.72, 0.12), (0.6, 0.02), (0.3, 0.06)]), mix(face, (240, 236, 226), 0.85)
        )
    figure.blob(
        at([(0.8, 0.14), (0.95, 0.18), (1.09, 0.02), (1.03, -0.22), (0.86, -0.29), (0.74, -0.14)]), coat.muzzle, 0.5
    )
    figure.add(at(ellipse(0.99, 0.04, 0.045, 0.03, 0.6, 10)), shade(coat.muzzle, 0.45))
    figure.limb(at([(1.02, -0.15, 0.012), (0.88, -0.17, 0.014), (0.78, -0.13, 0.01)]), shade(coat.muzzle, 0.55))
    _eye(figure, at, 0.36, 0.1, 0.062)
    droop = rng.uniform(-0.15, 0.12)
    figure.blob(
        at([(0.06, 0.17), (-0.12, 0.28 + droop * 0.5), (-0.4, 0.2 + droop), (-0.34, 0.06 + droop), (-0.1, 0.03)]),
        shade(face, 0.92),
        0.6,
        0.35,
    )
    figure.blob(
        at([(-0.02, 0.14), (-0.14, 0.2 + droop * 0.5), (-0.31, 0.15 + droop), (-0.15, 0.08 + droop * 0.5)]),
        mix(face, PINK, 0.6),
    )
    if length:
        _horn(figure, at, coat, (0.06, 0.2), length, lean, curl, 1.0)
    figure.blob(
        at([(-0.06, 0.22), (0.06, 0.34), (0.24, 0.3), (0.32, 0.17), (0.16, 0.2)]), mix(coat.hair, face, 0.3), 0.4
    )


def _horn(
    figure: Figure,
    at: Frame,
    coat: Coat,
    root: tuple[float, float],
    length: float,
    lean: float,
    curl: float,
    light: float,
) -> None:
    x, y = root
    tip = (x + lean * length * 2 + curl * length, y + length)
    bow = (x + lean * length - 0.3 * length * (0.4 + curl), y + length * 0.5)
    figure.limb(at([(x, y, 0.075), (*bow, 0.06), (*tip, 0.016)]), shade(coat.horn, light), 0.7, 0.3)


def horse_head(figure: Figure, at: Frame, coat: Coat, rng: Generator) -> None:
    """Long and narrow, pointed upright ears, a forelock; the mane belongs to the neck."""
    tip = rng.uniform(-0.12, 0.1)
    figure.blob(at([(0.06, 0.18), (0.06 + tip, 0.52), (0.2, 0.22)]), shade(coat.face, 0.72), 0.3)
    outline = [
        (-0.22, 0.1),
        (-0.02, 0.22),
        (0.24, 0.22),
        (0.62, 0.12),
        (1.0, 0.1),
        (1.18, 0.02),
        (1.17, -0.12),
        (1.02, -0.2),
        (0.8, -0.14),
        (0.48, -0.23),
        (0.2, -0.36),
        (-0.06, -0.32),
    ]
    figure.blob(at(outline), coat.face, 0.9, 0.25)
    figure.blob(
        at([(0.94, 0.11), (1.1, 0.09), (1.2, 0.0), (1.18, -0.12), (1.03, -0.21), (0.9, -0.12)]), coat.muzzle, 0.4
    )
    if rng.random() < 0.4:
        figure.limb(at([(0.26, 0.2, 0.03), (0.6, 0.1, 0.035), (0.92, 0.08, 0.02)]), (240, 234, 222))
    figure.add(at(ellipse(1.1, 0.0, 0.04, 0.024, 0.7, 10)), shade(coat.muzzle, 0.4))
    figure.limb(at([(1.12, -0.12, 0.012), (0.94, -0.12, 0.01)]), shade(coat.muzzle, 0.5))
    _eye(figure, at, 0.3, 0.08, 0.058)
    figure.blob(
        at([(-0.12, 0.14), (-0.13 + tip, 0.36), (-0.06 + tip, 0.56), (0.05, 0.36), (0.08, 0.18)]), coat.face, 0.5, 0.35
    )
    figure.blob(at([(-0.06, 0.18), (-0.08 + tip, 0.34), (-0.05 + tip, 0.46), (0.02, 0.32)]), shade(coat.face, 0.6))
    figure.blob(at([(-0.08, 0.2), (0.08, 0.3), (0.3, 0.2), (0.4, 0.0), (0.2, 0.14)]), coat.hair, 0.5)


def sheep_head(figure: Figure, at: Frame, coat: Coat, rng: Generator) -> None:
    """Small smooth face under a cap of wool, ears hanging sideways; rams carry a curled horn."""
    outline = [
        (-0.2, 0.12),
        (0.05, 0.3),
        (0.35, 0.27),
        (0.7, 0.14),
        (0.96, 0.02),
        (1.02, -0.14),
        (0.86, -0.26),
        (0.5, -0.27),
        (0.15, -0.32),
        (-0.15, -0.24),
    ]
    figure.blob(at([(0.2, 0.2), (0.08, 0.36), (-0.02, 0.44), (0.16, 0.42), (0.3, 0.26)]), shade(coat.face, 0.78), 0.4)
    figure.blob(at(outline), coat.face, 0.9, 0.25)
    figure.add(at(ellipse(0.95, -0.06, 0.06, 0.045, -0.5, 12)), mix(shade(coat.face, 0.5), PINK, 0.3))
    figure.limb(at([(0.98, -0.16, 0.012), (0.84, -0.17, 0.012)]), shade(coat.face, 0.5))
    _eye(figure, at, 0.42, 0.08, 0.068)
    ram = rng.random() < 0.3
    figure.add(at(lobed(-0.02, 0.22, 0.27, 0.18, 8, 0.3)), shade(coat.base, 1.05), 0.6, 0.2)
    drop = rng.uniform(-0.3, 0.05)
    figure.blob(
        at([(0.08, 0.14), (-0.14, 0.2 + drop * 0.4), (-0.42, 0.1 + drop), (-0.34, -0.02 + drop), (-0.06, 0.0)]),
        shade(coat.face, 0.95),
        0.6,
        0.4,
    )
    if ram:
        turns = [
            (0.1 - 0.3 * cos(a) * s, 0.08 + 0.3 * sin(a) * s, 0.1 * s + 0.01)
            for a, s in ((1.9, 0.8), (0.9, 1.0), (-0.1, 1.0), (-1.1, 0.9), (-2.1, 0.75), (-3.2, 0.6))
        ]
        figure.limb(at(turns), shade(coat.horn, 0.92), 1.0, 0.5)


def elephant_head(figure: Figure, at: Frame, coat: Coat, rng: Generator) -> None:
    """Domed, with a trunk, a fan of an ear and usually tusks."""
    upright = -at.turn  # trunks hang by gravity, whatever the head's tilt
    down = Frame(0, 0, 1, upright)
    root = (0.5, -0.02)
    pose = rng.random()
    if pose < 0.55:
        sway = rng.uniform(-0.15, 0.3)
        steps = [
            (0.16, -0.3, 0.2),
            (0.24 + sway * 0.3, -0.7, 0.15),
            (0.22 + sway, -1.05, 0.115),
            (0.36 + sway, -1.3, 0.09),
        ]
    elif pose < 0.8:
        steps = [(0.26, -0.26, 0.2), (0.5, -0.5, 0.16), (0.85, -0.45, 0.125), (0.98, -0.15, 0.1), (0.86, 0.02, 0.085)]
    else:
        steps = [(0.3, -0.14, 0.2), (0.62, -0.1, 0.16), (0.86, 0.22, 0.125), (0.92, 0.58, 0.1), (1.08, 0.74, 0.08)]
    tusk = rng.uniform(0.25, 0.55) if rng.random() < 0.75 else 0.0
    if tusk:
        figure.limb(
            at([(0.5, -0.22, 0.06), (0.5 + tusk * 0.55, -0.38, 0.05), (0.52 + tusk, -0.28, 0.018)]),
            (214, 204, 180),
            0.5,
        )
    trunk = [(*root, 0.27)] + [(root[0] + x, root[1] + y, r) for x, y, r in down(steps)]
    outline = [
        (-0.35, 0.2),
        (-0.2, 0.5),
        (0.1, 0.62),
        (0.4, 0.52),
        (0.62, 0.28),
        (0.74, 0.0),
        (0.62, -0.3),
        (0.32, -0.44),
        (-0.05, -0.46),
        (-0.35, -0.2),
    ]
    figure.blob(at(outline), coat.face, 0.9, 0.2)
    figure.limb(at(trunk), coat.face, 1.0)
    for k in range(1, len(trunk) - 1):
        x, y, r = trunk[k]
        figure.limb(
            at([(x - r * 0.5, y - r * 0.1, 0.012), (x + r * 0.1, y - r * 0.2, 0.014), (x + r * 0.6, y, 0.01)]),
            shade(coat.face, 0.82),
        )
    if tusk:
        figure.limb(
            at([(0.38, -0.26, 0.07), (0.42 + tusk * 0.6, -0.44, 0.055), (0.46 + tusk * 1.1, -0.32, 0.018)]),
            (246, 238, 216),
            0.6,
            0.3,
        )
    _eye(figure, at, 0.42, 0.16, 0.05)
    spread = rng.uniform(0.85, 1.2)
    ear = [
        (0.12, 0.38),
        (-0.2, 0.5),
        (-0.55 * spread, 0.42),
        (-0.72 * spread, 0.08),
        (-0.6 * spread, -0.36),
        (-0.34, -0.66),
        (-0.12, -0.42),
        (0.06, -0.1),
    ]
    figure.blob(at(ear), shade(coat.face, 0.93), 1.1, 0.45)
    figure.blob(
        at([(0.0, 0.24), (-0.25, 0.34), (-0.5 * spread, 0.2), (-0.5 * spread, -0.15), (-0.3, -0.42), (-0.12, -0.2)]),
        mix(shade(coat.face, 0.95), PINK, 0.22),
        0.3,
    )


def bear_head(figure: Figure, at: Frame, coat: Coat, rng: Generator) -> None:
    """Round, round ears, a short paler snout with a black nose."""
    _disc(figure, at, 0.28, 0.4, 0.15, shade(coat.face, 0.72), 0.4)
    outline = [
        (-0.32, 0.12),
        (-0.2, 0.4),
        (0.08, 0.5),
        (0.36, 0.42),
        (0.54, 0.22),
        (0.8, 0.14),
        (0.94, 0.02),
        (0.9, -0.16),
        (0.66, -0.26),
        (0.36, -0.34),
        (0.0, -0.42),
        (-0.3, -0.24),
    ]
    figure.blob(at(outline), coat.face, 1.0, 0.25)
    figure.blob(
        at([(0.5, 0.12), (0.78, 0.14), (0.95, 0.03), (0.9, -0.17), (0.66, -0.26), (0.46, -0.14)]), coat.muzzle, 0.5
    )
    figure.add(at(ellipse(0.9, 0.06, 0.1, 0.075, -0.4, 16)), (34, 28, 30))
    figure.limb(at([(0.88, -0.1, 0.014), (0.72, -0.14, 0.014), (0.6, -0.09, 0.01)]), shade(coat.muzzle, 0.45))
    _eye(figure, at, 0.42, 0.17, 0.055)
    size = rng.uniform(0.15, 0.2)
    _disc(figure, at, -0.08, 0.4, size, coat.face, 0.6, 0.35)
    _disc(figure, at, -0.07, 0.39, size * 0.55, mix(coat.face, PINK, 0.35))


def _disc(
    figure: Figure, at: Frame, x: float, y: float, r: float, colour: Colour, relief: float = 0.0, ink: float = 0.0
) -> None:
    figure.add(at(ellipse(x, y, r, r)), colour, relief, ink)


def _eye(figure: Figure, at: Frame, x: float, y: float, r: float) -> None:
    (place,) = at([(x, y)])
    figure.eye(float(place[0]), float(place[1]), r * at.scale)


HEADS: dict[str, Callable[[Figure, Frame, Coat, Generator], None]] = {
    "cow": cow_head,
    "horse": horse_head,
    "sheep": sheep_head,
    "elephant": elephant_head,
    "bear": bear_head,
}

LEVEL = -pi / 6
"""Usual tilt of a head."""
