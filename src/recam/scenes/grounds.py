"""Sky, hills and the textured ground with its water, track or road, at the picture's own size."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from recam.scenes.canvas import Canvas
from recam.scenes.curves import box
from recam.scenes.figure import Colour, Figure, mix, shade
from recam.scenes.noise import TILE, patch, texture
from recam.scenes.plan import Scene
from recam.scenes.props import LEAVES, cloud

_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((112, 168, 216), (214, 232, 238)),
    ((140, 186, 214), (244, 232, 206)),
    ((168, 184, 198), (226, 228, 226)),
    ((150, 158, 200), (250, 214, 188)),
    ((96, 156, 196), (188, 222, 226)),
)
"""Above and at the horizon."""

_SOILS: dict[str, tuple[tuple[Colour, Colour], ...]] = {
    "grass": (((158, 186, 110), (104, 150, 74)), ((174, 190, 122), (122, 156, 82)), ((136, 178, 122), (84, 136, 80))),
    "dry": (((222, 202, 138), (190, 158, 92)), ((206, 194, 132), (168, 152, 88))),
    "autumn": (((206, 176, 112), (168, 122, 70)), ((186, 172, 104), (146, 122, 66))),
    "snow": (((226, 234, 240), (240, 244, 248)), ((214, 224, 236), (234, 238, 244))),
    "sand": (((236, 218, 174), (222, 194, 142)), ((228, 210, 176), (206, 180, 138))),
}
"""At the horizon and in front."""

_TEXTURES = {
    "grass": ("grass", 0.085),
    "dry": ("grass", 0.07),
    "autumn": ("soil", 0.07),
    "snow": ("snow", 0.02),
    "sand": ("soil", 0.035),
}
_TUFT = np.array([(-0.5, 0), (-0.8, 0.8), (-0.25, 0.15), (-0.1, 1.3), (0.15, 0.15), (0.7, 0.9), (0.45, 0)])
_BLOOM = np.array([(-0.5, 0), (-0.3, 0.45), (0.1, 0.5), (0.45, 0.3), (0.5, -0.1), (0.1, -0.3), (-0.35, -0.25)])
_STONE = np.array([(-0.7, 0), (-0.5, 0.35), (0.1, 0.45), (0.6, 0.25), (0.7, 0)])

Plane = NDArray[np.float32]


def paint_ground(canvas: Canvas, scene: Scene, rng: Generator) -> None:
    """Paint everything that lies behind the things of a scene."""
    size = canvas.size
    sky = _SKIES[int(rng.integers(len(_SKIES)))]
    _paint_sky(canvas, sky, scene.horizon, rng)
    far, near = _SOILS[scene.ground][int(rng.integers(len(_SOILS[scene.ground])))]
    _paint_hills(canvas, scene, sky[1], far, rng)
    first = round(scene.horizon * size)
    name, strength = _TEXTURES[scene.ground]
    shift = int(rng.integers(TILE))
    relief = _laid_out(name, size, first, shift)
    relief *= strength
    relief += 1
    np.multiply(_slope(far, near, size - first), relief, out=canvas.rgb[:, first:])
    if scene.setting == "lake":
        _paint_water(canvas, scene, sky, shade(near, 0.82), shift, rng)
    elif scene.setting == "road":
        _paint_road(canvas, scene, shift)
    elif scene.setting == "rails":
        _lay_track(canvas, *scene.band, float(rng.random()))
    _scatter(canvas, scene, near, rng)


def finish(canvas: Canvas, rng: Generator) -> NDArray[np.uint8]:
    """The (size, size, 3) picture as uint8 RGB, in the light of some hour and on slightly rough paper."""
    warm = float(rng.normal(0, 0.025))
    light = float(rng.uniform(0.95, 1.05))
    paper = patch("paper", canvas.size, canvas.size) * np.float32(0.014) + np.float32(light)
    picture = canvas.rgb
    picture *= paper
    picture *= _column((1 + warm, 1, 1 - warm))
    np.clip(picture, 0, 255, out=picture)
    pixels = np.empty((canvas.size, canvas.size, 3), np.uint8)
    for channel in range(3):
        pixels[..., channel] = picture[channel]
    return pixels


def _column(colour: Colour) -> Plane:
    """(3, 1, 1) float32."""
    return np.array(colour, np.float32)[:, None, None]


def _slope(above: Colour, below: Colour, rows: int, bend: float = 1.0) -> Plane:
    """(3, rows, 1): a gradient from `above` to `below`."""
    t = np.linspace(0, 1, rows, dtype=np.float32)[:, None] ** np.float32(bend)
    return _column(above) * (1 - t) + _column(below) * t


def _blend(target: Plane, colour: Plane, cover: Plane) -> None:
    change = colour - target
    change *= cover
    target += change


def _laid_out(name: str, size: int, first: int, shift: int) -> Plane:
    """A texture on the ground below row `first`: (size − first, size), finer and flatter towards the horizon."""
    strength = np.minimum(np.linspace(0.35, 1.35, size - first, dtype=np.float32), 1)[:, None]
    laid: Plane = texture(name).ravel().take(_perspective(size, first) + shift * (TILE + 1), mode="wrap")
    laid *= strength
    return laid


@lru_cache(maxsize=64)
def _perspective(size: int, first: int) -> NDArray[np.int32]:
    """(size − first, size): which texel, counted row by row, lies at each pixel of the ground below row `first`."""
    y = (np.arange(size - first) + 0.5) / (size - first)
    distance = 1 / (0.22 + y)
    across = (np.arange(size) - size / 2) / size
    columns = (across * (distance[:, None] * 190)).astype(np.int32) & (TILE - 1)
    rows = (distance * 150).astype(np.int32) % TILE
    return rows[:, None] * TILE + columns


def _paint_sky(canvas: Canvas, sky: tuple[Colour, Colour], horizon: float, rng: Generator) -> None:
    size = canvas.size
    n = round(horizon * size) + 1
    above = canvas.rgb[:, :n]
    above[:] = _slope(*sky, n, 0.8)
    cover = float(rng.uniform(-0.9, 0.5))
    rows = (np.arange(n) * (2.2 * 224 / size) + rng.integers(TILE)).astype(np.intp) % TILE
    columns = (np.arange(size) * (0.9 * 224 / size) + rng.integers(TILE)).astype(np.intp) % TILE
    haze = texture("cloud").ravel().take((rows * TILE)[:, None] + columns, mode="wrap")
    haze *= 0.3
    haze += cover * 0.35
    _blend(above, _column((252, 251, 248)), np.clip(haze, 0, 0.6, out=haze))
    if rng.random() < 0.25:
        sun = Figure()
        sun.oval(0, 0, 1, 1, (255, 244, 204))
        x, y = float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.06, 0.18))
        canvas.stamp(sun, (x - 0.045, y - 0.045, x + 0.045, y + 0.045), grain=0.0)
    for _ in range(int(rng.integers(0, 4))):
        wide = float(rng.uniform(0.16, 0.34))
        x, y = float(rng.uniform(-0.1, 0.95)), float(rng.uniform(0.08, max(horizon - 0.08, 0.1)))
        canvas.stamp(cloud(rng), (x, y - wide * 0.5, x + wide, y), grain=0.0, fine=2)


def _paint_hills(canvas: Canvas, scene: Scene, haze: Colour, far: Colour, rng: Generator) -> None:
    """One to three ranges of hills or woods, bluer with distance."""
    size = canvas.size
    bottom = round(scene.horizon * size) + 2
    x = np.arange(size, dtype=np.float32) / size
    y = np.arange(bottom, dtype=np.float32)[:, None]
    layers = int(rng.integers(1, 4))
    for k in range(layers):
        tall = float(rng.uniform(0.03, 0.13)) * (layers - k) / layers + 0.012
        wave = np.zeros_like(x)
        for low, high in ((2.0, 5.0), (6.0, 10.0), (14.0, 20.0)):
            beat = np.float32(rng.uniform(low, high))
            wave += np.sin(x * beat + np.float32(rng.uniform(0, 6.3))) / beat
        line = (scene.horizon - tall * (0.75 + 1.1 * wave)) * size
        leaf = mix(LEAVES[scene.ground][int(rng.integers(3))], far, 0.3)
        colour = mix(leaf, mix(haze, (150, 176, 200), 0.5), 0.75 - 0.5 * (k + 1) / layers)
        if k == layers - 1 and rng.random() < 0.5:
            crowns = np.abs(texture("soil")[int(rng.integers(TILE)), (np.arange(size) * 224 // size) % TILE])
            line -= size * 0.016 * crowns
            colour = shade(colour, 0.88)
        top = max(int(line.min()) - 1, 0)
        _blend(canvas.rgb[:, top:bottom], _column(colour), np.clip(y[top:] - line + 0.5, 0, 1))


def _band_cover(canvas: Canvas, band: tuple[float, float], wobble: float, shift: int, rows: slice) -> Plane:
    """(rows, size) 0…1: how much a pixel lies between the two edges, which waver by `wobble` parts of the picture."""
    size = canvas.size
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    line = texture("cloud")[shift, (np.arange(size) * 224 // size + shift) % TILE] * np.float32(wobble * size)
    upper, lower = np.float32(band[0] * size) + line * np.float32(0.25), np.float32(band[1] * size) + line
    cover: Plane = np.clip(np.minimum(y - upper, lower - y) + np.float32(0.5), 0, 1)
    return cover


def _rows(canvas: Canvas, y0: float, y1: float) -> slice:
    return slice(max(int(y0 * canvas.size), 0), min(int(y1 * canvas.size) + 1, canvas.size))


def _paint_water(
    canvas: Canvas, scene: Scene, sky: tuple[Colour, Colour], shore: Colour, shift: int, rng: Generator
) -> None:
    top, bottom = scene.band
    wet: Colour = ((84, 142, 172), (98, 156, 166), (88, 126, 166), (112, 150, 160))[int(rng.integers(4))]
    rows = _rows(canvas, max(top - 0.03, scene.horizon), bottom + 0.08)
    _blend(canvas.rgb[:, rows], _column(shore), _band_cover(canvas, (top - 0.005, bottom + 0.012), 0.01, shift, rows))
    first = int(scene.horizon * canvas.size)
    ripples = _laid_out("water", canvas.size, first, shift)[rows.start - first : rows.stop - first]
    gleam = 1 + 0.05 * ripples + 0.25 * np.clip(ripples - 1.3, 0, 0.6)
    colour = _slope(mix(wet, sky[1], 0.5), wet, rows.stop - rows.start) * gleam
    _blend(canvas.rgb[:, rows], colour, _band_cover(canvas, scene.band, 0.01, shift, rows))


def _paint_road(canvas: Canvas, scene: Scene, shift: int) -> None:
    top, bottom = scene.band
    rows = _rows(canvas, top - 0.03, bottom + 0.03)
    grit = 1 + 0.035 * patch("paper", rows.stop - rows.start, canvas.size)
    edges: tuple[tuple[float, Colour], ...] = ((0.008, (176, 166, 146)), (0.0, (122, 120, 122)))
    for grow, colour in edges:
        _blend(
            canvas.rgb[:, rows],
            _column(colour) * grit,
            _band_cover(canvas, (top - grow, bottom + grow), 0.002, shift, rows),
        )
    dashed = (np.arange(canvas.size) * 224 // canvas.size + shift) % 40 < 22
    line = _rows(canvas, (top + bottom) / 2 - 0.004, (top + bottom) / 2 + 0.004)
    _blend(canvas.rgb[:, line], _column((228, 224, 212)), dashed.astype(np.float32) * np.float32(0.75))


def _lay_track(canvas: Canvas, top: float, bottom: float, shift: float) -> None:
    """Ballast, sleepers and two rails from edge to edge."""
    figure = Figure()
    wide, low, high = bottom - top, -bottom - 0.012, -top + 0.008
    figure.add(box(0, low, 1, high), (141, 132, 124))
    figure.add(box(0, -bottom, 1, -top), (164, 154, 144))
    for k in range(15):
        x = (k + shift) / 15
        if x < 0.97:
            lean = (x - 0.5) * 0.012
            feet = [
                (x, -bottom + 0.01),
                (x + 0.026, -bottom + 0.01),
                (x + 0.024 - lean, -top - 0.008),
                (x + 0.003 - lean, -top - 0.008),
            ]
            figure.add(np.array(feet), (112, 88, 70))
    for y in (top + 0.26 * wide, top + 0.68 * wide):
        figure.add(box(0, -y - 0.006, 1, -y + 0.006), (84, 78, 78))
        figure.add(box(0, -y + 0.001, 1, -y + 0.006), (190, 188, 188))
    canvas.stamp(figure, (0.0, -high, 1.0, -low), grain=0.05)


def _scatter(canvas: Canvas, scene: Scene, near: Colour, rng: Generator) -> None:
    """Tufts, flowers, leaves or pebbles all over the ground."""
    size, (top, bottom) = canvas.size, scene.band
    flowers = rng.random() < 0.5
    petals: Colour = ((246, 240, 230), (240, 200, 80), (214, 96, 92), (176, 140, 200))[int(rng.integers(4))]
    grassy, leafy = scene.ground in ("grass", "dry"), scene.ground == "autumn"
    for x, depth, kind, grow in rng.random((44, 4)).tolist():
        y = scene.horizon + 0.03 + (0.97 - scene.horizon) * depth
        if top - 0.02 < y < bottom + 0.03:
            continue
        unit = round((0.25 + 0.75 * depth) * (0.7 + 0.6 * grow) * 0.02 * size * 2)
        if grassy and (kind < 0.6 or not flowers):
            shape, colour = "tuft", shade(near, 0.84 if kind < 0.4 else 1.14)
        elif grassy or leafy:
            shape, colour = "bloom", LEAVES["autumn"][int(kind * 3)] if leafy else petals
        else:
            shape, colour = "stone", shade(near, 0.88 if kind < 0.5 else 1.05)
        cover = _speck(shape, max(unit, 2))
        h, w = cover.shape
        x0, y0 = int(x * (size - w)), min(int(y * size), size) - h
        _blend(canvas.rgb[:, y0 : y0 + h, x0 : x0 + w], _column(colour), cover)


@lru_cache(maxsize=256)
def _speck(shape: str, unit: int) -> Plane:
    """(h, w) 0…1: how much of each pixel a small shape covers; `unit` is its size in half pixels."""
    outline = {"tuft": _TUFT, "bloom": _BLOOM * 0.6, "stone": _STONE}[shape] * (unit / 2, -unit / 2)
    low, high = outline.min(0), outline.max(0)
    w, h = (int(v) + 1 for v in high - low)
    fine = Image.new("L", (w * 8, h * 8))
    ImageDraw.Draw(fine).polygon(((outline - (low[0], high[1] - h)) * 8).ravel().tolist(), 255)
    return np.asarray(fine.reduce(8), np.float32) / np.float32(255)
