"""A figure as painted parts, and the canvas it is stamped on: anti-aliased, softly lit from above, with an owner for every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

from recam.data.drawing.curves import Points, ellipse, limb, smooth
from recam.data.drawing.noise import patch

Colour = tuple[float, float, float]
"""RGB, 0…255."""
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels or in parts of the picture, y downwards."""

_NEUTRAL = 128  # of the light map: the colour as it is


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """The colour at `t` (0…1) of the way from `a` to `b`."""
    return (a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t)


def shade(colour: Colour, factor: float) -> Colour:
    """A darker (`factor` < 1) or lighter version of a colour."""
    return (min(colour[0] * factor, 255.0), min(colour[1] * factor, 255.0), min(colour[2] * factor, 255.0))


@dataclass(frozen=True)
class Part:
    """One painted shape. `lights` are (outline, light −1…1) drawn into the light map, which is blurred afterwards."""

    points: Points
    colour: Colour
    lights: tuple[tuple[Points, float], ...]
    ink: float


@dataclass
class Figure:
    """Parts from back to front, looking to the right, standing on y = 0; the unit is free."""

    parts: list[Part] = field(default_factory=list)

    def add(self, points: Points, colour: Colour, relief: float = 0.0, ink: float = 0.0) -> None:
        """Paint an outline; `relief` rounds it (dark rim, light top), `ink` (0…1) draws its edge in a darker tone."""
        lights: tuple[tuple[Points, float], ...] = ()
        if relief:
            middle = points.mean(0)
            rise = (0.0, 0.1 * (points[:, 1].max() - points[:, 1].min()))
            inner = (points - middle) * 0.78 + middle + rise
            top = (points - middle) * 0.42 + middle + rise + rise
            lights = ((points, -0.3 * relief), (inner, 0.02), (top, 0.2 * relief))
        self.parts.append(Part(points, colour, lights, ink))

    def blob(self, points: ArrayLike, colour: Colour, relief: float = 0.0, ink: float = 0.0) -> None:
        """Paint the smooth closed shape through `points`."""
        self.add(smooth(points), colour, relief, ink)

    def oval(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, turn: float = 0.0, relief: float = 0.0, ink: float = 0.0
    ) -> None:
        """Paint an ellipse."""
        self.add(ellipse(x, y, rx, ry, turn), colour, relief, ink)

    def limb(self, points: ArrayLike, colour: Colour, relief: float = 0.0, ink: float = 0.0) -> None:
        """Paint a tapering limb, see `curves.limb`."""
        p = np.asarray(points, np.float64)
        outline = limb(p)
        lights: tuple[tuple[Points, float], ...] = ()
        if relief:
            core = p.copy()
            core[:, 1] += 0.3 * p[:, 2]
            core[:, 0] -= 0.2 * p[:, 2]
            core[:, 2] *= 0.5
            lights = ((outline, -0.22 * relief), (limb(core, 3), 0.12 * relief))
        self.parts.append(Part(outline, colour, lights, ink))

    def eye(self, x: float, y: float, r: float) -> None:
        """A dark eye with a glint."""
        self.oval(x, y, r, r * 1.08, (28, 20, 18))
        self.oval(x - r * 0.28, y + r * 0.36, r * 0.34, r * 0.34, (250, 250, 245))

    def extent(self) -> Box:
        """Smallest and largest x and y of all parts: (x0, y0, x1, y1), y upwards."""
        low = np.min([p.points.min(0) for p in self.parts], 0)
        high = np.max([p.points.max(0) for p in self.parts], 0)
        return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


class Canvas:
    """The picture while it is painted.

    Attributes:
        rgb: (size, size, 3) float32, 0…255.
        owner: (size, size) int16, the number of the object that a pixel shows, 0 for none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.rgb: NDArray[np.float32] = np.zeros((size, size, 3), np.float32)
        self.owner: NDArray[np.int16] = np.zeros((size, size), np.int16)

    def stamp(self, figure: Figure, box: Box, owner: int = 0, *, flip: bool = False, grain: float = 0.03, tint: Colour = (1, 1, 1)) -> None:
        """Paint a figure as large as fits into `box` (parts of the picture), standing on its lower edge, and give its pixels to `owner`.

        Args:
            flip: look to the left.
            grain: strength of the surface's texture, 0…1.
            tint: factors for red, green and blue, e.g. the haze of the distance.
        """
        left, top, right, bottom = (v * self.size for v in box)
        x0, y0, x1, y1 = figure.extent()
        scale = min((right - left) / (x1 - x0), (bottom - top) / (y1 - y0))
        width, height = (x1 - x0) * scale, (y1 - y0) * scale
        start = (left + right - width) / 2
        px, py = int(np.floor(start)) - 1, int(np.floor(bottom - height)) - 1
        w, h = int(np.ceil(width)) + 3, int(np.ceil(height)) + 3
        sign = -scale if flip else scale
        origin = np.array([start - px - (x1 * sign if flip else x0 * sign), bottom - py + y0 * scale])
        cx0, cy0, cx1, cy1 = max(px, 0), max(py, 0), min(px + w, self.size), min(py + h, self.size)
        if cx0 >= cx1 or cy0 >= cy1:
            return
        factor = 3 if h * w > 4000 else 4
        paint, light = _paint(figure.parts, (w, h), np.array([sign, -scale]), origin, factor)
        inside = (slice(cy0 - py, cy1 - py), slice(cx0 - px, cx1 - px))
        place = (slice(cy0, cy1), slice(cx0, cx1))
        colours, lit = paint[inside], light[inside].astype(np.float32)
        lit *= 1 / _NEUTRAL
        if grain:
            lit *= 1 + grain * patch("coat", *lit.shape)
        alpha = colours[..., 3:].astype(np.float32)
        alpha *= -1 / 255
        alpha += 1
        target = self.rgb[place]
        target *= alpha
        target += colours[..., :3] * (lit[..., None] * np.array(tint, np.float32))
        self.owner[place][colours[..., 3] >= 128] = owner

    def shadow(self, box: Box, strength: float) -> None:
        """Darken a soft ellipse that fills `box` (parts of the picture)."""
        x0, y0, x1, y1 = (v * self.size for v in box)
        blur = max((y1 - y0) * 0.3, 1.0)
        px, py = int(np.floor(x0 - blur)), int(np.floor(y0 - blur))
        w, h = int(np.ceil(x1 + blur)) - px, int(np.ceil(y1 + blur)) - py
        cx0, cy0, cx1, cy1 = max(px, 0), max(py, 0), min(px + w, self.size), min(py + h, self.size)
        if cx0 >= cx1 or cy0 >= cy1:
            return
        cover = Image.new("L", (w, h))
        ImageDraw.Draw(cover).ellipse((x0 - px, y0 - py, x1 - px, y1 - py), fill=int(255 * strength))
        dark = np.asarray(cover.filter(ImageFilter.BoxBlur(blur)))[cy0 - py : cy1 - py, cx0 - px : cx1 - px, None]
        self.rgb[cy0:cy1, cx0:cx1] *= 1 - dark.astype(np.float32) * np.array([1.0, 0.95, 0.8], np.float32) / 255


def _paint(
    parts: Sequence[Part], size: tuple[int, int], scale: Points, origin: Points, factor: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Rasterise: (h, w, 4) colours times coverage, and coverage; (h, w) light, `_NEUTRAL` where the colour stays as it is."""
    w, h = size
    # RGBX, not RGBA: reducing it averages the four bands as they are, which is the premultiplied colour that blending needs.
    fine = Image.new("RGBX", (w * factor, h * factor), (0, 0, 0, 0))
    lights = Image.new("L", (w, h), _NEUTRAL)
    draw, draw_light = ImageDraw.Draw(fine), ImageDraw.Draw(lights)
    for part in parts:
        place = ((part.points * scale + origin) * factor).ravel().tolist()
        r, g, b = (min(max(int(c), 0), 255) for c in part.colour)
        draw.polygon(place, fill=(r, g, b, 255))
        if part.ink:
            k = 1 - 0.55 * part.ink
            draw.line(place + place[:2], fill=(int(r * k), int(g * k), int(b * k), 255), width=max(1, round(factor * h / 110)))
        for outline, light in part.lights:
            draw_light.polygon((outline * scale + origin).ravel().tolist(), fill=int(_NEUTRAL * (1 + light)))
    lights = lights.filter(ImageFilter.BoxBlur(max(h * 0.025, 0.6))).filter(ImageFilter.BoxBlur(max(h * 0.02, 0.6)))
    return np.asarray(fine.reduce(factor)), np.asarray(lights)
