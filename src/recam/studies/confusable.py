"""Fig. 1 and §A: classes that are easily taken for one another against all classes, on images with one label, by BCE
and by SCE: how well they are named, and their class maps, on training and on held-out images."""

from __future__ import annotations

from typing import Any

from recam.evaluation.label_confusion import most_confused
from recam.runfolder.kinds import HELD_OUT
from recam.runfolder.store import read_run
from recam.runfolder.summary import RunSummary
from recam.studies.study import MAPS, Column, FromRow, Measure, Study, Unnamed, studies

HOOFED = ("horse", "sheep", "cow", "elephant", "bear")
"""The paper's, of COCO; of VOC it has the first three."""
OF_PAPER = ("voc", "coco")
"""Kinds of data sets that are taken for those; of any other the classes are found."""
LOSSES = {"BCE": "bce", "SCE": "sce"}
FIRST = f"all classes, {next(iter(LOSSES))}"
"""The row whose classifier shows which classes are taken for one another."""


@studies.register("confusable")
def confusable() -> Study:
    """Two sets of classes by two losses; ``--set 'data.classes=[…]'`` names the confusable ones."""
    one = {"training": "cam", "maker": "", "refine": [], "compare": [], "data.one_label": True, "maps.held_out": True}
    found = FromRow(FIRST, confusable_classes, f"those that the classifier of {FIRST!r} confuses most")
    rows = {
        f"{title}, {loss}": {**one, "cam.loss": name, "data.classes": classes}
        for title, classes in (("all classes", Unnamed()), ("confusable classes", found))
        for loss, name in LOSSES.items()
    }
    columns = (
        Column("accuracy, train", accuracy("train")), Column("accuracy, val", accuracy("val")),
        Column("mIoU, train", MAPS.measure), Column("mIoU, val", held_out_miou),
    )  # fmt: skip
    title = "Fig. 1: confusable classes against all, images with one label"
    return Study(title, "recam-cpu", rows, columns, "maps", free=("data.classes",))


def accuracy(split: str) -> Measure:
    """Part (%) of the images with one label of which the highest logit is that of their class."""

    def measure(summary: RunSummary) -> float | None:
        found = held_out(summary).get("named", {}).get(split, {}).get("accuracy")
        return None if found is None else 100 * float(found)

    return measure


def held_out_miou(summary: RunSummary) -> float | None:
    """mIoU (%) of the class maps of held-out images, at the threshold that scores best on them."""
    found = held_out(summary).get("held_out")
    return 100 * float(found["oracle"]["miou"]) if found else None


def confusable_classes(summary: RunSummary) -> list[str]:
    """The paper's hoofed animals in VOC and COCO; of other data those that the classifier confuses most, by its softmax
    of held-out images: half of all, five at most."""
    record = next(record for record in summary.records.values() if record.get("label", {}).get("kind") == HELD_OUT)
    names = list(record["inputs"]["classes"])
    kind = read_run(summary.root)["recipe"]["data"]["location"].partition(":")[0]
    if kind in OF_PAPER and len(known := [name for name in names if name in HOOFED]) > 1:
        return known
    taken_for = record["results"]["named"]["val"]["taken_for"]
    return [names[index] for index in most_confused(taken_for, max(2, min(len(HOOFED), len(names) // 2)))]


def held_out(summary: RunSummary) -> dict[str, Any]:
    """Results of the run's stage on held-out images; empty without one."""
    found = (record for record in summary.records.values() if record.get("label", {}).get("kind") == HELD_OUT)
    return dict(next(found, {}).get("results", {}))
