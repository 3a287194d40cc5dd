"""Reads an export with Datumaro or Label Studio's converter and writes what they found; run by the Python of the
importers' environment.

    python read_by_importers.py FORMAT EXPORT OUTPUT.npz

OUTPUT holds one array (H, W) of bool for each label of an image, by ``ID<tab>LABEL``, and ``ID<tab>`` for each image:
its size.
"""

import json
import sys
from pathlib import Path

import numpy as np


def read_by_datumaro(place, format_name):
    """Every shape of one label in an image joined: exports hold several polygons for one class."""
    import datumaro

    dataset = datumaro.Dataset.import_from(str(place), format_name)
    labels = dataset.categories()[datumaro.AnnotationType.label]
    found = {}
    for item in dataset:
        size = item.media.size if item.media is not None else item.annotations[0].image.shape
        found[f"{item.id}\t"] = np.array(size)
        for annotation in item.annotations:
            if annotation.type == datumaro.AnnotationType.bbox:  # COCO's boxes, beside the shapes that they are of
                continue
            key = f"{item.id}\t{labels[annotation.label].name}"
            pixels = (
                annotation.image if annotation.type == datumaro.AnnotationType.mask else filled(annotation.points, size)
            )
            found[key] = found.get(key, np.zeros(size, bool)) | (pixels != 0)
    return found


def filled(points, size):
    from pycocotools import mask

    (runs,) = mask.frPyObjects([points], *size)
    return mask.decode(runs)


def read_by_label_studio(place):
    """As its converter reads annotations, whose values it puts beside the other fields of a region first."""
    from label_studio_converter.brush import decode_from_annotation

    found = {}
    for task in json.loads((place / "tasks.json").read_text(encoding="utf-8")):
        name = task["data"]["image"]
        for region in task["predictions"][0]["result"]:
            (layer,) = decode_from_annotation("mask", [{**region, **region["value"]}]).values()
            found[f"{name}\t"] = np.array(layer.shape)
            found[f"{name}\t{region['value']['brushlabels'][0]}"] = layer == 255
    return found


if __name__ == "__main__":
    to, export, output = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if to == "label-studio":
        arrays = read_by_label_studio(export)
    else:
        arrays = read_by_datumaro(export, {"voc": "voc_segmentation"}.get(to, to))
    keys = list(arrays)
    np.savez(
        output, keys=np.array(json.dumps(keys)), **{f"array{number}": arrays[key] for number, key in enumerate(keys)}
    )
