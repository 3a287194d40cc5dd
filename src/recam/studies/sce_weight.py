"""Fig. 6a and S1: how much the weight λ of SCE matters (eq. 8)."""

from __future__ import annotations

from recam.studies.figures import over_setting
from recam.studies.study import MAPS, MINUTES, Study, studies

WEIGHTS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
PUBLISHED = {"CAM": {MAPS.title: 48.8}, "λ = 1": {MAPS.title: 54.8}}
"""Of the others the paper has a drawing alone."""


@studies.register("lambda")
def sce_weight() -> Study:
    """ReCAM with each weight, and CAM as the level to be above."""
    rows = {f"λ = {weight:g}": {"recam.sce_weight": weight} for weight in WEIGHTS}
    places = {row: ("ReCAM", weight) for row, weight in zip(rows, WEIGHTS, strict=True)}
    figure = over_setting(places, MAPS, "λ", reference="CAM")
    title, measured_on = "Fig. 6a, S1: the weight λ of SCE", "VOC 2012, ResNet-50"
    plain = {"CAM": {"training": "cam"}}
    return Study(title, "recam-cpu", {**plain, **rows}, (MAPS, MINUTES), "masks", PUBLISHED, measured_on, (figure,))
