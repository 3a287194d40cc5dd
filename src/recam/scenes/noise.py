"""Textures, made at first use from a fixed seed: they belong to the drawing style, not to a picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TILE = 512
"""Side of every texture in pixels; each repeats seamlessly."""

_OCTAVES = {
    "coat": ((64, 96, 0.6), (128, 200, 0.5)),
    "cloud": ((4, 4, 1.0), (8, 8, 0.6), (16, 16, 0.35), (32, 32, 0.2)),
    "grass": ((12, 12, 0.5), (64, 40, 0.5), (256, 128, 0.8)),
    "soil": ((10, 10, 0.6), (48, 48, 0.5), (200, 200, 0.6)),
    "snow": ((6, 6, 1.0), (24, 24, 0.4)),
    "water": ((10, 60, 0.6), (20, 160, 0.8)),
    "paper": ((160, 160, 0.7), (256, 256, 0.5)),
}
"""Per texture: (columns, rows, strength) of each octave's random grid."""


@lru_cache(maxsize=len(_OCTAVES))
def texture(name: str) -> NDArray[np.float32]:
    """(TILE, TILE) float32 noise with mean 0 and standard deviation 1, clipped to ±2.5."""
    rng = np.random.default_rng([20, sorted(_OCTAVES).index(name)])
    total = np.zeros((TILE, TILE), np.float32)
    for columns, rows, strength in _OCTAVES[name]:
        grid = np.tile(rng.standard_normal((rows, columns)).astype(np.float32), (3, 3))
        whole = Image.fromarray(grid).resize((3 * TILE, 3 * TILE), Image.Resampling.BICUBIC)
        total += strength * np.asarray(whole)[TILE : 2 * TILE, TILE : 2 * TILE]
    total -= total.mean()
    noise: NDArray[np.float32] = np.clip(total / total.std(), -2.5, 2.5)
    noise.setflags(write=False)
    return noise


def patch(name: str, height: int, width: int) -> NDArray[np.float32]:
    """(height, width) of a texture, repeated as often as needed."""
    tile = texture(name)
    if height > TILE or width > TILE:
        tile = np.tile(tile, (-(-height // TILE), -(-width // TILE)))
    return tile[:height, :width]
