"""From probabilities to a mask, for images of any size: whole, or through a sliding window of bounded memory.

A window slides over an image that is larger than it. Where windows overlap, the mean of their probabilities counts (as
DeepLab and its successors do at test time). Only one row of windows is held: as soon as no window below reaches a pixel
row, that row's classes are chosen and its probabilities dropped, so memory grows with window × width of the image, not
with its area. Test-time scales, flips and refinement apply to each window by itself, so their memory is bounded too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recam.inference.settings import InferenceSettings
from recam.methods.refinements import make_refinement
from recam.preprocess import Planes
from recam.types import Image


@dataclass(frozen=True)
class MaskOfWindows:
    """What `make_mask` returns.

    Attributes:
        planes: (H, W) uint8, the most probable plane of each pixel.
        highest: (n,) float32, the largest probability of each plane anywhere.
        probabilities: (n, H, W) uint8, 255 for a probability of 1; None where they were not to be kept.
    """

    planes: NDArray[np.uint8]
    highest: NDArray[np.float32]
    probabilities: NDArray[np.uint8] | None


def make_mask(
    image: Image, probabilities_of: Callable[[Image], Planes], settings: InferenceSettings, keep: bool = False
) -> MaskOfWindows:
    """The most probable plane of each pixel.

    Args:
        image: (H, W, 3) uint8.
        probabilities_of: image (h, w, 3) → probabilities (n, h, w); called with the whole image, or with one window
            after the other.
        settings: its `window`, `overlap` and `refine` are used here; scales and flips are up to `probabilities_of`.
        keep: keep all probabilities, in 8 bits.
    """
    refine = make_refinement(settings.refine)

    def refined(part: Image) -> Planes:
        return refine(part, probabilities_of(part))

    height, width = image.shape[:2]
    if not settings.slides_over(image):
        return _choose(refined(image), keep)
    window = settings.window or 0
    tops, lefts = (_starts(side, window, settings.overlap) for side in (height, width))
    parts: list[MaskOfWindows] = []
    # (n, rows that the next windows reach too, W), not yet divided by how many windows have covered them
    carried: Planes | None = None
    counted = np.zeros(0, np.float32)
    columns = _count(width, lefts, window)
    for index, top in enumerate(tops):
        rows = min(window, height - top)
        band: Planes | None = None
        for left in lefts:
            part = refined(np.ascontiguousarray(image[top : top + rows, left : left + window]))
            if band is None:
                band = np.zeros((len(part), rows, width), np.float32)
            band[:, :, left : left + window] += part
        assert band is not None
        covered = np.ones(rows, np.float32)
        if carried is not None:
            band[:, : carried.shape[1]] += carried
            covered[: len(counted)] += counted
        done = rows if index + 1 == len(tops) else tops[index + 1] - top
        carried, counted = band[:, done:].copy(), covered[done:]
        band = band[:, :done]
        band /= covered[:done, None] * columns
        parts.append(_choose(band, keep))
    kept = [part.probabilities for part in parts if part.probabilities is not None]
    return MaskOfWindows(
        np.concatenate([part.planes for part in parts]),
        np.max([part.highest for part in parts], axis=0),
        np.concatenate(kept, axis=1) if kept else None,
    )


def _choose(probabilities: Planes, keep: bool) -> MaskOfWindows:
    kept = np.rint(probabilities.clip(0, 1) * 255).astype(np.uint8) if keep else None
    return MaskOfWindows(
        probabilities.argmax(0).astype(np.uint8), probabilities.max((1, 2), initial=0).astype(np.float32), kept
    )


def _starts(side: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along a side: evenly, each overlapping the one before by `overlap` of a window or more, the
    last at the end."""
    if side <= window:
        return [0]
    step = max(1, int(window * (1 - overlap)))
    count = -(-(side - window) // step) + 1
    return [int(start) for start in np.linspace(0, side - window, count).round()]


def _count(side: int, starts: list[int], window: int) -> NDArray[np.float32]:
    """(side,) how many windows cover each pixel."""
    covered = np.zeros(side, np.float32)
    for start in starts:
        covered[start : start + window] += 1
    return covered
