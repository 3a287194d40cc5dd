"""Table 1, lower half: which weights the class maps are made with (eq. 9)."""

from __future__ import annotations

from recam.studies.study import MAPS, MINUTES, Study, studies

PUBLISHED = {"CAM": 48.8, "w": 52.1, "w′": 54.1, "w ⊕ w′": 52.7, "w ⊗ w′": 54.8}


@studies.register("weights")
def weights() -> Study:
    """CAM, and ReCAM with each of its weightings."""
    rows = {
        "CAM": {"training": "cam"},
        "w": {"maps.weighting": "w"},
        "w′": {"maps.weighting": "w_prime"},
        "w ⊕ w′": {"maps.weighting": "add"},
        "w ⊗ w′": {"maps.weighting": "mul"},
    }
    published = {row: {MAPS.title: number} for row, number in PUBLISHED.items()}
    title, measured_on = "Table 1, lower half: weights of the class maps", "VOC 2012, ResNet-50"
    return Study(title, "recam-cpu", rows, (MAPS, MINUTES), "masks", published, measured_on)
