"""Tables 3 and S1: the same masks learned by three segmentation networks."""

from __future__ import annotations

from recam.recipe.toml import own_settings
from recam.studies.study import MAPS, MODEL, Study, studies

NETWORKS = {"DeepLabV2": "recam-cpu-deeplabv2", "DeepLabV3+": "", "UperNet": "recam-cpu-upernet"}
"""Recipe whose settings a network takes; empty: those of `irn-cpu`."""
MASKS = {
    "": ("", []), " + IRN": ("", ["irn"]), " + AdvCAM": ("advcam", []), " + AdvCAM + IRN": ("advcam", ["irn"])
}  # fmt: skip
PUBLISHED = {
    "CAM": {"DeepLabV2": (54.3, 63.5, 58.3, 68.1), "UperNet": (48.5, 65.9, 55.8, 70.2),
            "DeepLabV3+": (53.5, 64.2, 57.3, 68.5)},
    "ReCAM": {"DeepLabV2": (59.0, 68.7, 59.1, 68.4), "UperNet": (54.6, 70.9, 57.3, 70.4),
              "DeepLabV3+": (57.8, 69.3, 58.3, 68.6)},
}  # fmt: skip
"""mIoU (%) on val, for each of `MASKS`."""


@studies.register("segmentation")
def segmentation() -> Study:
    """24 rows: masks of CAM and ReCAM, plain, by IRN, AdvCAM and both, in each network; masks are made once."""
    rows, published = {}, {}
    for network, recipe in NETWORKS.items():
        settings = own_settings(recipe) if recipe else {}
        for title in ("CAM", "ReCAM"):
            for (suffix, (maker, refine)), number in zip(MASKS.items(), PUBLISHED[title][network], strict=True):
                row = f"{title}{suffix}, {network}"
                rows[row] = {"training": title.lower(), "maker": maker, "refine": refine, **settings}
                published[row] = {MODEL.title: number}
    title, measured_on = "Tables 3 and S1: segmentation networks on the same masks", "VOC 2012 val, ResNet-101 and Swin"
    return Study(title, "irn-cpu", rows, (MODEL, MAPS), "segment", published, measured_on)
