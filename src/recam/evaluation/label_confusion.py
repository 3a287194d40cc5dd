"""Which class a classifier takes images of one label for, with and without knowing better.

Letters: K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recam.errors import DataError


class LabelConfusion:
    """Counts over any number of images, of those that show exactly one of K classes.

    Attributes:
        images: (K,) int64, images of each class.
        right: (K,) int64, those whose highest logit is that of their class.
        given: (K, K) float64, rows = class of the images, columns = sums of the softmax of their logits: unlike
            counts of mistakes, these tell classes apart of a classifier that makes few, on few images.
    """

    def __init__(self, n_classes: int) -> None:
        self.images = np.zeros(n_classes, np.int64)
        self.right = np.zeros(n_classes, np.int64)
        self.given = np.zeros((n_classes, n_classes), np.float64)

    def update(self, logits: ArrayLike, label: int) -> None:
        """Count one image.

        Args:
            logits: (K,).
            label: its class, 0…K−1.

        Raises:
            DataError: not K logits, or such that are not finite.
        """
        found = np.asarray(logits, np.float64)
        if found.shape != self.images.shape or not np.isfinite(found).all():
            raise DataError(f"logits {found} are not one finite number for each of {len(self.images)} classes.")
        shares = np.exp(found - found.max())
        self.images[label] += 1
        self.right[label] += int(found.argmax() == label)
        self.given[label] += shares / shares.sum()

    @property
    def accuracy(self) -> float | None:
        """Part of the images whose class is named, in [0, 1]; None without images."""
        return float(self.right.sum() / self.images.sum()) if self.images.any() else None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: images, accuracy, and the mean softmax that images of each class give each, in rows."""
        taken_for = self.given / np.maximum(self.images, 1)[:, None]
        return {"images": int(self.images.sum()), "accuracy": self.accuracy, "taken_for": taken_for.tolist()}


def most_confused(taken_for: ArrayLike, count: int) -> list[int]:
    """`count` classes that are most taken for one another, ascending: the pair that is most, then again and again the
    class that is most confused with those in the mean. Of equals the first.

    Args:
        taken_for: (K, K) see `LabelConfusion.as_dict`.
        count: from 2 to K.

    Raises:
        DataError: no square table, or another count.
    """
    table = np.asarray(taken_for, np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not 2 <= count <= len(table):
        raise DataError(f"{count} classes cannot be chosen by a table {table.shape}: it must be (K, K), 2 ≤ count ≤ K.")
    both: NDArray[np.float64] = table + table.T
    np.fill_diagonal(both, -1)
    chosen = [int(place) for place in np.unravel_index(both.argmax(), both.shape)]
    while len(chosen) < count:
        means = both[:, chosen].mean(1)
        means[chosen] = -1
        chosen.append(int(means.argmax()))
    return sorted(chosen)
