"""Scores of a run as rows, for tables and DataFrames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recam.runfolder.costs import Records, upstream_minutes
from recam.runfolder.kinds import MAP_SCORES

COLUMNS = (
    "stage", "title", "images", "miou", "boundary_iou", "f1", "pixel_accuracy", "threshold", "minutes"
)  # fmt: skip
CLASS_COLUMNS = ("stage", "title", "class", "iou")


def score_rows(records: Records) -> Iterator[dict[str, Any]]:
    """A row of `COLUMNS` for each set of class maps, at the threshold that scores best, and each set of masks; scores
    in [0, 1]; minutes of compute time of all upstream stages."""
    for stage, record in records.items():
        label, results = record.get("label", {}), record.get("results", {})
        row = {"stage": stage, "images": results.get("images"), "minutes": upstream_minutes(records, stage)}
        if label.get("kind") == MAP_SCORES:
            titles = {each["name"]: each["title"] for each in label.get("sets", ())}
            for name, judged in results.get("maps", {}).items():
                yield {**row, "title": titles.get(name, name), **(judged["oracle"] or {})}
        elif scores := results.get("scores"):
            kept = {name: value for name, value in scores.items() if name in COLUMNS}
            yield {**row, "title": label.get("title", stage), **kept}


def class_rows(records: Records) -> Iterator[dict[str, Any]]:
    """A row of `CLASS_COLUMNS` for each class of each set of masks; IoU in [0, 1], None for a class that never
    occurs."""
    for stage, record in records.items():
        title = record.get("label", {}).get("title", stage)
        for name, iou in record.get("results", {}).get("scores", {}).get("iou", {}).items():
            yield {"stage": stage, "title": title, "class": name, "iou": iou}
