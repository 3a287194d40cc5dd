"""Fig. 6b: mIoU on images with one label and on those with several, of CAM and ReCAM, plain and refined by IRN."""

from __future__ import annotations

from recam.studies.measures import label_group_miou
from recam.studies.study import MAPS, Column, Study, studies

SINGLE = Column("one label", label_group_miou("one label"))
SEVERAL = Column("several labels", label_group_miou("several labels"))
PUBLISHED = {"CAM": 48.8, "ReCAM": 54.8, "CAM + IRN": 66.3, "ReCAM + IRN": 70.9}
"""Of all images; of the two kinds the paper has a drawing alone."""


@studies.register("single-multi")
def single_multi() -> Study:
    """The first two lines of Table 2, taken apart."""
    rows = {
        f"{title}{suffix}": {"training": title.lower(), "refine": refine}
        for suffix, refine in (("", []), (" + IRN", ["irn"]))
        for title in ("CAM", "ReCAM")
    }
    published = {row: {MAPS.title: number} for row, number in PUBLISHED.items()}
    title, measured_on = "Fig. 6b: images with one label, and with several", "VOC 2012 train, ResNet-50"
    return Study(title, "irn-cpu", rows, (MAPS, SINGLE, SEVERAL), "masks", published, measured_on)
