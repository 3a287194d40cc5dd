"""Table 1, upper half: losses of the classifier, without FC2."""

from __future__ import annotations

from recam.studies.study import MAPS, MINUTES, Study, studies

PUBLISHED = {"BCE": 48.8, "SCE": 44.6, "SCE for single-label images": 49.4}


@studies.register("losses")
def losses() -> Study:
    """The multi-label loss; softmax over classes with labels that sum to 1; that for images of one label, BCE else."""
    names = ("bce", "sce", "sce_single")
    rows = {row: {"training": "cam", "cam.loss": loss} for row, loss in zip(PUBLISHED, names, strict=True)}
    published = {row: {MAPS.title: number} for row, number in PUBLISHED.items()}
    title, measured_on = "Table 1, upper half: losses of the classifier", "VOC 2012, ResNet-50"
    return Study(title, "recam-cpu", rows, (MAPS, MINUTES), "masks", published, measured_on)
