"""COCO's JSON for segmentation (https://cocodataset.org/#format-data): one annotation for each class of an image.

Category ids are the mask values. Masks know no single objects, so an annotation is all of a class in an image, with
``iscrowd`` 0; it holds run lengths as pycocotools compresses them, or polygons along the edges of pixels that fill just
the same pixels, or simpler ones. Area and box are those of what is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from recam.export.formats import MaskFormat, formats, text_file, write_rows
from recam.export.mask_set import MaskSet
from recam.export.outlines import Loop, area_of
from recam.export.shapes import Binary, box_of

FILE = "annotations.json"


@formats.register("coco")
class Coco(MaskFormat):
    """``annotations.json``; photos belong into ``images/`` beside it."""

    def write(self, masks: MaskSet, folder: Path) -> int:
        """Write ``annotations.json``."""
        ignored = f"are the class {masks.ignore_as!r}" if masks.ignore_as else "belong to no annotation"
        info = {"description": f"Masks of recam: one annotation per class and image; ignore pixels (255) {ignored}."}
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
        for region in masks.regions(item):
            count += 1
            shape = _polygons(region.polygons) if region.polygons else _run_lengths(region.binary)
            yield {"id": count, "image_id": number, "category_id": region.value, **shape, "iscrowd": 0}


def _run_lengths(binary: Binary) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(binary.astype(np.uint8)))
    runs = {"size": list(binary.shape), "counts": encoded["counts"].decode("ascii")}
    return {"segmentation": runs, "area": int(binary.sum()), "bbox": list(box_of(binary))}


def _polygons(loops: Sequence[Loop]) -> dict[str, Any]:
    corners = np.concatenate(loops)
    (left, top), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
    box = [left, top, right - left, bottom - top]
    return {"segmentation": [loop.ravel().tolist() for loop in loops], "area": sum(map(area_of, loops)), "bbox": box}
