"""Masks of a run, or any folder of masks, in the formats of other programs."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recam.data.catalog import open_catalog
from recam.data.images import IMAGE_ENDINGS, ImageFile, write_png
from recam.data.mask_folder import find_masks, read_classes, without_background
from recam.errors import DataError, RecamError, RecipeError, StoreError, near_matches
from recam.export import coco, cvat, label_studio, voc  # noqa: F401 (enter the formats)
from recam.export.formats import MaskItem, MaskSet, Shapes, formats
from recam.files import atomic_write, checked_path, require_folder
from recam.labels import ClassSet
from recam.pipeline.store import RunFolder, read_json, read_settings
from recam.types import Source

PARTS = {"masks": ("masks",), "predictions": ("predictions/pseudo", "predictions/truth")}
"""What of a run may be written: its pseudo masks, or what its segmentation model made of the held-out images."""
_SHAPES = ("rle", "polygons")
_TOLD = 5


@dataclass(frozen=True)
class MaskExport:
    """What `export_masks` wrote.

    Attributes:
        output: the folder.
        format: name of the format.
        masks: number of masks.
        shapes: classes of images written, one shape each (polygons count once a class and image).
        images: photos copied beside.
    """

    output: Path
    format: str
    masks: int
    shapes: int
    images: int

    def __str__(self) -> str:
        photos = f" and {self.images} photos" if self.images else ""
        return f"{self.masks} masks with {self.shapes} shapes{photos} in {self.output} ({self.format})"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"output": str(self.output), "format": self.format, "masks": self.masks, "shapes": self.shapes, "images": self.images}


def export_masks(
    source: str | Path,
    output: str | Path,
    to: str,
    *,
    images: str | Path | None = None,
    classes: Sequence[str] | str | Path | None = None,
    part: str = "masks",
    shapes: Shapes = "rle",
    simplify: float = 0.0,
    copy_images: bool = False,
    ignore_as: str | None = None,
    image_prefix: str = "",
) -> MaskExport:
    """Write masks as a VOC folder, COCO JSON, or for import into CVAT or Label Studio.

    Args:
        source: a run folder, or a folder of masks, e.g. what `recam.predict` wrote.
        output: folder to write to; `source` cannot be it.
        to: ``voc``, ``coco``, ``cvat`` or ``label-studio``.
        images: folder of the photos, whose names from there on are those of the masks; a run knows its own.
        classes: names of mask values 1…K, or the file that lists them; a run and a folder of `recam.predict` know their own.
        part: of a run, ``masks`` (pseudo masks) or ``predictions`` (of the held-out images).
        shapes: ``rle`` or ``polygons``, where the format has both (VOC has neither).
        simplify: leave out corners of polygons where their outlines move by no more than so many pixels; borders between classes stay
            shared, and regions too small for it exact. 0: polygons fill just the pixels of the masks.
        copy_images: put the photos beside: ``JPEGImages/`` for VOC, else ``images/``.
        ignore_as: make 255 a class of this name; None: 255 stays in VOC's masks, and belongs to no shape elsewhere.
        image_prefix: what Label Studio's addresses of photos begin with.

    Raises:
        RecipeError: unknown format, part or kind of shapes; `simplify` below 0; an option that the format does not read.
        DataError: no masks, no classes, photos missing or not to be found, values outside the classes.
        StoreError: a run without such masks.
    """
    write = formats[to]
    for given, known, what in ((part, PARTS, "part"), (shapes, _SHAPES, "kind of shapes")):
        if given not in known:
            raise RecipeError(f"unknown {what} {given!r}.{near_matches(given, known)}")
    _refuse_unread(to, shapes, simplify, image_prefix)
    root, target = checked_path(source), Path(output)
    require_folder(target)
    if target.resolve() == root.resolve():
        raise DataError(f"{target} holds the masks themselves. Name another folder with -o.")
    is_run = (root / "run.json").is_file()
    folder, named = _find_run(root, part) if is_run else (root, _find_classes(root, classes))
    found, twice = find_masks(folder)
    if twice:
        raise DataError(f"names of masks in {folder} occur twice ({'; '.join(twice[:_TOLD])}). Keep one of each.")
    photos = _find_images(Path(images)) if images else _images_of_run(root) if is_run else {}
    missing = sorted(found.keys() - photos.keys())
    if missing and (photos or to != "voc" or copy_images):
        where = f"in {images}" if images else "in the run's data set" if is_run else "as no folder of photos was given"
        raise DataError(
            f"{len(missing)} of {len(found)} masks have no photo {where} ({', '.join(missing[:_TOLD])}{', …' * (len(missing) > _TOLD)})."
            " Name the folder of the photos with --images."
        )
    items = [MaskItem(name, path, *photos.get(name, (f"{name}.jpg", None))) for name, path in found.items()]
    masks = MaskSet(sorted(items, key=lambda item: item.image_name), named, ignore_as, shapes, simplify, image_prefix)
    if ignore_as is not None and ignore_as in named:
        raise DataError(f"ignore_as: {ignore_as!r} is a class already. Give 255 another name.")
    written = write(masks, target)
    copied = _copy_images(masks, target, to) if copy_images else 0
    return MaskExport(target, to, len(items), written, copied)


def _refuse_unread(to: str, shapes: Shapes, simplify: float, image_prefix: str) -> None:
    """Raises `RecipeError` with all options that would do nothing, or make no sense."""
    problems = []
    if not 0 <= simplify < math.inf:
        problems.append(f"simplify = {simplify}: give the pixels that an outline may move by, 0 or more.")
    if to == "voc" and shapes == "polygons":
        problems.append("shapes = 'polygons': voc has masks only. Leave it out, or write another format.")
    if simplify > 0 and to == "voc":
        problems.append(f"simplify = {simplify} makes polygons simpler, and voc has none: leave it out, or write another format.")
    elif simplify > 0 and shapes != "polygons":
        problems.append(f"simplify = {simplify} makes polygons simpler: ask for them as well (--shapes polygons), or leave it out.")
    if image_prefix and to != "label-studio":
        problems.append(f"image_prefix = {image_prefix!r} is for label-studio: leave it out.")
    if problems:
        raise RecipeError("\n".join(problems))


def _find_run(root: Path, part: str) -> tuple[Path, ClassSet]:
    folder = RunFolder(root)
    done = set(folder.done_stages())
    stage = next((name for name in PARTS[part] if name in done), None)
    if stage is None:
        raise StoreError(f"{root} has no {part} yet. Run `recam run` on it to the end first.")
    record = folder.stage(stage)
    return record.path, ClassSet(tuple(record.record["inputs"]["classes"]))


def _find_classes(folder: Path, classes: Sequence[str] | str | Path | None) -> ClassSet:
    if isinstance(classes, str | Path):
        return read_classes(classes)
    if classes is not None:
        return ClassSet(without_background(classes))
    if (folder / "predict.json").is_file():
        return ClassSet(tuple(read_json(folder / "predict.json")["classes"]))
    raise DataError(f"nothing tells what the values of the masks in {folder} mean. Give --classes classes.txt, one name a line.")


def _find_images(folder: Path) -> dict[str, tuple[str, Source | None]]:
    """(file name, photo) by name without ending."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. Name the folder of the photos.")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS)
    inner = [(path.relative_to(folder), path) for path in files]
    return {name.with_suffix("").as_posix(): (name.as_posix(), ImageFile(path)) for name, path in inner}


def _images_of_run(root: Path) -> dict[str, tuple[str, Source | None]]:
    """Photos of the run's data set by id; none where it is not there any more, which the caller tells."""
    settings = read_settings(root)["recipe"]["data"]
    try:
        catalog = open_catalog(settings["location"], settings["classes"], **settings["options"])
        samples = [sample for split in _splits(catalog, settings) for sample in catalog.samples(split)]
    except RecamError:
        return {}
    return {sample.id: (_file_name(sample.id, sample.image), sample.image) for sample in samples}


def _splits(catalog: Any, settings: dict[str, Any]) -> list[str]:
    chosen = [settings[role] or getattr(catalog.roles, role) for role in ("train", "score", "val")]
    return [split for split in dict.fromkeys(chosen) if split]


def _file_name(sample_id: str, image: Source) -> str:
    """Photos keep their ending; drawn pictures are PNGs."""
    return f"{sample_id}{image.path.suffix if isinstance(image, ImageFile) else '.png'}"


def _copy_images(masks: MaskSet, folder: Path, to: str) -> int:
    for item in masks.each("photos"):
        place = folder / (voc.image_place(item) if to == "voc" else Path("images", item.image_name))
        if isinstance(item.image, ImageFile):
            with atomic_write(place) as temporary:
                shutil.copyfile(item.image.path, temporary)
        elif item.image is not None:
            write_png(place, item.image.read())
    return len(masks.items)
