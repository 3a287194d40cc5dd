"""Sky, hills and the textured ground with its water, track or road, at the picture's own size."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recam.data.drawing.figure import Canvas, Colour, Figure, mix, shade
from recam.data.drawing.noise import TILE, patch, texture
from recam.data.drawing.plan import Scene
from recam.data.drawing.props import LEAVES, cloud

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

_TEXTURES = {"grass": ("grass", 0.085), "dry": ("grass", 0.07), "autumn": ("soil", 0.07), "snow": ("snow", 0.02), "sand": ("soil", 0.035)}

Rows = NDArray[np.float32]


def paint_ground(canvas: Canvas, scene: Scene, rng: Generator) -> None:
    """Paint everything that lies behind the things of a scene."""
    size = canvas.size
    sky = _SKIES[int(rng.integers(len(_SKIES)))]
    _paint_sky(canvas, sky, scene.horizon, rng)
    far, near = _SOILS[scene.ground][int(rng.integers(len(_SOILS[scene.ground])))]
    _paint_hills(canvas, scene, sky[1], far, rng)
    first = round(scene.horizon * size)
    depth = np.linspace(0, 1, size - first, dtype=np.float32)[:, None, None]
    name, strength = _TEXTURES[scene.ground]
    shift = int(rng.integers(TILE))
    relief = _laid_out(name, size, first, shift)
    canvas.rgb[first:] = (np.array(far, np.float32) * (1 - depth) + np.array(near, np.float32) * depth) * (1 + strength * relief)[..., None]
    if scene.setting == "lake":
        _paint_water(canvas, scene, sky, shade(near, 0.82), shift, rng)
    elif scene.setting == "road":
        _paint_road(canvas, scene, shift)
    _paint_details(canvas, scene, near, rng)


def finish(canvas: Canvas, rng: Generator) -> NDArray[np.uint8]:
    """The picture as uint8 RGB, in the light of some hour and on slightly rough paper."""
    warm = float(rng.normal(0, 0.025))
    light = float(rng.uniform(0.95, 1.05))
    paper = patch("paper", canvas.size, canvas.size) * 0.014 + light
    picture = canvas.rgb * paper[..., None]
    picture *= np.array([1 + warm, 1, 1 - warm], np.float32)
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8)


def _laid_out(name: str, size: int, first: int, shift: int) -> Rows:
    """A texture on the ground below row `first`: (size − first, size), finer and flatter towards the horizon."""
    y = (np.arange(size - first, dtype=np.float32) + 0.5) / (size - first)
    distance = 1 / (0.22 + y)
    rows = (distance * 150 + shift).astype(np.int64) % TILE
    across = (np.arange(size, dtype=np.float32) - size / 2) / size
    columns = (across[None, :] * (distance[:, None] * 190) + shift).astype(np.int64) % TILE
    return texture(name)[rows[:, None], columns] * np.minimum(0.35 + y, 1.0)[:, None].astype(np.float32)


def _paint_sky(canvas: Canvas, sky: tuple[Colour, Colour], horizon: float, rng: Generator) -> None:
    size = canvas.size
    n = round(horizon * size) + 1
    t = (np.linspace(0, 1, n, dtype=np.float32) ** 0.8)[:, None, None]
    canvas.rgb[:n] = np.array(sky[0], np.float32) * (1 - t) + np.array(sky[1], np.float32) * t
    cover = float(rng.uniform(-0.9, 0.5))
    rows = (np.arange(n) * (2.2 * 224 / size) + rng.integers(TILE)).astype(np.int64) % TILE
    columns = (np.arange(size) * (0.9 * 224 / size) + rng.integers(TILE)).astype(np.int64) % TILE
    haze = np.clip(texture("cloud")[rows[:, None], columns] * 0.3 + cover * 0.35, 0, 0.6)[..., None]
    canvas.rgb[:n] += (np.array([252, 251, 248], np.float32) - canvas.rgb[:n]) * haze
    if rng.random() < 0.25:
        _disc(canvas, float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.06, 0.18)), 0.045, (255, 244, 204))
    for _ in range(int(rng.integers(0, 4))):
        wide = float(rng.uniform(0.16, 0.34))
        x, y = float(rng.uniform(-0.1, 0.95)), float(rng.uniform(0.08, max(horizon - 0.08, 0.1)))
        canvas.stamp(cloud(rng), (x, y - wide * 0.5, x + wide, y), grain=0.0, tint=(1.0, 1.0, 1.0))


def _disc(canvas: Canvas, x: float, y: float, r: float, colour: Colour) -> None:
    sun = Figure()
    sun.oval(0, 0, 1, 1, colour)
    canvas.stamp(sun, (x - r, y - r, x + r, y + r), grain=0.0)


def _paint_hills(canvas: Canvas, scene: Scene, haze: Colour, far: Colour, rng: Generator) -> None:
    """One to three ranges of hills or woods, bluer with distance."""
    size = canvas.size
    bottom = round(scene.horizon * size) + 2
    x = np.arange(size, dtype=np.float32) / size
    y = np.arange(bottom, dtype=np.float32)[:, None]
    layers = int(rng.integers(1, 4))
    for k in range(layers):
        tall = float(rng.uniform(0.03, 0.13)) * (layers - k) / layers + 0.012
        wave = sum(np.sin(x * f + rng.uniform(0, 6.3)) / f for f in (rng.uniform(2, 5), rng.uniform(6, 10), rng.uniform(14, 20)))
        line = (scene.horizon - tall * (0.75 + 1.1 * np.asarray(wave, np.float32))) * size
        colour = mix(
            mix(LEAVES[scene.ground][int(rng.integers(3))], far, 0.3), mix(haze, (150, 176, 200), 0.5), 0.75 - 0.5 * (k + 1) / layers
        )
        if k == layers - 1 and rng.random() < 0.5:
            crowns = np.abs(texture("soil")[int(rng.integers(TILE)), (np.arange(size) * 224 // size) % TILE])
            line -= size * 0.016 * crowns
            colour = shade(colour, 0.88)
        top = max(int(line.min()) - 1, 0)
        cover = np.clip(y[top:] - line + 0.5, 0, 1)[..., None]
        canvas.rgb[top:bottom] += (np.array(colour, np.float32) - canvas.rgb[top:bottom]) * cover


def _band_cover(canvas: Canvas, band: tuple[float, float], wobble: float, shift: int, rows: slice) -> Rows:
    """(rows, size) 0…1: how much a pixel lies between the two edges, which waver by `wobble` parts of the picture."""
    size = canvas.size
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    line = texture("cloud")[shift, (np.arange(size) * 224 // size + shift) % TILE] * (wobble * size)
    upper, lower = band[0] * size + line * 0.25, band[1] * size + line
    return np.clip(np.minimum(y - upper, lower - y) + 0.5, 0, 1)


def _rows(canvas: Canvas, y0: float, y1: float) -> slice:
    return slice(max(int(y0 * canvas.size), 0), min(int(y1 * canvas.size) + 1, canvas.size))


def _paint_water(canvas: Canvas, scene: Scene, sky: tuple[Colour, Colour], shore: Colour, shift: int, rng: Generator) -> None:
    top, bottom = scene.band
    wet: Colour = ((84, 142, 172), (98, 156, 166), (88, 126, 166), (112, 150, 160))[int(rng.integers(4))]
    for grow, colours in ((0.012, (shore, shore)), (0.0, (mix(wet, sky[1], 0.5), wet))):
        rows = _rows(canvas, max(top - 0.03, scene.horizon), bottom + 0.08)
        cover = _band_cover(canvas, (top - grow * 0.4, bottom + grow), 0.01, shift, rows)[..., None]
        t = np.linspace(0, 1, rows.stop - rows.start, dtype=np.float32)[:, None, None]
        colour = np.array(colours[0], np.float32) * (1 - t) + np.array(colours[1], np.float32) * t
        if not grow:
            first = int(scene.horizon * canvas.size)
            ripples = _laid_out("water", canvas.size, first, shift)[rows.start - first : rows.stop - first]
            colour = colour * (1 + 0.05 * ripples + 0.25 * np.clip(ripples - 1.3, 0, 0.6))[..., None]
        canvas.rgb[rows] += (colour - canvas.rgb[rows]) * cover


def _paint_road(canvas: Canvas, scene: Scene, shift: int) -> None:
    top, bottom = scene.band
    rows = _rows(canvas, top - 0.03, bottom + 0.03)
    grit = 1 + 0.035 * patch("paper", rows.stop - rows.start, canvas.size)[..., None]
    edges: tuple[tuple[float, Colour], ...] = ((0.008, (176, 166, 146)), (0.0, (122, 120, 122)))
    for grow, colour in edges:
        cover = _band_cover(canvas, (top - grow, bottom + grow), 0.002, shift, rows)[..., None]
        canvas.rgb[rows] += (np.array(colour, np.float32) * grit - canvas.rgb[rows]) * cover
    y, dash = (top + bottom) / 2, (np.arange(canvas.size) * 224 // canvas.size + shift) % 40 < 22
    line = _rows(canvas, y - 0.004, y + 0.004)
    canvas.rgb[line, dash] = canvas.rgb[line, dash] * 0.25 + np.array([228, 224, 212], np.float32) * 0.75


def _paint_details(canvas: Canvas, scene: Scene, near: Colour, rng: Generator) -> None:
    """Tufts, flowers and pebbles all over the ground, and the track, in one drawing."""
    figure = Figure()
    frame = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, -1.0), (0.0, -1.0)])
    top, bottom = scene.band
    if scene.setting == "rails":
        _lay_track(figure, top, bottom, float(rng.random()))
    flowers = rng.random() < 0.5
    bloom: Colour = ((246, 240, 230), (240, 200, 80), (214, 96, 92), (176, 140, 200))[int(rng.integers(4))]
    n = 46
    xs, depth, kinds, sizes = rng.random(n), np.sort(rng.random(n)), rng.random(n), rng.uniform(0.7, 1.3, n)
    for x, d, kind, s in zip(xs.tolist(), depth.tolist(), kinds.tolist(), sizes.tolist(), strict=True):
        y = scene.horizon + 0.03 + (0.97 - scene.horizon) * d
        if top - 0.02 < y < bottom + 0.03:
            continue
        unit = (0.25 + 0.75 * d) * 0.02 * s
        if scene.ground in ("grass", "dry") and (kind < 0.6 or not flowers):
            figure.parts.extend(_tuft(x, y, unit, shade(near, 0.84 if kind < 0.4 else 1.14)).parts)
        elif scene.ground in ("grass", "autumn") or (scene.ground == "dry" and flowers):
            leaf = scene.ground == "autumn"
            figure.oval(
                x, -y, unit * 0.3, unit * 0.18 if leaf else unit * 0.26, shade(LEAVES["autumn"][int(kind * 3)], 1.05) if leaf else bloom
            )
        else:
            figure.oval(x, -y, unit * 0.7, unit * 0.3, shade(near, 0.9 if kind < 0.5 else 1.05))
    if figure.parts:
        inside = [p for p in figure.parts if p.points[:, 0].min() >= 0 and p.points[:, 0].max() <= 1 and p.points[:, 1].min() >= -1]
        corner = np.array([(0.0, 0.0), (0.0, -1e-4), (1e-4, 0.0)])
        opposite = frame[2] + np.array([(0.0, 0.0), (0.0, 1e-4), (-1e-4, 0.0)])
        whole = Figure(inside)
        whole.add(corner, (200, 220, 240))
        whole.add(opposite, near)
        canvas.stamp(whole, (0.0, 0.0, 1.0, 1.0), grain=0.0)


def _tuft(x: float, y: float, u: float, colour: Colour) -> Figure:
    tuft = Figure()
    blades = [(-0.5, 0), (-0.8, 0.8), (-0.25, 0.15), (-0.1, 1.3), (0.15, 0.15), (0.7, 0.9), (0.45, 0)]
    tuft.add(np.array(blades) * u + (x, -y), colour)
    return tuft


def _lay_track(figure: Figure, top: float, bottom: float, shift: float) -> None:
    wide = bottom - top
    bed: Colour = (164, 154, 144)
    figure.add(np.array([(0.0, -bottom - 0.012), (1.0, -bottom - 0.012), (1.0, -top + 0.008), (0.0, -top + 0.008)]), shade(bed, 0.86))
    figure.add(np.array([(0.0, -bottom), (1.0, -bottom), (1.0, -top), (0.0, -top)]), bed)
    for k in range(15):
        x = (k + shift) / 15
        if x < 0.95:
            lean = (x - 0.5) * 0.12
            figure.add(
                np.array(
                    [
                        (x, -bottom + 0.01),
                        (x + 0.026, -bottom + 0.01),
                        (x + 0.024 - lean * 0.1, -top - 0.008),
                        (x + 0.003 - lean * 0.1, -top - 0.008),
                    ]
                ),
                (112, 88, 70),
            )
    for y in (top + 0.26 * wide, top + 0.68 * wide):
        figure.add(np.array([(0.0, -y - 0.006), (1.0, -y - 0.006), (1.0, -y + 0.006), (0.0, -y + 0.006)]), (84, 78, 78))
        figure.add(np.array([(0.0, -y + 0.001), (1.0, -y + 0.001), (1.0, -y + 0.006), (0.0, -y + 0.006)]), (190, 188, 188))
