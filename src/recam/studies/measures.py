"""Numbers of a run that come from the pixels that its stages counted: parts of the images, and kinds of errors, at any
threshold of the class maps that the pseudo masks come from."""

from __future__ import annotations

from recam.evaluation.ious import class_ious, mean_over_present
from recam.evaluation.metrics import error_split
from recam.evaluation.pixel_counts import LABEL_GROUPS, Tally, read_tally
from recam.runfolder.kinds import MAP_SCORES
from recam.runfolder.summary import RunSummary
from recam.studies.study import Column, Measure, final_maps

ERRORS = {"right": "TP", "confused": "FP (object)", "missed": "FN", "false_alarm": "FP (background)"}
"""Names of Table S3."""


def label_group_miou(group: str) -> Measure:
    """mIoU (%) on the images of one of `LABEL_GROUPS`, at the threshold that scores best on all of them."""
    index = LABEL_GROUPS.index(group)

    def measure(summary: RunSummary) -> float | None:
        if (counted := counted_pixels(summary)) is None:
            return None
        tally, threshold = counted
        counts = tally.at(threshold)[index]
        return 100 * float(mean_over_present(class_ious(counts))) if counts[1:].any() else None

    return measure


def error_columns(above: float = 0.0, suffix: str = "") -> list[Column]:
    """Share (%) of the pixels that each error of Table S3 takes.

    Args:
        above: how far above the threshold that scores best.
        suffix: of the columns' titles.
    """

    def measure_of(error: str) -> Measure:
        def measure(summary: RunSummary) -> float | None:
            if (counted := counted_pixels(summary)) is None:
                return None
            tally, threshold = counted
            return 100 * error_split(tally.at(threshold + above).sum(0)).shares[error]

        return measure

    return [Column(f"{title}{suffix}", measure_of(error)) for error, title in ERRORS.items()]


def counted_pixels(summary: RunSummary) -> tuple[Tally, float] | None:
    """Pixel counts of the class maps that the pseudo masks come from, and their oracle threshold; None where nothing
    was scored."""
    name = final_maps(summary)
    for stage, record in summary.records.items():
        found = record.get("results", {}).get("maps", {}) if record.get("label", {}).get("kind") == MAP_SCORES else {}
        if name in found:
            return read_tally(summary.root / stage / f"{name}.npz"), float(found[name]["oracle"]["threshold"])
    return None
