"""What the stages that score leave for readers: pixel counts by threshold and by how many labels an image has, and a
row per image.

```
scores/<maps>/NAME.npz             tally of a set of class maps, at every threshold
scores/masks/tally.npz, images.csv      tally and rows of the pseudo masks
predictions/<model>/tally.npz, images.csv
```
`recam.evaluate` writes such rows of any two folders of masks, too.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recam.cells import as_text, from_cell, table_text
from recam.errors import StoreError
from recam.files import ARRAY_ERRORS, atomic_write, write_bytes

TALLY = "tally.npz"
IMAGES = "images.csv"
LABEL_GROUPS = ("no label", "one label", "several labels")
"""First axis of a tally: how many image labels an image has."""
PIXELS = ("right", "missed", "confused", "false_alarm", "ignore")
"""What an `ImageScore` counts."""


@dataclass(frozen=True)
class Tally:
    """Pixel counts by truth and prediction.

    Attributes:
        thresholds: (T,) in [0, 1]; one NaN for masks, which have none.
        counts: (3, T, K+1, K+2) int64: label group, threshold, truth, prediction; the last column for ignore.
    """

    thresholds: NDArray[np.float64]
    counts: NDArray[np.int64]

    def at(self, threshold: float | None = None) -> NDArray[np.int64]:
        """(3, K+1, K+2) at the nearest threshold there is; None for masks."""
        index = 0 if threshold is None else int(np.abs(self.thresholds - threshold).argmin())
        found: NDArray[np.int64] = self.counts[:, index]
        return found


@dataclass(frozen=True)
class ImageScore:
    """How one mask fares against its truth.

    Attributes:
        id: of the sample.
        labels: how many image labels it has; of masks that come without labels, how many classes its truth shows.
        miou: over the classes in its mask or truth, in [0, 1]; NaN where nothing was counted.
        right, missed, confused, false_alarm, ignore: pixels; see `recam.evaluation.metrics.ErrorSplit`.
        boundary_iou: over the foreground classes in its mask or truth, see `recam.evaluation.boundary`; NaN where there
            are none, or in rows written before it was recorded.
    """

    id: str
    labels: int
    miou: float
    right: int
    missed: int
    confused: int
    false_alarm: int
    ignore: int
    boundary_iou: float = float("nan")


def label_group(n_labels: int) -> int:
    """Index into `LABEL_GROUPS`."""
    return min(n_labels, len(LABEL_GROUPS) - 1)


def save_tally(path: Path, counts: NDArray[np.int64], thresholds: Sequence[float] = (float("nan"),)) -> None:
    """Write a tally, whole or not at all, without pickle."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, thresholds=np.asarray(thresholds, np.float64), counts=counts)


def read_tally(path: Path) -> Tally:
    """Read what `save_tally` wrote. Raises `StoreError` for a missing or damaged file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            thresholds, counts = file["thresholds"], file["counts"]
            square = counts.ndim == 4 and counts.shape[3] == counts.shape[2] + 1
            if (
                thresholds.dtype.kind != "f"
                or counts.dtype.kind != "i"
                or not square
                or counts.shape[:2] != (3, *thresholds.shape)
            ):
                raise ValueError(f"thresholds {thresholds.shape} and counts {counts.shape} do not fit together")
            if counts.size and counts.min() < 0:
                raise ValueError("it counts less than no pixel")
            return Tally(thresholds, counts)
    except ARRAY_ERRORS as error:
        raise StoreError(
            f"{path} cannot be read as pixel counts ({error}). Delete it; `recam run` makes it again."
        ) from error


def save_image_scores(path: Path, rows: Sequence[ImageScore]) -> None:
    """Write a CSV with a header, whole or not at all; unknown scores are empty, ids are text to a spreadsheet (see
    `recam.cells`)."""
    names = [field.name for field in fields(ImageScore)]
    lines: list[list[object]] = [list(names)]
    for row in rows:
        values = [as_text(row.id), *(getattr(row, name) for name in names[1:])]
        lines.append(
            ["" if value != value else f"{value:.6f}" if isinstance(value, float) else value for value in values]
        )
    write_bytes(path, table_text(lines).encode())


def read_image_scores(path: Path) -> list[ImageScore]:
    """Read what `save_image_scores` wrote. Raises `StoreError` for a missing or damaged file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                ImageScore(
                    from_cell(row["id"]),
                    int(row["labels"]),
                    float(row["miou"] or "nan"),
                    **{name: int(row[name]) for name in PIXELS},
                    boundary_iou=float(row.get("boundary_iou") or "nan"),
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, csv.Error) as error:
        raise StoreError(
            f"{path} cannot be read as scores of images ({error}). Delete it; `recam run` makes it again."
        ) from error
