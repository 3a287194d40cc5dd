"""Coats of the hoofed animals, elephants and bears. Every colour occurs in several kinds, so that it does not give the
kind away."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import Generator

from recam.scenes.figure import Colour, mix, shade

COLOURS: dict[str, Colour] = {
    "brown": (146, 98, 62),
    "chestnut": (168, 92, 50),
    "dark brown": (98, 68, 50),
    "grey": (142, 140, 142),
    "slate": (108, 112, 122),
    "black": (64, 60, 64),
    "white": (234, 229, 220),
    "cream": (222, 200, 162),
    "tan": (194, 154, 106),
}

_WEIGHTS: dict[str, dict[str, float]] = {
    "cow": {"brown": 3, "chestnut": 2, "dark brown": 2, "grey": 2, "black": 2, "white": 3, "cream": 2, "tan": 2},
    "horse": {
        "brown": 3,
        "chestnut": 3,
        "dark brown": 2,
        "grey": 2.5,
        "slate": 1,
        "black": 2,
        "white": 2,
        "cream": 1,
        "tan": 2,
    },
    "sheep": {"white": 4, "cream": 3, "brown": 2, "dark brown": 1.5, "grey": 2.5, "black": 2, "tan": 1},
    "elephant": {"grey": 4, "slate": 3.5, "brown": 1.5, "dark brown": 1, "tan": 1, "black": 0.5},
    "bear": {
        "brown": 4,
        "dark brown": 3,
        "black": 2.5,
        "chestnut": 1.5,
        "grey": 1.5,
        "slate": 1,
        "white": 1.5,
        "tan": 1.5,
    },
}

_SPOTTED = {"cow": 0.5, "horse": 0.22}


@dataclass(frozen=True)
class Coat:
    """The colours of one animal.

    Attributes:
        base: body and legs.
        face: of the head, near `base` or set off from it.
        hair: mane, tuft of the tail, forelock.
        muzzle: around nose and mouth.
        horn: horns, tusks and hooves.
        spots: of large patches on the body, or None.
        socks: of the lower legs, or None.
    """

    base: Colour
    face: Colour
    hair: Colour
    muzzle: Colour
    horn: Colour
    spots: Colour | None
    socks: Colour | None


def make_coat(kind: str, rng: Generator) -> Coat:
    """Draw a coat for an animal of the given kind."""
    weights = _WEIGHTS[kind]
    names = list(weights)
    chances = [weights[n] for n in names]
    total = sum(chances)
    name = names[int(rng.choice(len(names), p=[c / total for c in chances]))]
    warm = float(rng.uniform(-7, 9))
    light = float(rng.uniform(0.9, 1.1))
    r, g, b = shade(COLOURS[name], light)
    base = (min(r + warm, 250.0), g, max(b - warm, 20.0))
    pale = name in ("white", "cream")
    spots = None
    if rng.random() < _SPOTTED.get(kind, 0):
        spots = (
            COLOURS[("black", "brown", "chestnut", "dark brown")[int(rng.integers(4))]] if pale else COLOURS["white"]
        )
    contrast = float(rng.random())
    face = base
    if kind == "sheep" and contrast < 0.75:
        face = (72, 64, 66) if contrast < 0.4 else (226, 208, 184)
    if pale:
        hair = mix(base, (150, 120, 84), contrast * 0.8)
    else:
        hair = shade(base, 0.5) if contrast < 0.7 else mix(base, (235, 220, 180), 0.75)
    muzzle = {
        "cow": (228, 178, 160) if contrast < 0.6 else (92, 78, 76),
        "horse": shade(base, 0.72),
        "bear": mix(base, (226, 190, 140), 0.5),
    }
    horn = (236, 222, 190) if rng.random() < 0.75 else (120, 104, 90)
    socks = COLOURS["white"] if kind == "horse" and not pale and rng.random() < 0.4 else None
    return Coat(base, face, hair, muzzle.get(kind, shade(face, 0.85)), horn, spots, socks)
