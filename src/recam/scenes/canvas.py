"""The picture while it is painted: figures are stamped on it, anti-aliased and lit, and every pixel knows the object it
shows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from recam.scenes.curves import CAPS, Points
from recam.scenes.figure import Box, Colour, Figure, Part
from recam.scenes.noise import patch

_NEUTRAL = 128
"""The value of a light map that leaves a colour as it is."""

_TOO_SMALL = 4.0
"""Height in pixels below which a part is left unlit: the light's blur would swallow it."""

_MIDTONE = 0.6
"""Parts with less relief are lit in two steps, the others in three."""


class Canvas:
    """A square picture in planes, which numpy blends several times faster than pixels of three.

    Attributes:
        rgb: (3, size, size) float32, 0…255.
        owner: (size, size) int16, the number of the object that a pixel shows, 0 for none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.rgb: NDArray[np.float32] = np.zeros((3, size, size), np.float32)
        self.owner: NDArray[np.int16] = np.zeros((size, size), np.int16)

    def stamp(
        self,
        figure: Figure,
        box: Box,
        owner: int = 0,
        *,
        flip: bool = False,
        grain: float = 0.03,
        tint: Colour = (1, 1, 1),
        fine: int = 3,
    ) -> None:
        """Paint a figure as large as fits into `box` (parts of the picture), standing on its lower edge, and give its
        pixels to `owner`.

        Args:
            flip: look to the left.
            grain: strength of the surface's texture, 0…1.
            tint: factors for red, green and blue, e.g. the haze of the distance.
            fine: sub-pixels a side for anti-aliasing.
        """
        left, top, right, bottom = (v * self.size for v in box)
        outlines = figure.outlines()
        (x0, y0), (x1, y1) = outlines.min(0).tolist(), outlines.max(0).tolist()
        scale = min((right - left) / (x1 - x0), (bottom - top) / (y1 - y0))
        width, height = (x1 - x0) * scale, (y1 - y0) * scale
        start = (left + right - width) / 2
        px, py = int(start // 1) - 1, int((bottom - height) // 1) - 1
        w, h = int(width) + 4, int(height) + 4
        place, inside = self._overlap(px, py, w, h)
        if place is None:
            return
        sign = -scale if flip else scale
        outlines *= (sign, -scale)
        outlines += (start - px - (x1 if flip else x0) * sign, bottom - py + y0 * scale)
        paint, light = _rasterise(figure.parts, outlines, (w, h), fine, tint)
        lit = light[inside].astype(np.float32)
        lit *= 1 / _NEUTRAL
        if grain:
            lit *= 1 + grain * patch("coat", *lit.shape)
        planes = np.ascontiguousarray(paint[inside].transpose(2, 0, 1)).astype(np.float32)
        planes[:3] *= lit
        target = self.rgb[:, *place]
        target *= 1 - planes[3] * (1 / 255)
        target += planes[:3]
        self.owner[place][planes[3] >= 128] = owner

    def shadow(self, box: Box, strength: float) -> None:
        """Darken a soft ellipse that fills `box` (parts of the picture)."""
        x0, y0, x1, y1 = (v * self.size for v in box)
        place, _ = self._overlap(int(x0), int(y0), int(x1) - int(x0) + 1, int(y1) - int(y0) + 1)
        if place is None:
            return
        rows, columns = place
        x = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - (x0 + x1) / 2) * (2 / (x1 - x0))
        y = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5 - (y0 + y1) / 2) * (2 / (y1 - y0))
        away = x * x + (y * y)[:, None]
        dark = np.clip(1.15 - away * 1.15, 0, 1) * np.float32(strength)
        self.rgb[:, rows, columns] *= 1 - dark * np.array([1.0, 0.95, 0.8], np.float32)[:, None, None]

    def _overlap(self, px: int, py: int, w: int, h: int) -> tuple[tuple[slice, slice] | None, tuple[slice, slice]]:
        """Where a patch of (h, w) at (px, py) lies on the canvas, or None, and which part of the patch that is."""
        x0, y0, x1, y1 = max(px, 0), max(py, 0), min(px + w, self.size), min(py + h, self.size)
        place = (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None
        return place, (slice(y0 - py, y1 - py), slice(x0 - px, x1 - px))


def _rasterise(
    parts: Sequence[Part], outlines: Points, size: tuple[int, int], fine: int, tint: Colour
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw parts whose outlines lie one after the other: (h, w, 4) colour times coverage, and coverage; (h, w) light
    around `_NEUTRAL`."""
    w, h = size
    # RGBX, not RGBA: reducing it averages the four bands as they are, which is the premultiplied colour that blending
    # needs.
    paint = Image.new("RGBX", (w * fine, h * fine), (0, 0, 0, 0))
    light = Image.new("L", (w, h), _NEUTRAL)
    draw, draw_light = ImageDraw.Draw(paint), ImageDraw.Draw(light)
    counts = [len(p.points) for p in parts]
    inner, top, lit = _lit_from_above(parts, outlines, counts)
    enlarged, rims = (outlines * fine).ravel().tolist(), outlines.ravel().tolist()
    colours = np.clip(np.array([p.colour for p in parts]) * tint, 0, 255).astype(np.int64).tolist()
    pen = max(1, round(fine * h / 110))
    start = 0
    for part, count, (r, g, b), is_lit in zip(parts, counts, colours, lit, strict=True):
        end = start + 2 * count
        place = enlarged[start:end]
        draw.polygon(place, (r, g, b, 255))
        if part.ink:
            k = 1 - 0.55 * part.ink
            draw.line(place + place[:2], (int(r * k), int(g * k), int(b * k), 255), pen)
        if is_lit:
            rim, glow = (-0.22, 0.12) if part.is_limb else (-0.3, 0.2)
            draw_light.polygon(rims[start:end], int(_NEUTRAL * (1 + rim * part.relief)))
            if part.relief >= _MIDTONE and not part.is_limb:
                draw_light.polygon(inner[start:end], _NEUTRAL + 2)
            draw_light.polygon(top[start:end], int(_NEUTRAL * (1 + glow * part.relief)))
        start = end
    return np.asarray(paint.reduce(fine)), np.asarray(light.filter(ImageFilter.BoxBlur(max(h * 0.03, 0.8))))


def _lit_from_above(
    parts: Sequence[Part], outlines: Points, counts: Sequence[int]
) -> tuple[list[float], list[float], list[bool]]:
    """The outlines of the middle tone and of the light of all parts: shrunk and moved up, limbs towards their middle
    line.

    The third list marks which parts are lit at all.
    """
    sizes = np.array(counts, np.int64)
    starts: NDArray[np.int64] = np.cumsum(sizes) - sizes
    y = outlines[:, 1]
    each = np.empty((len(parts), 4))
    each[:, :2] = np.add.reduceat(outlines, starts) / sizes[:, None]
    tall = np.maximum.reduceat(y, starts) - np.minimum.reduceat(y, starts)
    each[:, 2] = 0.1 * tall
    each[:, 3] = [0.5 if p.is_limb else 0.42 for p in parts]
    spread = each.repeat(counts, 0)
    anchors, rise, shrink = spread[:, :2], spread[:, 2], spread[:, 3:]
    limbs = [(s, n) for s, n, p in zip(starts.tolist(), counts, parts, strict=True) if p.is_limb and p.relief]
    if limbs:
        here = np.concatenate([np.arange(s, s + n) for s, n in limbs])
        there = np.concatenate([_opposite(n) + s for s, n in limbs])
        mine, across = outlines[here], outlines[there]
        anchors[here] = (mine + across) / 2
        rise[here] = np.abs(mine - across).sum(1) * 0.07
    out = outlines - anchors
    inner = out * 0.78 + anchors
    top = out * shrink + anchors
    inner[:, 1] -= rise
    top[:, 1] -= 2 * rise
    lit = [bool(p.relief) and t > _TOO_SMALL for p, t in zip(parts, tall.tolist(), strict=True)]
    return inner.ravel().tolist(), top.ravel().tolist(), lit


@lru_cache(maxsize=64)
def _opposite(count: int) -> NDArray[np.int64]:
    """For each point of a limb's outline of `count` points, the point across its middle line."""
    return (count - CAPS - 1 - np.arange(count)) % count
