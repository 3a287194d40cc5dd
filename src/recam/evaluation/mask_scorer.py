"""Masks scored against their truth one by one, and what they come to together: for the stages of a run and for any two
folders alike."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from recam.evaluation.boundary import BoundaryCounts
from recam.evaluation.ious import class_ious, mean_over_present
from recam.evaluation.metrics import ConfusionMatrix, Scores, error_split
from recam.evaluation.pixel_counts import LABEL_GROUPS, ImageScore, label_group
from recam.labels import MAX_CLASSES, ClassSet
from recam.types import Mask


class MaskScorer:
    """Scores of masks, each by itself and all together.

    Args:
        classes: the K foreground classes; None names them by number, up to the largest that occurs (K = 254 until
            then).
        background: whether mask value 0 is scored; of named classes they state it themselves.
    """

    def __init__(self, classes: ClassSet | None, background: bool = True) -> None:
        self._background = classes.background if classes else background
        self._classes: ClassSet | int = classes or MAX_CLASSES
        self.n_classes = len(classes) if classes else MAX_CLASSES
        self.counts = np.zeros((len(LABEL_GROUPS), 1, self.n_classes + 1, self.n_classes + 2), np.int64)
        """(3, 1, K+1, K+2) int64, as `recam.evaluation.pixel_counts.Tally.counts`; those of several processes may be
        added."""
        self.boundary = BoundaryCounts(self.n_classes)

    def score(self, name: str, mask: Mask, truth: Mask, n_labels: int | None = None) -> ImageScore:
        """Count one pair of masks (H, W).

        Args:
            name: of the image.
            n_labels: how many image labels it has; None: as many as there are classes in its truth.

        Raises:
            DataError: different shapes, or values that are neither a class nor 255.
        """
        confusion, boundary = ConfusionMatrix(self.n_classes), BoundaryCounts(self.n_classes)
        confusion.update(mask, truth)
        boundary.update(mask, truth)
        shown = int(np.count_nonzero(confusion.counts[1:].any(1)))
        labels = shown if n_labels is None else n_labels
        self.counts[label_group(labels), 0] += confusion.counts
        self.boundary.counts += boundary.counts
        # Of one image, background alone is a score like any other; of a whole data set it would be vacuous.
        miou = float(mean_over_present(class_ious(confusion.counts)))
        return ImageScore(name, labels, miou, **asdict(error_split(confusion.counts)), boundary_iou=boundary.mean())

    @property
    def total(self) -> NDArray[np.int64]:
        """(K+1, K+2) int64 counts of all pairs, as those of a `ConfusionMatrix`."""
        total: NDArray[np.int64] = self.counts.sum((0, 1))
        return total

    def scores(self) -> Scores:
        """Of all pairs together."""
        matrix = ConfusionMatrix(self._classes)
        matrix.counts += self.total
        named = isinstance(self._classes, ClassSet)
        matrix = matrix if named else _shrink(matrix)
        matrix.first = 0 if self._background else 1
        scores = matrix.scores()
        return scores if math.isnan(scores.miou) else replace(scores, boundary_iou=self.boundary.mean())


def _shrink(matrix: ConfusionMatrix) -> ConfusionMatrix:
    """The matrix without the classes above the largest that occurs."""
    occurs = np.flatnonzero(matrix.matrix.sum(0) + matrix.counts.sum(1))
    n_classes = max(int(occurs.max(initial=0)), 1)
    small = ConfusionMatrix(n_classes)
    small.counts[:, :-1] = matrix.matrix[: n_classes + 1, : n_classes + 1]
    small.counts[:, -1] = matrix.counts[: n_classes + 1, -1]
    return small
