"""From class maps to seed masks, and the thresholds to do it with.

A mask is the argmax over [threshold, maps…]: a pixel is background unless its largest map exceeds the threshold. The
threshold that papers report is searched on true masks (`recam.evaluation.threshold_sweep`). `OtsuThreshold` (ours)
needs no mask: it splits the pooled histogram of the maps in two (Otsu, IEEE SMC 1979).

Letters: n maps of one image, H×W its size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recam.errors import DataError, RecipeError
from recam.labels import BACKGROUND, IGNORE, check_class_indices, mask_values
from recam.types import Maps, Mask, check_maps


def apply_threshold(
    maps: Maps,
    class_indices: Sequence[int] | NDArray[np.integer],
    threshold: float | Sequence[float] | None,
    ignore: NDArray[np.bool_] | None = None,
) -> Mask:
    """Seed mask (H, W) of the maps (n, H, W) in [0, 1] of the classes `class_indices` (n,).

    A pixel is background unless its largest map exceeds the threshold, or that of its class where there are n of them
    (ours); ties go to the background, then to the class that comes first. With a threshold of None there is no
    background (ours): a pixel is of its largest map's class, and 255 where there is no map. Pixels of `ignore` (H, W)
    are 255.

    Raises:
        DataError: maps that are not finite or outside [0, 1]; class indices that are none, above 253 (a mask holds 254
            classes), or not one for each map; pixels to ignore of another size.
        RecipeError: thresholds outside [0, 1], or neither one nor n.
    """
    check_maps(maps)
    check_class_indices(class_indices, len(maps))
    if threshold is not None:
        _check_levels(threshold, len(maps))
    check_ignore(ignore, maps)
    mask: Mask
    if threshold is None:
        values = mask_values(class_indices)[1:]
        mask = values[maps.argmax(0)] if len(maps) else np.full(maps.shape[1:], IGNORE, np.uint8)  # (H, W)
    elif len(maps):
        levels = np.broadcast_to(np.asarray(threshold, np.float32), (len(maps),))
        winner = maps.argmax(0)  # (H, W)
        mask = np.where(
            maps.max(0) > levels[winner], mask_values(class_indices)[1:][winner], np.uint8(BACKGROUND)
        )  # (H, W)
    else:
        mask = np.full(maps.shape[1:], BACKGROUND, np.uint8)
    if ignore is not None:
        mask[ignore] = IGNORE
    return mask


def _check_levels(threshold: float | Sequence[float], n_maps: int) -> None:
    levels = np.asarray(threshold, np.float64)
    if levels.ndim and levels.shape != (n_maps,):
        raise RecipeError(f"thresholds {levels.shape} for {n_maps} maps: give one for all, or one for each.")
    if not ((levels >= 0) & (levels <= 1)).all():  # NaN is neither
        raise RecipeError(f"a threshold must be in [0, 1], got {threshold}.")


def check_ignore(ignore: NDArray[np.bool_] | None, maps: Maps) -> None:
    """Raises `DataError` where pixels to ignore are not bool (H, W) of maps (n, H, W)."""
    if ignore is not None and (ignore.dtype != np.bool_ or ignore.shape != maps.shape[1:]):
        raise DataError(f"pixels to ignore are {ignore.dtype} {ignore.shape}: give bool {maps.shape[1:]}, as the maps.")


class OtsuThreshold:
    """A threshold from the maps alone, by no mask (ours): Otsu's split of the pixels' largest map values, pooled over
    all images.

    The value that parts the pooled histogram with the largest variance between the two sides. One pass, whatever the
    order of images. Compare it with the oracle before you trust it on a new kind of data.

    Args:
        bins: equal bins over [0, 1].
    """

    def __init__(self, bins: int = 256) -> None:
        self.histogram = np.zeros(bins, np.int64)
        """(bins,) pixel counts; those of several processes or shards may be added."""

    def update(self, maps: ArrayLike) -> None:
        """Count one image's maps (n, h, w) in [0, 1], at any resolution; an image without maps adds nothing.

        Raises:
            DataError: maps that are not finite or outside [0, 1].
        """
        planes = np.asarray(maps, np.float32)
        check_maps(planes)
        if len(planes):
            bins = len(self.histogram)
            index = (planes.max(0) * bins).astype(np.int64).clip(0, bins - 1)  # (h, w)
            self.histogram += np.bincount(index.ravel(), minlength=bins)

    def threshold(self) -> float:
        """The border between two bins that parts the pixels best; the middle of all equally good ones.

        Raises:
            DataError: fewer than two bins are filled, so nothing can be parted.
        """
        if np.count_nonzero(self.histogram) < 2:
            raise DataError(
                "the class maps hold fewer than two different values, so no threshold parts them: are they normalised"
                " and not empty?"
            )
        bins = len(self.histogram)
        centres = (np.arange(bins) + 0.5) / bins
        share = self.histogram / self.histogram.sum()
        low = share.cumsum()[:-1]  # (bins − 1,): share of pixels left of each border
        sums = (share * centres).cumsum()
        mean, below = sums[-1], sums[:-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            between = (mean * low - below) ** 2 / (low * (1 - low))
        between = np.where((low > 0) & (low < 1), between, 0.0)
        best = np.flatnonzero(np.isclose(between, between.max(), rtol=1e-9))
        return float((best[0] + best[-1]) / 2 + 1) / bins
