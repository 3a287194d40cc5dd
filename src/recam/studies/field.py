"""Table 4: the published systems, without and with saliency maps, and ReCAM plugged into those that take them.

DSRG stands among those with saliency maps in the paper; here its seeds of the background are of the class maps.

A system is a line of `WITHOUT` or `WITH`: what it sets, and its mIoU on VOC val in the paper's table, None where that
does not have it. With IRN or PSA's walk where its paper has that.
"""

from __future__ import annotations

from typing import Any

from recam.studies.study import MAPS, MINUTES, MODEL, Study, studies

SALIENCY = "saliency.source"
Systems = dict[str, tuple[dict[str, Any], float | None]]

WITHOUT: Systems = {
    "CAM": ({"training": "cam"}, None),
    "GAIN": ({"training": "gain"}, None),
    "Score-CAM": ({"training": "cam", "maker": "score_cam"}, None),
    "PSA": ({"training": "cam", "refine": ["psa"]}, None),
    "IRN": ({"training": "cam", "refine": ["irn"]}, 63.5),
    "OAA": ({"training": "oaa"}, 63.9),
    "ICD": ({"training": "icd"}, 64.1),
    "SEAM": ({"training": "seam", "refine": ["psa"]}, 64.5),
    "SC-CAM": ({"training": "sccam", "refine": ["psa"]}, 66.1),
    "BES": ({"training": "bes_cam", "refine": ["bes"]}, 65.7),
    "CONTA": ({"training": "conta", "refine": ["irn"]}, 65.3),
    "AdvCAM": ({"training": "cam", "maker": "advcam", "refine": ["irn"]}, 68.1),
    "RIB": ({"training": "cam", "maker": "rib", "refine": ["irn"]}, 68.3),
    "DSRG": ({"training": "cam", "segment.loss": "dsrg"}, 61.4),
    "LPCAM": ({"training": "cam", "maker": "lpcam"}, None),
    "Region-CAM": ({"training": "cam", "maker": "region_cam"}, None),
    "ReCAM, no refinement": ({"training": "recam"}, None),
    "ReCAM": ({"training": "recam", "refine": ["irn"]}, 68.5),
}
WITH: Systems = {
    "OAA, saliency": ({"training": "oaa", "refine": ["oaa"]}, 65.2),
    "ICD, saliency": ({"training": "icd", "refine": ["edam"]}, 67.8),
    "SGAN": ({"training": "sgan", "refine": ["sgan"]}, 66.2),
    "NSROM": ({"training": "nsrom", "refine": ["nsrom", "nsrom_round"]}, 68.3),
    "EDAM": ({"training": "edam", "refine": ["edam"]}, 70.9),
    "EPS": ({"training": "eps"}, 70.9),
    "ReCAM-E": ({"training": "recam", "recam.starts_from": "eps"}, 71.6),
    "ReCAM-M": ({"training": "recam", "refine": ["edam"]}, 71.8),
}


@studies.register("field")
def field() -> Study:
    """A row for each system; those with saliency maps where the run has some."""
    plain = {"maker": "", "refine": []}
    rows = {row: plain | {SALIENCY: ""} | own for row, (own, _) in WITHOUT.items()}
    rows |= {row: plain | own for row, (own, _) in WITH.items()}
    published = {row: {MODEL.title: miou} for row, (_, miou) in (WITHOUT | WITH).items() if miou is not None}
    title, measured_on = "Table 4: published systems, without and with saliency maps", "VOC 2012 val, DeepLabV2"
    needs = {SALIENCY: "a folder of saliency maps, or a saliency network"}
    columns = (MODEL, MAPS, MINUTES)
    return Study(title, "field-cpu", rows, columns, "segment", published, measured_on, free=(SALIENCY,), needs=needs)
