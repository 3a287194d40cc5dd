"""From class maps to seed masks, and the thresholds to do it with.

A mask is the argmax over [threshold, maps…]: a pixel is background unless its largest map exceeds the threshold. The threshold that papers
report is searched on true masks; `ThresholdSweep` finds that **oracle** among all candidates in one pass over the seeds. `OtsuThreshold`
(ours) needs no mask: it splits the pooled histogram of the maps in two (Otsu, IEEE SMC 1979).

Letters: K classes, n maps of one image, H×W its size, T thresholds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recam.errors import DataError, RecipeError
from recam.labels import BACKGROUND, IGNORE, check_class_indices, mask_value, mask_values, present_values, row_blocks
from recam.types import Maps, Mask, check_maps

DEFAULT_THRESHOLDS = tuple(step / 100 for step in range(1, 100))


def apply_threshold(
    maps: Maps,
    class_indices: Sequence[int] | NDArray[np.integer],
    threshold: float | Sequence[float],
    ignore: NDArray[np.bool_] | None = None,
) -> Mask:
    """Seed mask (H, W) of the maps (n, H, W) in [0, 1] of the classes `class_indices` (n,).

    A pixel is background unless its largest map exceeds the threshold, or that of its class where there are n of them (ours); ties go to
    the background, then to the class that comes first. Pixels of `ignore` (H, W) are 255.

    Raises:
        DataError: maps that are not finite or outside [0, 1]; class indices that are none, above 253 (a mask holds 254 classes), or not
            one for each map; pixels to ignore of another size.
        RecipeError: thresholds outside [0, 1], or neither one nor n.
    """
    check_maps(maps)
    check_class_indices(class_indices, len(maps))
    _check_levels(threshold, len(maps))
    _check_ignore(ignore, maps)
    if len(maps):
        levels = np.broadcast_to(np.asarray(threshold, np.float32), (len(maps),))
        winner = maps.argmax(0)  # (H, W)
        mask: Mask = np.where(maps.max(0) > levels[winner], mask_values(class_indices)[1:][winner], np.uint8(BACKGROUND))  # (H, W)
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


def _check_ignore(ignore: NDArray[np.bool_] | None, maps: Maps) -> None:
    if ignore is not None and (ignore.dtype != np.bool_ or ignore.shape != maps.shape[1:]):
        raise DataError(f"pixels to ignore are {ignore.dtype} {ignore.shape}: give bool {maps.shape[1:]}, as the maps.")


def class_ious(confusion: NDArray[np.integer]) -> NDArray[np.float64]:
    """Intersection over union (…, C) of confusion matrices (…, C, C), rows = truth; NaN for a class in neither truth nor prediction.

    A further column (…, C, C + 1) counts pixels of a known truth without a prediction: they are missing from their class.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)  # (…, C)
    union = confusion.sum(-1) + confusion.sum(-2)[..., : hits.shape[-1]] - hits  # (…, C)
    ious: NDArray[np.float64] = np.divide(hits, union, out=np.full(hits.shape, np.nan), where=union > 0)
    return ious


def mean_over_present(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean (…,) of (…, C) over the classes that occur, those that are not NaN; NaN where none does. Of IoUs: the mIoU."""
    present = ~np.isnan(values)
    number = present.sum(-1)
    mean: NDArray[np.float64] = np.divide(
        np.where(present, values, 0.0).sum(-1), number, out=np.full(number.shape, np.nan), where=number > 0
    )
    return mean


def check_mask_values(mask: Mask, n_classes: int, what: str) -> None:
    """Raises `DataError` naming `what` where a mask is not of integers, or holds a value that is neither 0…K nor 255."""
    if mask.dtype.kind not in "iu":
        raise DataError(f"{what} is {mask.dtype}, a mask is uint8: 0 background, 1…{n_classes} classes, 255 ignore.")
    # Of other integers few are counted: a single large one would ask for as much memory as its value.
    values = present_values(mask) if mask.dtype == np.uint8 else np.unique(mask).tolist()
    wrong = [value for value in values if not (0 <= value <= n_classes or value == IGNORE)][:10]
    if wrong:
        raise DataError(f"{what} holds {wrong}, but with {n_classes} classes a value is 0…{n_classes} or 255.")


@dataclass(frozen=True)
class OracleThreshold:
    """The threshold that scores best against true masks, and the whole curve.

    Attributes:
        threshold: the best one; the lowest of them where several are equally good.
        miou: its mean IoU, in [0, 1].
        thresholds: (T,) all that were tried, ascending.
        curve: (T,) the mean IoU of each.
    """

    threshold: float
    miou: float
    thresholds: tuple[float, ...]
    curve: tuple[float, ...]

    def __str__(self) -> str:
        return f"oracle threshold {self.threshold:.2f}: mIoU {100 * self.miou:.2f}"


class ThresholdSweep:
    """Confusion matrices of all thresholds, from one pass over the seeds; memory does not grow with the number of images.

    A pixel is background at the thresholds from its largest map's value on, and its argmax class below. So one histogram over (truth,
    argmax class, number of thresholds below the largest map) holds everything.

    Args:
        n_classes: K.
        thresholds: the candidates; they are sorted, and compared with the maps as float32.
    """

    def __init__(self, n_classes: int, thresholds: Iterable[float] = DEFAULT_THRESHOLDS) -> None:
        self.thresholds = tuple(sorted(thresholds))
        if not self.thresholds:
            raise RecipeError("no threshold to try: give at least one in [0, 1].")
        wrong = [threshold for threshold in self.thresholds if not 0 <= threshold <= 1]
        if wrong:
            raise RecipeError(f"thresholds {wrong[:10]} are outside [0, 1], where class maps lie.")
        self.n_classes = n_classes
        self.histogram = np.zeros((n_classes + 1, n_classes, len(self.thresholds) + 1), np.int64)
        """(K+1 truths, K classes, T+1 numbers of thresholds exceeded); those of several processes or shards may be added."""
        self.unsure = np.zeros(n_classes + 1, np.int64)
        """(K+1 truths,) pixels without a prediction, whatever the threshold; those of several processes or shards may be added."""
        self._edges = np.asarray(self.thresholds, np.float32)

    def update(
        self, maps: Maps, class_indices: Sequence[int] | NDArray[np.integer], truth: Mask, ignore: NDArray[np.bool_] | None = None
    ) -> None:
        """Count one image.

        Args:
            maps: (n, H, W) in [0, 1]; n = 0 is an image where nothing but background is predicted.
            class_indices: (n,) the class of each map, 0…K−1.
            truth: (H, W) true mask; 255 is not counted.
            ignore: (H, W), pixels without a prediction: they are missing from their class.

        Raises:
            DataError: maps and mask of different sizes, or mask values that are no class; maps that are not finite or outside [0, 1]; class
                indices that are none, or not one for each map.
        """
        check_maps(maps)
        indices = check_class_indices(class_indices, len(maps), self.n_classes)
        _check_ignore(ignore, maps)
        if maps.shape[1:] != truth.shape:
            raise DataError(f"maps of {maps.shape[1:]} and a true mask of {truth.shape}: read the maps at the size of their image first.")
        check_mask_values(truth, self.n_classes, "the true mask")
        for rows in row_blocks((truth.shape[0], truth.shape[1])):
            self._count(maps[:, rows], indices, truth[rows], None if ignore is None else ignore[rows])

    def _count(self, maps: Maps, indices: NDArray[np.int64], truth: Mask, ignore: NDArray[np.bool_] | None) -> None:
        counted = truth != IGNORE
        if ignore is not None:
            self.unsure += np.bincount(truth[counted & ignore], minlength=self.n_classes + 1)
            counted &= ~ignore
        rows = truth[counted].astype(np.int64)  # (pixels,)
        if not len(maps):
            # Nothing is exceeded, so the class does not matter.
            self.histogram[:, 0, 0] += np.bincount(rows, minlength=self.n_classes + 1)
            return
        planes, levels = len(maps), len(self.thresholds) + 1
        winner = maps.argmax(0)  # (H, W)
        largest = np.take_along_axis(maps, winner[None], 0)[0][counted]  # (pixels,)
        exceeded = np.searchsorted(self._edges, largest.astype(np.float32, copy=False), side="left")  # (pixels,): thresholds < largest
        code = (rows * planes + winner[counted]) * levels + exceeded
        counts = np.bincount(code, minlength=(self.n_classes + 1) * planes * levels).reshape(-1, planes, levels)
        for plane, class_index in enumerate(indices):
            self.histogram[:, class_index] += counts[:, plane]

    def confusion(self) -> NDArray[np.int64]:
        """(T, K+1, K+1) int64, rows = truth, columns = prediction, 0 = background; without the pixels of `unsure`."""
        below = self.histogram.cumsum(2)[:, :, :-1]  # (K+1, K, T): pixels whose largest map does not exceed threshold t
        confusion = np.zeros((len(self.thresholds), self.n_classes + 1, self.n_classes + 1), np.int64)
        confusion[:, :, BACKGROUND] = below.sum(1).T
        confusion[:, :, mask_value(0) :] = (self.histogram.sum(2, keepdims=True) - below).transpose(2, 0, 1)
        return confusion

    def counts(self) -> NDArray[np.int64]:
        """(T, K+1, K+2) int64: `confusion` with a last column for the pixels of `unsure`."""
        unsure = np.broadcast_to(self.unsure[:, None], (len(self.thresholds), self.n_classes + 1, 1))
        return np.concatenate([self.confusion(), unsure], 2)

    def best(self) -> OracleThreshold:
        """The oracle threshold. Raises `DataError` where no pixel of any class has been counted: empty masks would then score best."""
        if not (self.histogram[mask_value(0) :].any() or self.unsure[mask_value(0) :].any()):
            raise DataError(
                "the true masks hold no pixel of any class, so no threshold is better than another: check that they are not all"
                f" {BACKGROUND} (background) and {IGNORE} (ignore)."
            )
        curve = mean_over_present(class_ious(self.counts()))  # (T,)
        index = int(curve.argmax())
        return OracleThreshold(self.thresholds[index], float(curve[index]), self.thresholds, tuple(curve.tolist()))


class OtsuThreshold:
    """A threshold from the maps alone, by no mask (ours): Otsu's split of the pixels' largest map values, pooled over all images.

    The value that parts the pooled histogram with the largest variance between the two sides. One pass, whatever the order of images.
    Compare it with the oracle before you trust it on a new kind of data.

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
                "the class maps hold fewer than two different values, so no threshold parts them: are they normalised and not empty?"
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
