"""Masks of a run, or any folder of masks, in the formats of other programs."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recam.data.images import ImageFile, write_png
from recam.errors import Problem, RecipeError, data_error, near_matches
from recam.export.checks import name_problems, place_problems
from recam.export.formats import MaskFormat, formats
from recam.export.gathering import LISTED, gather
from recam.export.mask_set import MaskSet, Shapes
from recam.export.sources import PARTS
from recam.export.staging import staged
from recam.files import atomic_write, require_folder

_SHAPES = ("rle", "polygons")


@dataclass(frozen=True)
class MaskExport:
    """What `export_masks` wrote.

    Attributes:
        output: the folder.
        format: name of the format.
        masks: number of masks.
        shapes: one per class and image, however many polygons it has.
        images: photos copied beside.
    """

    output: Path
    format: str
    masks: int
    shapes: int
    images: int

    def __str__(self) -> str:
        photos = f" and {self.images} photos" if self.images else ""
        empty = (
            "; no mask shows a class: values from 1 are classes, 255 is ignore"
            if self.masks and not self.shapes
            else ""
        )
        return f"{self.masks} masks with {self.shapes} shapes{photos} in {self.output} ({self.format}){empty}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "output": str(self.output),
            "format": self.format,
            "masks": self.masks,
            "shapes": self.shapes,
            "images": self.images,
        }


def export_masks(
    source: str | Path,
    output: str | Path,
    to: str,
    *,
    images: str | Path | None = None,
    classes: Sequence[str] | str | Path | None = None,
    part: str = "masks",
    shapes: Shapes | None = None,
    simplify: float = 0.0,
    copy_images: bool = False,
    ignore_as: str | None = None,
    image_prefix: str = "",
) -> MaskExport:
    """Write masks as a VOC folder, COCO JSON, YOLO's labels, or for import into CVAT, Label Studio or FiftyOne.

    Args:
        source: a run folder, or a folder of masks, e.g. what `recam.predict` wrote.
        output: folder to write to, outside the masks and photos that are read; its files are there all at once, or none
            is.
        to: ``voc``, ``coco``, ``yolo``, ``cvat``, ``label-studio``, ``fiftyone``, or a registered format of another
            package.
        images: folder of the photos, whose names from there on are those of the masks; a run knows its own.
        classes: names of mask values 1…K, or the file that lists them; a run and a folder of `recam.predict` know their
            own.
        part: of a run, ``masks`` (pseudo masks) or ``predictions`` (of the held-out images).
        shapes: ``rle`` or ``polygons``, where the format has both (VOC has neither); None: what it usually has.
        simplify: leave out corners of polygons where their outlines move by no more than so many pixels; borders
            between classes stay shared, and regions too small for it exact. 0: polygons fill just the pixels of the
            masks.
        copy_images: put the photos beside: ``JPEGImages/`` for VOC, ``data/`` for FiftyOne, else ``images/``.
        ignore_as: make 255 a class of this name; None: 255 stays in VOC's masks, and belongs to no shape elsewhere.
        image_prefix: what Label Studio's addresses of photos begin with.

    Raises:
        RecipeError: unknown format, part or kind of shapes; `simplify` below 0; an option that the format does not
            read.
        DataError: no masks or no classes; or, all at once: photos that are missing, several of one name or of another
            size than their masks, masks or photos that cannot be read, values outside the classes, names that the
            format cannot hold.
        StoreError: a run without such masks, or an output that cannot be written.
    """
    form = formats[to]()
    for value, known, what in ((part, PARTS, "part"), (shapes or _SHAPES[0], _SHAPES, "kind of shapes")):
        if value not in known:
            raise RecipeError(f"unknown {what} {value!r}.{near_matches(value, known)}")
    _refuse_unread(to, form, shapes, simplify, ignore_as, image_prefix)
    target = Path(output)
    require_folder(target)
    found = gather(source, images, classes, part, required=form.needs_photos or copy_images)
    items, classes_of, problems = found.items, found.classes, list(found.problems)
    kind: Shapes = shapes or (form.shapes[0] if form.shapes else "rle")
    masks = MaskSet(items, classes_of, ignore_as, kind, simplify, image_prefix, found.values)
    if ignore_as in classes_of:
        problems.append(Problem("class-name", f"ignore_as {ignore_as!r}", "is a class already. Give 255 another name."))
    problems += [*name_problems(items, masks.named.values()), *form.name_problems(masks, copy_images)]
    within = [each for each in (form.masks_folder, form.photos_folder if copy_images else "") if each]
    problems += place_problems(items, target, within, found.folder, Path(images) if images else None)
    if problems:
        raise data_error(problems, LISTED, "fix these and run the same command again")
    with staged(target) as stage:
        shape_count = form.write(masks, stage)
        copied = _copy_images(masks, stage, form) if copy_images else 0
    return MaskExport(target, to, len(items), shape_count, copied)


def _refuse_unread(
    to: str, form: MaskFormat, shapes: Shapes | None, simplify: float, ignore_as: str | None, image_prefix: str
) -> None:
    """Raises `RecipeError` with all options that would do nothing, or make no sense."""
    problems = []
    if not 0 <= simplify < math.inf:
        problems.append(f"simplify = {simplify}: give the pixels that an outline may move by, 0 or more.")
    if not form.shapes and shapes:
        problems.append(f"shapes = {shapes!r}: {to} has masks only. Leave it out, or write another format.")
    elif shapes and shapes not in form.shapes:
        problems.append(f"shapes = {shapes!r}: {to} has {' and '.join(form.shapes)} only. Leave it out.")
    if simplify > 0 and not form.shapes:
        problems.append(
            f"simplify = {simplify} makes polygons simpler, and {to} has none: leave it out, or write another format."
        )
    elif simplify > 0 and (shapes or form.shapes[0]) != "polygons":
        problems.append(f"simplify = {simplify} makes polygons simpler: add --shapes polygons, or leave it out.")
    if ignore_as is not None and not ignore_as.strip():
        problems.append("ignore_as is empty: name the class that 255 becomes, or leave it out.")
    if image_prefix and not form.has_image_prefix:
        readers = ", ".join(name for name in sorted(formats) if formats[name].has_image_prefix)
        problems.append(f"image_prefix = {image_prefix!r} is for {readers}: leave it out.")
    if problems:
        raise RecipeError("\n".join(problems))


def _copy_images(masks: MaskSet, folder: Path, form: MaskFormat) -> int:
    for item in masks.each("photos"):
        place = folder / form.photo_place(item)
        if isinstance(item.image, ImageFile):
            with atomic_write(place) as temporary:
                shutil.copyfile(item.image.path, temporary)
        elif item.image is not None:
            write_png(place, item.image.read())
    return len(masks.items)
