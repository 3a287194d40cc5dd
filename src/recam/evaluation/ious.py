"""Intersection over union of confusion matrices, and what they are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recam.errors import DataError
from recam.labels import IGNORE, present_values
from recam.types import Mask


def class_ious(confusion: NDArray[np.integer]) -> NDArray[np.float64]:
    """Intersection over union (…, C) of confusion matrices (…, C, C), rows = truth; NaN for a class in neither truth
    nor prediction.

    A further column (…, C, C + 1) counts pixels of a known truth without a prediction: they are missing from their
    class.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)  # (…, C)
    union = confusion.sum(-1) + confusion.sum(-2)[..., : hits.shape[-1]] - hits  # (…, C)
    ious: NDArray[np.float64] = np.divide(hits, union, out=np.full(hits.shape, np.nan), where=union > 0)
    return ious


def mean_over_present(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean (…,) of (…, C) over the classes that occur, those that are not NaN; NaN where none does. Of IoUs: the
    mIoU."""
    present = ~np.isnan(values)
    number = present.sum(-1)
    mean: NDArray[np.float64] = np.divide(
        np.where(present, values, 0.0).sum(-1), number, out=np.full(number.shape, np.nan), where=number > 0
    )
    return mean


def check_mask_values(mask: Mask, n_classes: int, what: str) -> None:
    """Raises `DataError` naming `what` where a mask is not of integers, or holds a value that is neither 0…K nor
    255."""
    if mask.dtype.kind not in "iu":
        raise DataError(f"{what} is {mask.dtype}, a mask is uint8: 0 background, 1…{n_classes} classes, 255 ignore.")
    # Of other integers few are counted: a single large one would take as much memory as its value.
    values = present_values(mask) if mask.dtype == np.uint8 else np.unique(mask).tolist()
    wrong = [value for value in values if not (0 <= value <= n_classes or value == IGNORE)][:10]
    if wrong:
        raise DataError(f"{what} holds {wrong}, but with {n_classes} classes a value is 0…{n_classes} or 255.")
