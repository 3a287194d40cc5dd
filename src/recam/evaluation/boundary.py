"""Boundary IoU: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021.

IoU of the two bands along the inside of a class's outline, in truth and in prediction: unlike IoU it does not forgive a
coarse outline around a large object. The band is as wide as 2 % of the image's diagonal (published); the image's border
is an outline, too.

Ours: over a data set, pixels of bands are summed up a class, as for mIoU; pixels of an unknown truth are not counted.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from recam.evaluation.ious import mean_over_present
from recam.labels import BACKGROUND, IGNORE, present_values, row_blocks
from recam.types import Mask

WIDTH = 0.02
"""Width of the band in units of the image's diagonal (published)."""


def band_width(size: tuple[int, int], share: float = WIDTH) -> int:
    """Pixels of the band of an (H, W) image, at least 1."""
    return max(1, round(share * math.hypot(*size)))


def inner_band(region: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Pixels (H, W) of a region that are less than `width` + 1 steps, straight or diagonal, from outside it or the
    image."""
    band = np.empty_like(region)
    for rows in row_blocks((region.shape[0], region.shape[1])):
        above = min(rows.start, width)  # rows of other blocks that this one's bands reach
        part = region[rows.start - above : rows.stop + width]
        outside = F.pad(torch.from_numpy(~part)[None, None].float(), [width] * 4, value=1.0)
        # A maximum over a square is one over rows, then over columns.
        near = F.max_pool2d(F.max_pool2d(outside, (1, 2 * width + 1), stride=1), (2 * width + 1, 1), stride=1)[
            0, 0
        ].numpy()
        band[rows] = region[rows] & (near[above : above + rows.stop - rows.start] > 0)
    return band


class BoundaryCounts:
    """Pixels in both bands and in either, a class, over any number of images.

    Args:
        n_classes: K foreground classes.
    """

    def __init__(self, n_classes: int) -> None:
        self.counts = np.zeros((n_classes, 2), np.int64)
        """(K, 2) intersections and unions; those of several processes or shards may be added."""

    def update(self, prediction: Mask, truth: Mask) -> None:
        """Count one pair of masks (H, W) of one size; values as in `recam.evaluation.metrics.ConfusionMatrix.update`,
        which checks them."""
        known, width = truth != IGNORE, band_width((truth.shape[0], truth.shape[1]))
        for value in sorted({*present_values(prediction), *present_values(truth)}):
            if value in (BACKGROUND, IGNORE):
                continue
            ours, theirs = (inner_band(mask == value, width) & known for mask in (prediction, truth))
            self.counts[value - 1] += (int((ours & theirs).sum()), int((ours | theirs).sum()))

    def mean(self) -> float:
        """Mean boundary IoU in [0, 1] over the foreground classes that occur; NaN where none does."""
        both, either = self.counts[:, 0], self.counts[:, 1]
        ious = np.divide(both, either, out=np.full(len(both), np.nan), where=either > 0)
        return float(mean_over_present(ious))
