"""YOLO's segmentation labels (https://docs.ultralytics.com/datasets/segment/): a text file per photo, a line per
polygon, corners in shares of the image's sides.

Class numbers count from 0, so they are mask values less one. Readers find the labels of ``images/NAME.jpg`` at
``labels/NAME.txt``: they replace the last folder ``images`` of a path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from recam.errors import Problem
from recam.export.checks import clashing_files
from recam.export.formats import MaskFormat, formats, text_file
from recam.export.mask_set import MaskItem, MaskSet

PHOTOS, LABELS = "images", "labels"
DIGITS = 6
"""After the point: exact to the pixel in images of up to a million pixels a side."""


@formats.register("yolo")
class Yolo(MaskFormat):
    """``labels/*.txt`` and ``data.yaml``; photos belong into ``images/`` beside."""

    shapes = ("polygons",)
    photos_folder = PHOTOS

    def write(self, masks: MaskSet, folder: Path) -> int:
        """Write both."""
        numbers = {value: number for number, value in enumerate(masks.named)}
        count = 0
        for item in masks.each("yolo"):
            with text_file(folder / LABELS / f"{item.id}.txt") as file:
                for region in masks.regions(item):
                    count += 1
                    for loop in region.polygons:
                        shares = (loop / (item.size[1], item.size[0])).ravel().tolist()
                        corners = " ".join(f"{share:.{DIGITS}f}" for share in shares)
                        file.write(f"{numbers[region.value]} {corners}\n")
        with text_file(folder / "data.yaml") as file:
            file.write(f"# Masks of recam, a line per polygon.\ntrain: {PHOTOS}\nval: {PHOTOS}\nnames:\n")
            for value, name in masks.named.items():  # JSON's strings are YAML's
                file.write(f"  {numbers[value]}: {json.dumps(name, ensure_ascii=False)}\n")
        return count

    def name_problems(self, masks: MaskSet, copied: bool) -> Iterator[Problem]:
        """Photos whose labels readers would look for elsewhere, and labels that are one file where case does not
        count."""
        for item in masks.items:
            if PHOTOS in PurePosixPath(item.image_name).parts[:-1]:
                message = (
                    f"lies in a folder {PHOTOS!r}, which readers of YOLO's labels would replace by {LABELS!r} to find"
                    " them. Rename the folder."
                )
                yield Problem("image-name", item.image_name, message)
        yield from clashing_files(masks.items, [f"{item.id}.txt" for item in masks.items])

    def photo_place(self, item: MaskItem) -> Path:
        """Under the name of its mask, as labels are."""
        return Path(PHOTOS, f"{item.id}{PurePosixPath(item.image_name).suffix}")
