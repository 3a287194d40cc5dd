"""Scores of label maps: one confusion matrix for a data set, and what follows from it.

torchmetrics is not used here: masks are uint8 arrays on the CPU, for which one bincount is five times as fast, and
importing it takes seconds that `recam evaluate` on a few masks would spend on nothing else. It also has no place for a
prediction of 255.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recam.errors import DataError
from recam.evaluation.ious import check_mask_values, class_ious, mean_over_present
from recam.frames import as_frame
from recam.labels import BACKGROUND, IGNORE, PIXEL_BLOCK, ClassSet, mask_value
from recam.types import Mask

NOT_SCORED = "not scored: the true masks hold no pixel of any class"
"""Instead of scores that mean nothing: whatever is predicted least would win."""


class ConfusionMatrix:
    """Pixel counts by truth and prediction, over any number of images.

    Truth 255 is not counted. A prediction of 255 (ignore) of a known truth counts as wrong: the pixel is missing from
    its true class and is a false alarm of none, so that nobody gains by leaving pixels open.

    Args:
        classes: the K foreground classes, or their number.
    """

    def __init__(self, classes: ClassSet | int) -> None:
        n_classes = classes if isinstance(classes, int) else len(classes)
        self.names = (
            classes.mask_names if isinstance(classes, ClassSet) else tuple(str(value) for value in range(n_classes + 1))
        )
        self.first = 1 if isinstance(classes, ClassSet) and not classes.background else 0
        """Least mask value that is scored: without a background no score is one of it."""
        self.counts = np.zeros((n_classes + 1, n_classes + 2), np.int64)
        """(K+1 truths, K+2 predictions) int64, the last column for ignore; those of several processes or shards may be
        added."""

    @property
    def matrix(self) -> NDArray[np.int64]:
        """(K+1, K+1) rows = truth, columns = prediction, 0 = background; without the pixels predicted as ignore."""
        return self.counts[:, :-1]

    def update(self, prediction: Mask, truth: Mask) -> None:
        """Count one pair of masks (H, W), or of stacks of them.

        Raises:
            DataError: different shapes, or values that are neither a class nor 255.
        """
        if prediction.shape != truth.shape:
            raise DataError(
                f"a prediction of {prediction.shape} and a truth of {truth.shape} cannot be compared: resize neither,"
                " find the pair."
            )
        check_mask_values(prediction, len(self.counts) - 1, "the prediction")
        check_mask_values(truth, len(self.counts) - 1, "the true mask")
        rows, columns = self.counts.shape
        ours, theirs = prediction.reshape(-1), truth.reshape(-1)
        for start in range(0, theirs.size, PIXEL_BLOCK):
            known = theirs[start : start + PIXEL_BLOCK]
            counted = known != IGNORE
            # The ignore value 255 becomes the last column.
            predicted = np.minimum(ours[start : start + PIXEL_BLOCK][counted], columns - 1)
            code = known[counted].astype(np.int64) * columns + predicted
            self.counts += np.bincount(code, minlength=rows * columns).reshape(rows, columns)

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """The matrix of both sets of images. Raises `DataError` where their classes differ."""
        if self.names != other.names:
            raise DataError(f"confusion matrices of different classes cannot be added: {self.names} and {other.names}.")
        both = ConfusionMatrix(len(self.counts) - 1)
        both.names, both.first, both.counts = self.names, self.first, self.counts + other.counts
        return both

    def scores(self) -> Scores:
        """Everything that is computed from the counts; NaN where the truth holds no pixel of any class, as all would be
        vacuous."""
        total = int(self.counts.sum())
        scored = bool(self.counts[mask_value(0) :].any())
        ious = class_ious(self.counts) if scored else np.full(len(self.counts), np.nan)  # (K+1,)
        ious = ious[self.first :]
        return Scores(
            names=self.names[self.first :],
            iou=tuple(ious.tolist()),
            miou=float(mean_over_present(ious)),
            # Per class F1 = 2·TP / (truths + predictions) = 2·IoU / (1 + IoU).
            f1=float(mean_over_present(2 * ious / (1 + ious))),
            pixel_accuracy=float(np.trace(self.counts)) / total if scored else math.nan,
            ignore=float(self.counts[:, -1].sum()) / total if total else math.nan,
            pixels=total,
            errors=error_split(self.counts),
        )


ERROR_NAMES = {
    "right": "right (TP)",
    "missed": "missed (FN)",
    "confused": "another class (FP, object)",
    "false_alarm": "false alarm (FP, background)",
    "ignore": "ignore",
}
"""What people read for the attributes of an `ErrorSplit`."""


@dataclass(frozen=True)
class ErrorSplit:
    """Pixels of known truth by what became of them, after Table S3 of the paper; together all of them.

    Attributes:
        right: of the right class, background included (TP).
        missed: an object taken for background (FN).
        confused: an object taken for another class (FP, object).
        false_alarm: background taken for an object (FP, background).
        ignore: predicted as 255.
    """

    right: int
    missed: int
    confused: int
    false_alarm: int
    ignore: int

    @property
    def shares(self) -> dict[str, float]:
        """Each by name, as its share of all of them in [0, 1]; NaN where there are none."""
        pixels = asdict(self)
        total = sum(pixels.values())
        return {name: count / total if total else math.nan for name, count in pixels.items()}


def error_split(counts: NDArray[np.integer]) -> ErrorSplit:
    """What the counts (K+1, K+2) of a `ConfusionMatrix` show of the two flaws of class maps: too little found, too much
    found."""
    matrix = counts[:, :-1]
    right, missed, false_alarm = int(np.trace(matrix)), int(matrix[1:, 0].sum()), int(matrix[0, 1:].sum())
    ignore = int(counts[:, -1].sum())
    return ErrorSplit(right, missed, int(counts.sum()) - right - missed - false_alarm - ignore, false_alarm, ignore)


@dataclass(frozen=True)
class Scores:
    """How well label maps agree with the truth; all in [0, 1]. Scores are NaN where the truth holds no pixel of any
    class.

    Attributes:
        names: (K+1,) class names, background first; (K,) where there is none.
        iou: (K+1,) or (K,) intersection over union of each class; NaN for a class in neither truth nor prediction.
        miou: mean IoU over the classes that occur in truth or prediction.
        f1: mean F1 over the same classes (macro).
        pixel_accuracy: share of pixels predicted right.
        ignore: share of pixels predicted as 255.
        pixels: number of pixels counted, those with a known truth.
        errors: what became of these pixels.
        boundary_iou: mean over the foreground classes that occur, see `recam.evaluation.boundary`; NaN where it was not
            counted.
    """

    names: tuple[str, ...]
    iou: tuple[float, ...]
    miou: float
    f1: float
    pixel_accuracy: float
    ignore: float
    pixels: int
    errors: ErrorSplit
    boundary_iou: float = math.nan

    def __str__(self) -> str:
        if math.isnan(self.miou):
            values = f"{BACKGROUND} is the background, {IGNORE} ignore, a class has 1 to {len(self.names) - 1}"
            return f"{NOT_SCORED} ({values})"
        rows = [(name, iou) for name, iou in zip(self.names, self.iou, strict=True)]
        rows += [("mIoU", self.miou), ("mean F1", self.f1), ("pixel accuracy", self.pixel_accuracy)]
        rows += [] if math.isnan(self.boundary_iou) else [("boundary IoU", self.boundary_iou)]
        rows += [
            (ERROR_NAMES[name], share) for name, share in self.errors.shares.items() if name != "ignore" or share > 0
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(
            f"{name:<{width}}  {'–' if math.isnan(value) else f'{100 * value:.2f}':>6}" for name, value in rows
        )

    def to_frame(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each class: its name and its IoU in [0, 1], NaN for one that never
        occurs. Raises `DependencyError` where pandas is not installed."""
        rows = [{"class": name, "iou": iou} for name, iou in zip(self.names, self.iou, strict=True)]
        return as_frame(rows, ("class", "iou"))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: IoU by class name, NaN as None."""

        def known(value: float) -> float | None:
            return None if math.isnan(value) else value

        return {
            "miou": known(self.miou),
            "f1": known(self.f1),
            "pixel_accuracy": known(self.pixel_accuracy),
            "boundary_iou": known(self.boundary_iou),
            "ignore": known(self.ignore),
            "pixels": self.pixels,
            "errors": {name: known(share) for name, share in self.errors.shares.items()},
            "iou": {name: known(iou) for name, iou in zip(self.names, self.iou, strict=True)},
        }
