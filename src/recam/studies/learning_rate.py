"""Fig. S2: learning rates of CAM and of ReCAM, as multiples of the recipe's; a training may diverge."""

from __future__ import annotations

from recam.studies.figures import over_setting
from recam.studies.study import MAPS, MINUTES, Study, Times, studies

RATIOS = (0.1, 0.3, 1, 3, 10)
RATES = {"ReCAM": ("recam.lr", "recam.fc2_lr"), "CAM": ("cam.lr", "cam.head_lr")}
PUBLISHED = {"ReCAM × 1": {MAPS.title: 54.8}, "CAM × 1": {MAPS.title: 48.8}}
"""Of the others the paper has a drawing alone."""


@studies.register("learning-rate")
def learning_rate() -> Study:
    """ReCAM at each rate, from the CAM of the recipe's rates; CAM at each rate."""
    rows, places = {}, {}
    for title, rates in RATES.items():
        for ratio in RATIOS:
            row = f"{title} × {ratio:g}"
            rows[row] = {"training": title.lower(), **{rate: Times(ratio) for rate in rates}}
            places[row] = (title, float(ratio))
    figure = over_setting(places, MAPS, "times the recipe's learning rates")
    title, measured_on = "Fig. S2: sensitivity to learning rates", "VOC 2012, ResNet-50"
    return Study(
        title, "recam-cpu", rows, (MAPS, MINUTES), "masks", PUBLISHED, measured_on, (figure,), may_diverge=True
    )
