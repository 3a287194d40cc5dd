"""What stands where in a scene, decided without drawing: cheap enough to label a whole split.

Everything is in parts of the picture's side (x to the right, y downwards), so a plan holds for any picture size. Masks
agree with labels by construction: an object is placed only where it and what it covers keep half of their width free
(`MAX_COVERED`), and no object's box is smaller than `MIN_AREA`. Figures fill their boxes well enough for half a box to
be over half a percent of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from recam.scenes.figure import Box

T = TypeVar("T")

CLASSES = ("cow", "horse", "sheep", "elephant", "bear", "boat", "train", "car", "bird", "person")
"""The ten classes, in the order of their mask values."""

SPLITS = ("train", "val")
GROUNDS = ("grass", "dry", "autumn", "snow", "sand")
MAX_COVERED = 0.5
MAX_HEAD_COVERED = 0.35
MIN_AREA = 0.05

_ANIMALS = CLASSES[:5]
_HEIGHTS = {
    "cow": (0.3, 0.48), "horse": (0.32, 0.52), "sheep": (0.26, 0.42), "elephant": (0.34, 0.58), "bear": (0.28, 0.48),
    "boat": (0.28, 0.46),
    "train": (0.24, 0.34), "car": (0.22, 0.32), "bird": (0.2, 0.34), "person": (0.38, 0.58), "tree": (0.42, 0.7),
    "bush": (0.12, 0.2),
    "rock": (0.09, 0.16), "fence": (0.13, 0.18),
}  # fmt: skip
"""Height of a box at the lower edge of the picture; it shrinks with distance."""

_ASPECTS = {
    "cow": (1.45, 1.6), "horse": (1.2, 1.4), "sheep": (1.35, 1.5), "elephant": (1.35, 1.6), "bear": (1.5, 1.65),
    "boat": (0.75, 1.7),
    "train": (2.2, 3.2), "car": (2.0, 2.4), "bird": (1.15, 1.4), "person": (0.42, 0.55), "tree": (0.62, 0.75),
    "bush": (1.7, 1.9),
    "rock": (1.6, 2.0), "fence": (2.6, 4.6),
}  # fmt: skip
_CONTEXT = {"lake": "boat", "rails": "train", "road": "car"}


@dataclass(frozen=True)
class Thing:
    """An object or a distractor in its place.

    Attributes:
        kind: a class of `CLASSES` or a kind of distractor.
        box: where it stands, the lower edge on the ground.
        depth: order of drawing; the larger covers the smaller.
        left: looks to the left.
        flying: a bird in the air.
    """

    kind: str
    box: Box
    depth: float
    left: bool
    flying: bool = False


@dataclass(frozen=True)
class Scene:
    """A planned picture.

    Attributes:
        setting: ``"field"``, ``"lake"``, ``"rails"`` or ``"road"``.
        ground: one of `GROUNDS`.
        horizon: its height, in parts of the picture from above.
        band: upper and lower edge of water, track or road; equal where there is none.
        things: objects and distractors, back to front.
    """

    setting: str
    ground: str
    horizon: float
    band: tuple[float, float]
    things: tuple[Thing, ...]

    @property
    def labels(self) -> tuple[int, ...]:
        """Class indices of the objects, ascending."""
        return tuple(sorted({CLASSES.index(t.kind) for t in self.things if t.kind in _CLASS_SET}))


_CLASS_SET = frozenset(CLASSES)


def scene_rng(seed: int, split: str, index: int, part: int = 0) -> Generator:
    """The generator of one picture; `part` 0 plans it, 1 paints it."""
    return np.random.default_rng([seed, SPLITS.index(split), index, part])


def plan_scene(seed: int, split: str, index: int) -> Scene:
    """Plan picture `index` of a split: alone, in any order, always the same."""
    rng = scene_rng(seed, split, index)
    setting = _pick(rng, ("field", "lake", "rails", "road"), (0.49, 0.17, 0.17, 0.17))
    ground = _pick(rng, GROUNDS, (0.44, 0.18, 0.14, 0.12, 0.12))
    horizon = _between(rng, 0.28, 0.48)
    band = (1.0, 1.0)
    if setting == "lake":
        top = horizon + _between(rng, 0.01, 0.1)
        band = (top, 1.05 if rng.random() < 0.3 else top + _between(rng, 0.25, 0.36))
    elif setting != "field":
        middle, half = _between(rng, 0.64, 0.86), 0.045 if setting == "rails" else _between(rng, 0.07, 0.1)
        band = (middle - half, middle + half)
    count = _pick(rng, (1, 2, 3, 4), (0.3, 0.36, 0.22, 0.12))
    zoom = {1: (1.0, 1.55), 2: (0.88, 1.2), 3: (0.8, 1.05), 4: (0.75, 0.95)}[count]
    placing = _Placing(rng, setting, horizon, band)
    for kind in _cast(rng, setting, count, band):
        placing.put(kind, _between(rng, *zoom))
    if not placing.things:  # a field takes any animal, so that no picture is empty
        placing = _Placing(rng, "field", horizon, (1.0, 1.0))
        placing.put(_pick(rng, _ANIMALS, (1,) * 5), 1.0)
        setting, band = "field", (1.0, 1.0)
    if setting != "lake" or band[1] < 0.9:
        for _ in range(_pick(rng, (0, 1, 2, 3, 4), (0.08, 0.2, 0.3, 0.27, 0.15))):
            placing.put(_pick(rng, ("tree", "bush", "rock", "fence"), (0.42, 0.22, 0.2, 0.16)), 1.0)
    return Scene(setting, ground, horizon, band, tuple(sorted(placing.things, key=lambda t: t.depth)))


def _cast(rng: Generator, setting: str, count: int, band: tuple[float, float]) -> list[str]:
    """The kinds of the objects to place, the most important first."""
    kinds: list[str] = []
    if setting in _CONTEXT and rng.random() < 0.85:
        kinds.append(_CONTEXT[setting])
    while len(kinds) < count:
        herd = [k for k in kinds if k in _ANIMALS]
        if herd and rng.random() < 0.3:
            kinds.append(herd[0])
        elif kinds and setting in ("lake", "road") and kinds[0] == _CONTEXT[setting] and rng.random() < 0.2:
            kinds.append(kinds[0])
        elif setting == "lake" and band[1] > 0.9:
            kinds.append("bird")
        else:
            others = (*_ANIMALS, "bird", "person")
            kinds.append(_pick(rng, others, (0.8, 0.8, 0.8, 0.8, 0.8, 0.75, 0.75)))
    return kinds


class _Placing:
    """Finds room for one thing after the other."""

    def __init__(self, rng: Generator, setting: str, horizon: float, band: tuple[float, float]) -> None:
        self.rng, self.setting, self.horizon, self.band = rng, setting, horizon, band
        self.things: list[Thing] = []

    def put(self, kind: str, zoom: float, attempts: int = 10) -> None:
        """Add a thing where it fits; a thing that fits nowhere is left out."""
        for _ in range(attempts):
            thing = self._somewhere(kind, zoom)
            if thing and self._fits(thing):
                self.things.append(thing)
                return

    def _somewhere(self, kind: str, zoom: float) -> Thing | None:
        rng = self.rng
        flying = kind == "bird" and (rng.random() < 0.35 or (self.setting == "lake" and self.band[1] > 0.9))
        y = _between(rng, 0.3, 0.62) if flying else self._ground_line(kind)
        if y is None:
            return None
        near = 1.0 if flying else (y - self.horizon) / (1 - self.horizon)
        height = _between(rng, *_HEIGHTS[kind]) * zoom * (0.5 + 0.5 * near)
        aspect = _between(rng, *_ASPECTS[kind])
        if kind in _CLASS_SET:
            height = max(height, (MIN_AREA / aspect) ** 0.5)
            height = min(height, 0.94 / aspect, y - 0.02)
            if height * height * aspect < MIN_AREA:
                return None
        width = height * aspect
        outside = 0.18 * width if kind in _CLASS_SET else 0.5 * width
        x = _between(rng, -outside, 1 - width + outside)
        if width > 0.8:
            x = _between(rng, 0.0, 1 - width)
        return Thing(
            kind,
            (x, y - height, x + width, y),
            1.5 + 0.1 * float(rng.random()) if flying else y,
            rng.random() < 0.5,
            flying,
        )

    def _ground_line(self, kind: str) -> float | None:
        """Where it stands: boats on the water, trains on the track, cars on the road, all others beside."""
        top, bottom = self.band
        if kind == "boat":
            return _between(self.rng, top + 0.1, min(bottom, 0.97) - 0.03)
        if kind == "train":
            return top + 0.65 * (bottom - top)
        if kind == "car":
            return _between(self.rng, top + 0.05, bottom - 0.025)
        first = self.horizon + (0.03 if kind == "tree" else 0.12)
        y = _between(self.rng, first, 0.97)
        margin = 0.02 if y < top else 0.04
        if top - margin < y < bottom + margin:
            y = _between(self.rng, bottom + 0.04, 0.97) if bottom < 0.9 else 1.0
        return None if y > 0.98 or (self.setting == "lake" and y < bottom) else y

    def _fits(self, new: Thing) -> bool:
        """No object, the new one included, loses too much of its width or of its head to what is before it or to the
        picture's edge."""
        everything = [*self.things, new]
        for thing in everything:
            if thing.kind not in _CLASS_SET:
                continue
            x0, y0, x1, y1 = thing.box
            before = [o.box for o in everything if o.depth > thing.depth and o.box[1] < y1 and o.box[3] > y0]
            spans = [(x0, 0.0), (1.0, x1), *((b[0], b[2]) for b in before)]
            width = x1 - x0
            head = (x0, x0 + 0.3 * width) if thing.left else (x1 - 0.3 * width, x1)
            if _covered(x0, x1, spans) > MAX_COVERED * width or _covered(*head, spans) > MAX_HEAD_COVERED * 0.3 * width:
                return False
        return True


def _covered(x0: float, x1: float, spans: list[tuple[float, float]]) -> float:
    """The length of x0…x1 that the union of `spans` covers."""
    total, reached = 0.0, x0
    for start, end in sorted(spans):
        start, end = max(start, reached), min(end, x1)
        if end > start:
            total += end - start
            reached = end
    return total


def _between(rng: Generator, low: float, high: float) -> float:
    return low + (high - low) * float(rng.random())


def _pick(rng: Generator, options: tuple[T, ...], weights: tuple[float, ...]) -> T:
    at = float(rng.random()) * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        at -= weight
        if at < 0:
            return option
    return options[-1]
