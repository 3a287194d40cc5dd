"""PASCAL VOC's folders: ``SegmentationClass/*.png`` with the palette, lists in ``ImageSets/Segmentation``, and a label
map.

255 stays 255, which is VOC's own value for pixels that do not count. The layout has no sub-folders: ``farm/7`` becomes
``farm__7``. ``labelmap.txt`` is what CVAT and Datumaro read beside such masks
(https://docs.cvat.ai/docs/dataset_management/formats/format-smask). They refuse a mask with a colour that it does not
list, so where a mask holds 255, it lists that too, by the name `ignored` that Datumaro has for it in VOC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from recam.data.images import write_mask
from recam.errors import Problem
from recam.export.checks import clashing_files
from recam.export.formats import MaskFormat, formats, text_file
from recam.export.mask_set import MaskItem, MaskSet
from recam.labels import BACKGROUND, IGNORE, present_values, voc_palette

LIST = "train"
BACKGROUND_NAME = "background"
IGNORED = "ignored"


@formats.register("voc")
class Voc(MaskFormat):
    """``SegmentationClass/``, ``ImageSets/Segmentation/train.txt``, ``labelmap.txt`` and ``classes.txt``."""

    needs_photos = False
    shapes = ()
    masks_folder, photos_folder = "SegmentationClass", "JPEGImages"

    def write(self, masks: MaskSet, folder: Path) -> int:
        """Write ``SegmentationClass/``, ``ImageSets/Segmentation/train.txt``, ``labelmap.txt`` and ``classes.txt``."""
        shapes = 0
        with text_file(folder / "ImageSets" / "Segmentation" / f"{LIST}.txt") as listed:
            for item in masks.each("voc"):
                mask = masks.read(item)
                write_mask(folder / self.masks_folder / f"{flat_name(item.id)}.png", mask)
                listed.write(f"{flat_name(item.id)}\n")
                shapes += sum(value in masks.named for value in present_values(mask))
        colours = voc_palette()
        with text_file(folder / "labelmap.txt") as listed:
            listed.write("# label:color_rgb:parts:actions\n")
            for value, name in _listed_names(masks).items():
                listed.write(f"{name}:{','.join(map(str, colours[value].tolist()))}::\n")
        with text_file(folder / "classes.txt") as listed:
            listed.writelines(f"{name}\n" for name in masks.classes.names)
        return shapes

    def name_problems(self, masks: MaskSet, copied: bool) -> Iterator[Problem]:
        """Names that VOC's lists cannot hold, or that are one name without sub-folders."""
        flat = Counter(flat_name(item.id) for item in masks.items)
        for item in masks.items:
            name = flat_name(item.id)
            if flat[name] > 1:
                message = (
                    f"VOC has no sub-folders, and without them several photos have the name {name}. Rename the photo."
                )
                yield Problem("same-name", item.image_name, message)
            if name.startswith("#") or name != name.strip():
                message = (
                    "begins with '#' or has a space at an end, which readers of VOC's lists skip. Rename the photo."
                )
                yield Problem("image-name", item.image_name, message)
        for name in masks.named.values():
            reason = (
                "holds a colon, which separates columns" if ":" in name
                else "begins with '#', as comments do" if name.startswith("#")
                else "has a space at an end, which readers cut off" if name != name.strip()
                else f"is the name of value {BACKGROUND} there" if name == BACKGROUND_NAME
                else ""
            )  # fmt: skip
            if reason:
                yield Problem("class-name", repr(name), f"{reason} in VOC's label map. Rename the class.")
        unique = [item for item in masks.items if flat[flat_name(item.id)] == 1]
        yield from clashing_files(unique, [flat_name(item.id) for item in unique])

    def photo_place(self, item: MaskItem) -> Path:
        """Without sub-folders."""
        return Path(self.photos_folder, flat_name(item.image_name))


def _listed_names(masks: MaskSet) -> dict[int, str]:
    """Names of the label map by mask value."""
    names = {BACKGROUND: BACKGROUND_NAME, **masks.named}
    if IGNORE in masks.values and IGNORE not in names:
        free = IGNORED
        while free in names.values():
            free += "_"
        names[IGNORE] = free
    return names


def flat_name(item_id: str) -> str:
    """A name without sub-folders."""
    return item_id.replace("/", "__")
