"""Table 2: CAM and ReCAM, plain, with IRN, with AdvCAM, with both; mIoU and compute time."""

from __future__ import annotations

from recam.studies.study import MAPS, MINUTES, Column, Study, studies, total_minutes

COST = Column("time, in units of CAM's", total_minutes, 1, unit="CAM")
PUBLISHED = {
    "CAM": (48.8, 1.0), "CAM + IRN": (66.3, 8.2), "CAM + AdvCAM": (55.6, 316.3), "CAM + AdvCAM + IRN": (69.9, 323.3),
    "ReCAM": (54.8, 1.9), "ReCAM + IRN": (70.9, 9.1), "ReCAM + AdvCAM": (56.6, 317.2),
    "ReCAM + AdvCAM + IRN": (70.5, 324.2),
}  # fmt: skip
"""mIoU (%) of pseudo masks, and time in units of 0.7 hours."""


@studies.register("refinement")
def refinement() -> Study:
    """Eight rows: two trainings, with and without a maker, with and without a refiner."""
    rows = {}
    for title, training in (("CAM", "cam"), ("ReCAM", "recam")):
        for maker_title, maker in (("", ""), (" + AdvCAM", "advcam")):
            for refiner_title, refine in (("", []), (" + IRN", ["irn"])):
                settings = {"training": training, "maker": maker, "refine": refine}
                rows[f"{title}{maker_title}{refiner_title}"] = settings
    published = {row: {MAPS.title: miou, COST.title: time} for row, (miou, time) in PUBLISHED.items()}
    title, measured_on = "Table 2: refinement of CAM and of ReCAM", "pseudo masks of VOC 2012 train, ResNet-50"
    return Study(title, "irn-cpu", rows, (MAPS, COST, MINUTES), "masks", published, measured_on)
