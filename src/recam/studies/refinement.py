"""Table 2: CAM and ReCAM, plain, with IRN, with AdvCAM, with both; mIoU and compute time."""

from __future__ import annotations

from recam.studies.study import MAPS, MINUTES, Study, studies

PUBLISHED = {
    "CAM": 48.8, "CAM + IRN": 66.3, "CAM + AdvCAM": 55.6, "CAM + AdvCAM + IRN": 69.9,
    "ReCAM": 54.8, "ReCAM + IRN": 70.9, "ReCAM + AdvCAM": 56.6, "ReCAM + AdvCAM + IRN": 70.5,
}  # fmt: skip


@studies.register("refinement")
def refinement() -> Study:
    """Eight rows: two trainings, with and without a maker, with and without a refiner."""
    rows = {}
    for title, training in (("CAM", "cam"), ("ReCAM", "recam")):
        for maker_title, maker in (("", ""), (" + AdvCAM", "advcam")):
            for refiner_title, refine in (("", []), (" + IRN", ["irn"])):
                settings = {"training": training, "maker": maker, "refine": refine}
                rows[f"{title}{maker_title}{refiner_title}"] = settings
    published = {row: {MAPS.title: number} for row, number in PUBLISHED.items()}
    return Study("Table 2: refinement of CAM and of ReCAM", "irn-cpu", rows, (MAPS, MINUTES), "masks", published)
