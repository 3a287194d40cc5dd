"""COCO's JSON for segmentation (https://cocodataset.org/#format-data): one annotation for each class of an image.

Category ids are the mask values. Masks know no single objects, so an annotation is all of a class in an image, with ``iscrowd`` 0; it holds
run lengths as pycocotools compresses them, or polygons along the edges of pixels that fill just the same pixels. Area and box are those of
the pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from recam.export.formats import MaskSet, formats, text_file, write_rows
from recam.export.shapes import Binary, box_of, polygons

FILE = "annotations.json"


@formats.register("coco")
def write_coco(masks: MaskSet, folder: Path) -> int:
    """Write ``annotations.json``; photos belong into ``images/`` beside it."""
    unsure = f"are the class {masks.ignore_as!r}" if masks.ignore_as else "belong to no annotation"
    info = {"description": f"Masks of recam: one annotation a class and image; unsure pixels (255) {unsure}."}
    categories = [{"id": value, "name": name, "supercategory": ""} for value, name in masks.named.items()]
    with text_file(folder / FILE) as file:
        head = {"info": info, "licenses": [], "categories": categories}
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ',\n"images": ')
        write_rows(file, _images(masks))
        file.write(',\n"annotations": ')
        count = write_rows(file, _annotations(masks))
        file.write("}\n")
    return count


def _images(masks: MaskSet) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(masks.items, start=1):
        height, width = item.size
        yield {"id": number, "file_name": item.image_name, "width": width, "height": height}


def _annotations(masks: MaskSet) -> Iterator[dict[str, Any]]:
    count = 0
    for number, item in enumerate(masks.each("coco"), start=1):
        for value, _, binary in masks.regions(item):
            count += 1
            yield {
                "id": count,
                "image_id": number,
                "category_id": value,
                "segmentation": _polygons(binary) if masks.shapes == "polygons" else _run_lengths(binary),
                "area": int(binary.sum()),
                "bbox": list(box_of(binary)),
                "iscrowd": 0,
            }


def _run_lengths(binary: Binary) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(binary.astype(np.uint8)))
    return {"size": list(binary.shape), "counts": encoded["counts"].decode("ascii")}


def _polygons(binary: Binary) -> list[list[int]]:
    return [loop.ravel().tolist() for loop in polygons(binary)]
