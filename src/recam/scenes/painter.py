"""From a plan to a picture and its exact mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recam.labels import BACKGROUND, IGNORE, mask_value
from recam.scenes.canvas import Canvas
from recam.scenes.creatures import bird, person
from recam.scenes.figure import Figure
from recam.scenes.grounds import finish, paint_ground
from recam.scenes.plan import CLASSES, Scene, Thing, plan_scene, scene_rng
from recam.scenes.props import PROPS
from recam.scenes.quadruped import BUILDS, quadruped
from recam.scenes.vehicles import boat, car, train
from recam.types import Image, Mask

VERSION = 3
"""Raised whenever any picture or mask changes, so that what was made from the old ones is made anew."""

_VEHICLES = {"boat": boat, "train": train, "car": car}


def draw_scene(seed: int, split: str, index: int, size: int = 224) -> tuple[Image, Mask]:
    """Draw picture `index` of a split, the same in every process and order.

    Args:
        seed: of the whole data set, 0 or more.
        split: ``"train"`` or ``"val"``.
        index: 0 or more; the data set has no end.
        size: side of the picture in pixels.

    Returns:
        the (size, size, 3) RGB image and the (size, size) mask, IGNORE on the one-pixel border between regions.
    """
    scene = plan_scene(seed, split, index)
    rng = scene_rng(seed, split, index, 1)
    canvas = Canvas(size)
    paint_ground(canvas, scene, rng)
    for number, thing in enumerate(scene.things):
        figure = _figure(thing, scene, rng)
        _ground_shadow(canvas, thing)
        owner = number + 1 if thing.kind in CLASSES else 0
        near = 1.0 if thing.flying else (thing.box[3] - scene.horizon) / (1 - scene.horizon)
        haze = 1 - 0.06 * (1 - near)
        canvas.stamp(figure, thing.box, owner, flip=thing.left, tint=(haze, haze, 1.0))
    return finish(canvas, rng), _mask(canvas.owner, scene)


def _figure(thing: Thing, scene: Scene, rng: np.random.Generator) -> Figure:
    if thing.kind in BUILDS:
        return quadruped(thing.kind, rng)
    if thing.kind == "bird":
        return bird(rng, thing.flying)
    if thing.kind == "person":
        return person(rng)
    if thing.kind in _VEHICLES:
        x0, y0, x1, y1 = thing.box
        return _VEHICLES[thing.kind](rng, (x1 - x0) / (y1 - y0))
    return PROPS[thing.kind](rng, scene.ground)


def _ground_shadow(canvas: Canvas, thing: Thing) -> None:
    x0, y0, x1, y1 = thing.box
    if thing.flying:
        return
    w, h = x1 - x0, y1 - y0
    if thing.kind == "tree":  # as wide as the crown it would look like a plate under the trunk
        x0, x1, w = x0 + 0.2 * w, x1 - 0.2 * w, 0.6 * w
    flat = min(0.07 * max(w, 0.4 * h), 0.09 * h)
    canvas.shadow(
        (x0 - 0.02 * w, y1 - flat * 0.95, x1 + 0.04 * w, y1 + flat * 1.05), 0.34 if thing.kind == "fence" else 0.46
    )


def _mask(owner: NDArray[np.int16], scene: Scene) -> Mask:
    """Owners as mask values, with the pixels whose right or lower neighbour belongs to another region as border."""
    values = np.full(len(scene.things) + 1, BACKGROUND, np.uint8)
    for number, thing in enumerate(scene.things):
        if thing.kind in CLASSES:
            values[number + 1] = mask_value(CLASSES.index(thing.kind))
    mask = values[owner]
    mask[:, :-1][owner[:, :-1] != owner[:, 1:]] = IGNORE
    mask[:-1][owner[:-1] != owner[1:]] = IGNORE
    return mask
