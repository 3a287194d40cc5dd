"""PASCAL VOC's folders: ``SegmentationClass/*.png`` with the palette, lists in ``ImageSets/Segmentation``, and a label map.

255 stays 255, which is VOC's own value for pixels that do not count. The layout has no sub-folders: ``farm/7`` becomes ``farm__7``.
``labelmap.txt`` is what CVAT and Datumaro read beside such masks (https://docs.cvat.ai/docs/dataset_management/formats/format-smask).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from recam.data.images import write_mask
from recam.errors import DataError
from recam.export.formats import MaskItem, MaskSet, formats, text_file
from recam.labels import BACKGROUND, voc_palette

LIST = "train"
IMAGES = "JPEGImages"


@formats.register("voc")
def write_voc(masks: MaskSet, folder: Path) -> int:
    """Write ``SegmentationClass/``, ``ImageSets/Segmentation/train.txt``, ``labelmap.txt`` and ``classes.txt``.

    Raises:
        DataError: two names that are one without sub-folders; a class name with a colon, which the label map cannot hold.
    """
    doubled = [name for name, count in Counter(flat_name(item.id) for item in masks.items).items() if count > 1]
    if doubled:
        raise DataError(f"VOC has no sub-folders, and without them names occur twice ({', '.join(doubled[:5])}). Rename the photos.")
    colons = [name for name in masks.named.values() if ":" in name]
    if colons:
        raise DataError(f"VOC's label map cannot hold a colon in a class name ({', '.join(colons)}). Rename the class.")
    shapes = 0
    with text_file(folder / "ImageSets" / "Segmentation" / f"{LIST}.txt") as listed:
        for item in masks.each("voc"):
            mask = masks.read(item)
            write_mask(folder / "SegmentationClass" / f"{flat_name(item.id)}.png", mask)
            listed.write(f"{flat_name(item.id)}\n")
            shapes += sum(1 for value in set(mask.ravel().tolist()) if value in masks.named)
    colours = voc_palette()
    with text_file(folder / "labelmap.txt") as listed:
        listed.write("# label:color_rgb:parts:actions\n")
        for value, name in {BACKGROUND: "background", **masks.named}.items():
            listed.write(f"{name}:{','.join(map(str, colours[value].tolist()))}::\n")
    with text_file(folder / "classes.txt") as listed:
        listed.writelines(f"{name}\n" for name in masks.classes.names)
    return shapes


def flat_name(item_id: str) -> str:
    """A name without sub-folders."""
    return item_id.replace("/", "__")


def image_place(item: MaskItem) -> Path:
    """Where the photo of a mask lies in VOC's layout, from its root on."""
    return Path(IMAGES, flat_name(item.image_name))
