"""The one body plan of cow, horse, sheep, elephant and bear: trunk, four legs and neck, by parameters whose ranges
overlap.

The unit is the length of the trunk; the animal looks to the right and stands on y = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from numpy.random import Generator

from recam.scenes.coats import Coat, make_coat
from recam.scenes.curves import Frame, Points, curve, lobed, scalloped
from recam.scenes.figure import Figure, mix, shade
from recam.scenes.heads import HEADS

Range = tuple[float, float]


@dataclass(frozen=True)
class Build:
    """Ranges of the body's proportions for one kind of animal, in lengths of the trunk.

    Attributes:
        leg: height of the belly above the ground.
        depth: of the trunk, belly to back.
        thick: width of the legs, as a factor.
        withers: how far the back rises over the shoulders; negative slopes down.
        neck: length of the neck.
        nape: half-width of the neck at its root.
        head: length of the head.
        raised: angle of the neck with the head up, radians.
    """

    leg: Range
    depth: Range
    thick: Range
    withers: Range
    neck: Range
    nape: Range
    head: Range
    raised: Range


BUILDS: dict[str, Build] = {
    "cow": Build(
        (0.34, 0.46), (0.44, 0.52), (0.85, 1.2), (-0.02, 0.05), (0.22, 0.32), (0.17, 0.21), (0.36, 0.42), (0.25, 0.75)
    ),
    "horse": Build(
        (0.38, 0.54), (0.38, 0.47), (0.75, 1.1), (0.0, 0.06), (0.4, 0.5), (0.17, 0.21), (0.34, 0.4), (0.65, 1.05)
    ),
    "sheep": Build(
        (0.3, 0.42), (0.44, 0.54), (0.7, 1.0), (-0.03, 0.03), (0.18, 0.26), (0.15, 0.19), (0.31, 0.36), (0.5, 0.95)
    ),
    "elephant": Build(
        (0.36, 0.5), (0.5, 0.6), (1.3, 1.7), (-0.02, 0.08), (0.1, 0.16), (0.22, 0.26), (0.42, 0.5), (0.3, 0.7)
    ),
    "bear": Build(
        (0.3, 0.42), (0.44, 0.54), (1.2, 1.6), (0.0, 0.1), (0.14, 0.2), (0.19, 0.24), (0.36, 0.42), (0.15, 0.6)
    ),
}

GRAZERS = ("cow", "horse", "sheep", "bear")


def quadruped(kind: str, rng: Generator) -> Figure:
    """One animal in a random build, coat and pose. `kind` is a key of `BUILDS`."""
    build = BUILDS[kind]
    leg, depth, thick, withers, neck, nape, head, raised = (float(rng.uniform(*r)) for r in vars(build).values())
    coat = make_coat(kind, rng)
    figure = Figure()
    back, belly = _trunk_lines(leg, depth, withers, rng)
    stride = float(rng.uniform(0.1, 0.42)) if rng.random() < 0.65 else 0.05
    phase = float(rng.uniform(0, 2 * pi))
    hip, shoulder = (-0.37, leg + 0.36 * depth), (0.33, leg + 0.32 * depth)
    far = shade(coat.base, 0.68)
    for place, hind, shift in ((hip, True, 1.9), (shoulder, False, 5.0)):
        _leg(figure, (place[0] + 0.1, place[1]), leg, thick, stride * sin(phase + shift), hind, far, coat, kind)
    _tail(figure, kind, coat, leg, depth, rng)
    grazing = kind in GRAZERS and rng.random() < 0.25
    bow = -0.85 if grazing else raised
    if grazing:
        neck = max(neck, (leg + 0.7 * depth - head) / 1.25)
    joint = _neck(figure, kind, coat, leg, depth, neck, nape, bow)
    trunk = np.concatenate([back, belly[::-1]])
    woolly = kind == "sheep" and rng.random() < 0.85
    if woolly:
        figure.add(scalloped(trunk, 22, 0.04, float(rng.uniform(0, 3))), coat.base, 0.9, 0.15)
        _curls(figure, coat, back, belly, rng)
    else:
        figure.add(trunk, coat.base, 1.0)
    if coat.spots:
        _spots(figure, coat, back, belly, rng)
    if kind == "cow" and rng.random() < 0.4:
        figure.blob(
            [(-0.3, leg + 0.08), (-0.12, leg + 0.05), (-0.14, leg - 0.06), (-0.26, leg - 0.07)], (230, 178, 166), 0.6
        )
    for place, hind, shift in ((hip, True, 0.0), (shoulder, False, 2.6)):
        _leg(figure, place, leg, thick, stride * sin(phase + shift), hind, coat.base, coat, kind)
    if kind == "horse":
        _mane(figure, coat, joint, leg, depth, rng)
    tilt = bow - 0.55 if grazing else float(rng.uniform(-0.75, -0.25))
    HEADS[kind](figure, Frame(joint[0], joint[1], head, tilt), coat, rng)
    return figure


def _trunk_lines(leg: float, depth: float, withers: float, rng: Generator) -> tuple[Points, Points]:
    """Back and belly as curves from rump to chest, (n, 2) each with the same n."""
    rump, sag, tuck, round_ = (
        rng.uniform(-0.02, 0.04),
        rng.uniform(0.0, 0.06),
        rng.uniform(0.0, 0.1),
        rng.uniform(-0.03, 0.05),
    )
    upper = [
        (-0.5, 0.58),
        (-0.47, 0.84),
        (-0.33, 1 + rump),
        (-0.02, 1 - sag),
        (0.26, 1 + withers),
        (0.42, 0.9),
        (0.5, 0.58),
    ]
    lower = [(-0.5, 0.58), (-0.47, 0.3), (-0.3, 0.1 + tuck), (-0.02, -round_), (0.24, 0.02), (0.42, 0.2), (0.5, 0.58)]
    lines = [curve([(x, leg + depth * y) for x, y in line], 6) for line in (upper, lower)]
    return lines[0], lines[1]


def _leg(
    figure: Figure,
    top: tuple[float, float],
    leg: float,
    thick: float,
    swing: float,
    hind: bool,
    colour: tuple[float, float, float],
    coat: Coat,
    kind: str,
) -> None:
    """A leg from hip or shoulder to the ground; `swing` radians forward of upright."""
    x, y = top
    lift = 0.06 * leg * max(swing, 0.0)
    foot = x + sin(swing) * y * 0.8
    upper, lower = (0.135 if hind else 0.11) * (0.6 + 0.4 * thick), 0.05 * thick
    knee_x, knee_y = x + sin(swing) * y * 0.42 + (0.05 if hind else 0.015), leg * 0.62
    hock_x, hock_y = foot - (0.055 if hind else 0.01), leg * 0.34
    sole = 0.035 * thick + lift
    middle = [
        (x, y, upper),
        (knee_x, knee_y + 0.02, lower * 1.55),
        (hock_x, hock_y, lower * 1.05),
        (foot, sole + 0.03, lower * 1.12),
    ]
    figure.limb(middle, colour, 0.8)
    if coat.socks and colour == coat.base:
        figure.limb(
            [(hock_x * 0.5 + foot * 0.5, hock_y * 0.6 + 0.03, lower * 1.08), (foot, sole + 0.02, lower * 1.14)],
            coat.socks,
            0.5,
        )
    w = lower * 1.25
    if kind in ("elephant", "bear"):
        long = 1.7 if kind == "bear" else 1.15
        pad = [
            (foot - w, lift),
            (foot - w, sole + 0.05),
            (foot + w * 0.8, sole + 0.06),
            (foot + w * long, sole),
            (foot + w * long, lift),
        ]
        figure.blob(pad, colour, 0.4)
        for k in range(3):
            figure.oval(
                foot + w * (long - 0.25 - 0.45 * k),
                lift + 0.018,
                0.02 * thick,
                0.018,
                mix(colour, (238, 226, 200), 0.55),
            )
    else:
        hoof = mix(shade(coat.horn, 0.5), (60, 50, 46), 0.5)
        figure.add(
            np.array(
                [
                    (foot - w, lift),
                    (foot - w * 0.75, sole + 0.025),
                    (foot + w * 0.8, sole + 0.025),
                    (foot + w * 1.25, lift),
                ]
            ),
            hoof,
        )


def _neck(
    figure: Figure, kind: str, coat: Coat, leg: float, depth: float, neck: float, nape: float, bow: float
) -> tuple[float, float]:
    """Paint the neck and return where the head sits on it."""
    root = (0.34, leg + 0.66 * depth)
    x, y = root[0] + 0.08 + cos(bow) * neck, root[1] + sin(bow) * neck
    bend = 0.04 if bow > 0 else -0.02
    middle = (root[0] + 0.06 + cos(bow) * neck * 0.5, root[1] + sin(bow) * neck * 0.5 + bend)
    tip = nape * (0.62 if kind in ("cow", "horse", "sheep") else 0.85)
    points = [(root[0] - 0.06, root[1] - 0.04, nape * 1.02), (*middle, (nape + tip) / 2), (x, y, tip)]
    figure.limb(points, coat.base, 0.8)
    return x, y


def _mane(figure: Figure, coat: Coat, joint: tuple[float, float], leg: float, depth: float, rng: Generator) -> None:
    start = np.array((joint[0] - 0.04, joint[1] + 0.08))
    end = np.array((0.2, leg + 1.0 * depth))
    along = end - start
    side = np.array((-along[1], along[0]))
    side = side / np.hypot(*side) * (-1 if side[1] > 0 else 1)
    crest = [start + along * t - side * 0.055 * sin(pi * t) for t in (0, 0.25, 0.5, 0.75, 1.0)]
    locks = []
    for k in range(9):
        t = 1 - k / 8
        deep = (0.13 if k % 2 else 0.085) * (0.6 + 0.5 * sin(pi * min(t + 0.15, 1))) * rng.uniform(0.85, 1.15)
        locks.append(start + along * t + side * deep + (0.02, -0.02))
    figure.blob(np.array(crest + locks), coat.hair, 0.6, 0.25)


def _tail(figure: Figure, kind: str, coat: Coat, leg: float, depth: float, rng: Generator) -> None:
    x, y = -0.46, leg + 0.84 * depth
    swing = float(rng.uniform(-0.04, 0.14))
    if kind == "horse":
        low = y - rng.uniform(0.42, 0.58)
        lock = [
            (x + 0.04, y + 0.05),
            (x - 0.1, y + 0.02),
            (x - 0.17 - swing, y - 0.2),
            (x - 0.14 - swing * 1.5, low),
            (x - 0.06 - swing, low + 0.08),
            (x - 0.02, y - 0.18),
        ]
        figure.blob(lock, coat.hair, 0.8, 0.25)
    elif kind in ("cow", "elephant"):
        low = y - (0.5 if kind == "cow" else 0.38) * depth / 0.48
        width = 0.026 if kind == "cow" else 0.034
        figure.limb(
            [
                (x + 0.03, y, width * 1.3),
                (x - 0.07 - swing * 0.4, y - 0.08, width),
                (x - 0.08 - swing, low, width * 0.7),
            ],
            shade(coat.base, 0.85),
            0.5,
        )
        figure.oval(x - 0.085 - swing * 1.1, low - 0.04, 0.035, 0.08, coat.hair, 0.4, 0.0, -0.15)
    elif kind == "sheep":
        figure.add(lobed(x - 0.02, y - 0.08, 0.07, 0.13, 7, 0.25), shade(coat.base, 0.92), 0.7, 0.2)
    else:
        figure.oval(x - 0.02, y - 0.02, 0.06, 0.055, shade(coat.base, 0.9), 0.5)


def _on_body(back: Points, belly: Points, u: Points, v: Points) -> Points:
    """Places on the trunk: `u` 0…1 from rump to chest, `v` 0…1 from belly to back; outside values are clipped to the
    outline."""
    at = np.clip(u, 0, 1) * (len(back) - 1)
    k = np.minimum(at.astype(int), len(back) - 2)
    t = (at - k)[:, None]
    up, down = back[k] + (back[k + 1] - back[k]) * t, belly[k] + (belly[k + 1] - belly[k]) * t
    places: Points = down + (up - down) * np.clip(v, 0, 1)[:, None]
    return places


def _spots(figure: Figure, coat: Coat, back: Points, belly: Points, rng: Generator) -> None:
    """Two to four large patches that follow the trunk's outline."""
    angles = np.linspace(0, 2 * pi, 40, endpoint=False)
    for k in range(int(rng.integers(2, 5))):
        wobble = 1 + 0.18 * np.sin(angles * 2 + rng.uniform(0, 6)) + 0.14 * np.sin(angles * 3 + rng.uniform(0, 6))
        u, v = (k + rng.uniform(0.1, 0.9)) / 3.5, rng.uniform(0.35, 1.0)
        spot = _on_body(
            back,
            belly,
            u + rng.uniform(0.1, 0.2) * wobble * np.cos(angles),
            v + rng.uniform(0.25, 0.5) * wobble * np.sin(angles),
        )
        figure.add(spot, coat.spots or coat.base)


def _curls(figure: Figure, coat: Coat, back: Points, belly: Points, rng: Generator) -> None:
    """Rows of small arcs on a fleece."""
    dark, light = shade(coat.base, 0.86), shade(coat.base, 1.08)
    columns, rows = np.meshgrid(np.linspace(0.1, 0.9, 8), np.linspace(0.2, 0.9, 4))
    u = columns.ravel() + rng.uniform(-0.03, 0.03, 32) + 0.05 * (np.arange(32) // 8 % 2)
    places = _on_body(back, belly, u, rows.ravel() + rng.uniform(-0.05, 0.05, 32))
    for place in places:
        figure.add(_ARC + place, dark)
        figure.add(_ARC * (0.8, 0.6) + (place + (0, 0.012)), light)


_ARC = np.array(
    [(0.042 * cos(a), 0.036 * sin(a)) for a in np.linspace(pi * 1.05, pi * 1.95, 7)]
    + [(0.034 * cos(a), 0.022 * sin(a)) for a in np.linspace(pi * 1.95, pi * 1.05, 7)]
)
