"""The threshold of class maps that scores best on true masks, the **oracle** that papers report, among all candidates
in one pass.

Letters: K classes, n maps of one image, H×W its size, T thresholds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recam.errors import DataError, RecipeError
from recam.evaluation.ious import check_mask_values, class_ious, mean_over_present
from recam.labels import BACKGROUND, IGNORE, check_class_indices, mask_value, row_blocks
from recam.methods.thresholds import check_ignore
from recam.types import Maps, Mask, check_maps

DEFAULT_THRESHOLDS = tuple(step / 100 for step in range(1, 100))


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

    def at(self, threshold: float) -> dict[str, float]:
        """The nearest threshold that was tried, and its mIoU."""
        index = int(np.abs(np.asarray(self.thresholds) - threshold).argmin())
        return {"threshold": self.thresholds[index], "miou": self.curve[index]}

    def __str__(self) -> str:
        return f"oracle threshold {self.threshold:.2f}: mIoU {100 * self.miou:.2f}"


class ThresholdSweep:
    """Confusion matrices of all thresholds, from one pass over the seeds; memory does not grow with the number of
    images.

    A pixel is background at the thresholds from its largest map's value on, and its argmax class below. So one
    histogram over (truth, argmax class, number of thresholds below the largest map) holds everything.

    Args:
        n_classes: K.
        thresholds: the candidates; they are sorted, and compared with the maps as float32.
        background: False: no pixel is background whatever its maps are, and 0 is the only threshold.
    """

    def __init__(
        self, n_classes: int, thresholds: Iterable[float] = DEFAULT_THRESHOLDS, background: bool = True
    ) -> None:
        self.thresholds = tuple(sorted(thresholds)) if background else (0.0,)
        self.background = background
        if not self.thresholds:
            raise RecipeError("no threshold to try: give at least one in [0, 1].")
        wrong = [threshold for threshold in self.thresholds if not 0 <= threshold <= 1]
        if wrong:
            raise RecipeError(f"thresholds {wrong[:10]} are outside [0, 1], where class maps lie.")
        self.n_classes = n_classes
        self.histogram = np.zeros((n_classes + 1, n_classes, len(self.thresholds) + 1), np.int64)
        """(K+1 truths, K classes, T+1 numbers of thresholds exceeded); those of several processes or shards may be
        added."""
        self.ignored = np.zeros(n_classes + 1, np.int64)
        """(K+1 truths,) pixels without a prediction, whatever the threshold; those of several processes or shards may
        be added."""
        self._edges = np.asarray(self.thresholds, np.float32)

    def update(
        self,
        maps: Maps,
        class_indices: Sequence[int] | NDArray[np.integer],
        truth: Mask,
        ignore: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count one image.

        Args:
            maps: (n, H, W) in [0, 1]; n = 0 is an image where nothing but background is predicted.
            class_indices: (n,) the class of each map, 0…K−1.
            truth: (H, W) true mask; 255 is not counted.
            ignore: (H, W), pixels without a prediction: they are missing from their class.

        Raises:
            DataError: maps and mask of different sizes, or mask values that are no class; maps that are not finite or
                outside [0, 1]; class indices that are none, or not one for each map.
        """
        check_maps(maps)
        indices = check_class_indices(class_indices, len(maps), self.n_classes)
        check_ignore(ignore, maps)
        if maps.shape[1:] != truth.shape:
            raise DataError(
                f"maps of {maps.shape[1:]} and a true mask of {truth.shape}: read the maps at the size of their image"
                " first."
            )
        check_mask_values(truth, self.n_classes, "the true mask")
        for rows in row_blocks((truth.shape[0], truth.shape[1])):
            self._count(maps[:, rows], indices, truth[rows], None if ignore is None else ignore[rows])

    def _count(self, maps: Maps, indices: NDArray[np.int64], truth: Mask, ignore: NDArray[np.bool_] | None) -> None:
        counted = truth != IGNORE
        if ignore is not None:
            self.ignored += np.bincount(truth[counted & ignore], minlength=self.n_classes + 1)
            counted &= ~ignore
        rows = truth[counted].astype(np.int64)  # (pixels,)
        if not len(maps) and not self.background:
            self.ignored += np.bincount(rows, minlength=self.n_classes + 1)
            return
        if not len(maps):
            # Nothing is exceeded, so the class does not matter.
            self.histogram[:, 0, 0] += np.bincount(rows, minlength=self.n_classes + 1)
            return
        planes, levels = len(maps), len(self.thresholds) + 1
        winner = maps.argmax(0)  # (H, W)
        largest = np.take_along_axis(maps, winner[None], 0)[0][counted]  # (pixels,)
        exceeded = np.searchsorted(
            self._edges, largest.astype(np.float32, copy=False), side="left"
        )  # (pixels,): thresholds < largest
        if not self.background:
            exceeded[:] = 1
        code = (rows * planes + winner[counted]) * levels + exceeded
        counts = np.bincount(code, minlength=(self.n_classes + 1) * planes * levels).reshape(-1, planes, levels)
        for plane, class_index in enumerate(indices):
            self.histogram[:, class_index] += counts[:, plane]

    def confusion(self) -> NDArray[np.int64]:
        """(T, K+1, K+1) int64, rows = truth, columns = prediction, 0 = background; without the pixels of `ignored`."""
        below = self.histogram.cumsum(2)[:, :, :-1]  # (K+1, K, T): pixels whose largest map does not exceed threshold t
        confusion = np.zeros((len(self.thresholds), self.n_classes + 1, self.n_classes + 1), np.int64)
        confusion[:, :, BACKGROUND] = below.sum(1).T
        confusion[:, :, mask_value(0) :] = (self.histogram.sum(2, keepdims=True) - below).transpose(2, 0, 1)
        return confusion

    def counts(self) -> NDArray[np.int64]:
        """(T, K+1, K+2) int64: `confusion` with a last column for the pixels of `ignored`."""
        ignored = np.broadcast_to(self.ignored[:, None], (len(self.thresholds), self.n_classes + 1, 1))
        return np.concatenate([self.confusion(), ignored], 2)

    def best(self) -> OracleThreshold:
        """The oracle threshold. Raises `DataError` where no pixel of any class has been counted: empty masks would then
        score best."""
        if not (self.histogram[mask_value(0) :].any() or self.ignored[mask_value(0) :].any()):
            raise DataError(
                "the true masks hold no pixel of any class, so no threshold is better than another: check that they"
                " are not all"
                f" {BACKGROUND} (background) and {IGNORE} (ignore)."
            )
        curve = mean_over_present(class_ious(self.counts()))  # (T,)
        index = int(curve.argmax())
        return OracleThreshold(self.thresholds[index], float(curve[index]), self.thresholds, tuple(curve.tolist()))
