"""FiftyOne's ImageSegmentationDirectory (https://docs.voxel51.com/user_guide/import_datasets.html): masks of one
channel in ``labels/``, photos of the same name in ``data/``, and the names of mask values beside.

The palette is left out: OpenCV, by which FiftyOne reads masks, would give colours instead of values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from recam.data.images import write_mask
from recam.errors import Problem
from recam.export.checks import clashing_files
from recam.export.formats import MaskFormat, formats, text_file
from recam.export.mask_set import MaskSet
from recam.labels import present_values


@formats.register("fiftyone")
class FiftyOne(MaskFormat):
    """``labels/*.png`` and ``mask_targets.json``; photos belong into ``data/`` beside."""

    shapes = ()
    masks_folder, photos_folder = "labels", "data"

    def write(self, masks: MaskSet, folder: Path) -> int:
        """Write both."""
        count = 0
        for item in masks.each("fiftyone"):
            mask = masks.read(item)
            write_mask(folder / self.masks_folder / f"{item.id}.png", mask, palette=False)
            count += sum(value in masks.named for value in present_values(mask))
        with text_file(folder / "mask_targets.json") as file:
            file.write(json.dumps(masks.named, ensure_ascii=False, indent=1) + "\n")
        return count

    def name_problems(self, masks: MaskSet, copied: bool) -> Iterator[Problem]:
        """Masks that are one file where case does not count."""
        yield from clashing_files(masks.items, [f"{item.id}.png" for item in masks.items])
