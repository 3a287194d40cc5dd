"""A figure as painted parts: outlines with a colour, rounded by soft light from above."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from recam.scenes.curves import Points, ellipse, limb, smooth

Colour = tuple[float, float, float]
"""RGB, 0…255."""
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in parts of the picture, y downwards."""


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """The colour at `t` (0…1) of the way from `a` to `b`."""
    return (a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t)


def shade(colour: Colour, factor: float) -> Colour:
    """A darker (`factor` < 1) or lighter version of a colour."""
    return (min(colour[0] * factor, 255.0), min(colour[1] * factor, 255.0), min(colour[2] * factor, 255.0))


@dataclass(frozen=True)
class Part:
    """One painted shape.

    Attributes:
        points: its outline.
        colour: its flat colour.
        relief: how much light and shade round it, 0 for none.
        ink: 0…1, how dark its edge is drawn.
        is_limb: the outline came from `curves.limb`, so light runs along its middle.
    """

    points: Points
    colour: Colour
    relief: float
    ink: float
    is_limb: bool


@dataclass
class Figure:
    """Parts from back to front, looking to the right, standing on y = 0; the unit is free."""

    parts: list[Part] = field(default_factory=list)

    def add(self, points: Points, colour: Colour, relief: float = 0.0, ink: float = 0.0) -> None:
        """Paint an outline; `relief` rounds it (dark rim, light top), `ink` (0…1) draws its edge in a darker tone."""
        self.parts.append(Part(points, colour, relief, ink, False))

    def blob(self, points: ArrayLike, colour: Colour, relief: float = 0.0, ink: float = 0.0) -> None:
        """Paint the smooth closed shape through `points`."""
        self.parts.append(Part(smooth(points), colour, relief, ink, False))

    def oval(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        colour: Colour,
        relief: float = 0.0,
        ink: float = 0.0,
        turn: float = 0.0,
    ) -> None:
        """Paint an ellipse, turned by `turn` radians."""
        self.parts.append(Part(ellipse(x, y, rx, ry, turn), colour, relief, ink, False))

    def limb(self, points: ArrayLike, colour: Colour, relief: float = 0.0, ink: float = 0.0) -> None:
        """Paint a tapering limb, see `curves.limb`."""
        self.parts.append(Part(limb(points), colour, relief, ink, True))

    def eye(self, x: float, y: float, r: float) -> None:
        """A dark eye with a glint."""
        self.add(ellipse(x, y, r, r * 1.08, n=12), (28, 20, 18))
        self.add(ellipse(x - r * 0.28, y + r * 0.36, r * 0.34, r * 0.34, n=8), (250, 250, 245))

    def outlines(self) -> Points:
        """The points of all parts, one after the other."""
        return np.concatenate([p.points for p in self.parts])
