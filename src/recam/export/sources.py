"""Where an export reads from: the folder of masks, their classes, and their photos by name."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recam.data.images import IMAGE_ENDINGS, ImageFile
from recam.data.mask_folder import read_classes, without_background
from recam.data.roles import DataSettings
from recam.errors import DataError, RecamError, StoreError, first_line
from recam.labels import ClassSet
from recam.runfolder.store import open_run, read_json, read_run
from recam.settings import read_settings
from recam.types import Source

PARTS = ("masks", "predictions")
"""What of a run may be written, as the kind of its stage: pseudo masks, or the segmentation model's masks of held-out
images."""


@dataclass(frozen=True)
class Photo:
    """A photo of a mask.

    Attributes:
        name: file name from the images' folder on, with ``/``.
        image: reads it.
    """

    name: str
    image: Source


@dataclass(frozen=True)
class Photos:
    """Photos by `name_key`.

    Attributes:
        by_key: of several with one key the first.
        twice: the further ones with the same key.
        where: what they were looked for in, as messages call it.
    """

    by_key: dict[str, Photo] = field(default_factory=dict)
    twice: dict[str, list[str]] = field(default_factory=dict)
    where: str = "as no folder of photos was named"


def name_key(name: str) -> str:
    """One key for names that are the same to a reader: a letter with an accent is one sign, or a letter and an
    accent."""
    return unicodedata.normalize("NFC", name)


def find_run(root: Path, part: str) -> tuple[Path, ClassSet]:
    """The folder of a run's masks, and its classes. Raises `StoreError` where the run has none yet."""
    folder = open_run(root)
    labels = {name: stage["label"] for name, stage in read_run(root)["stages"].items()}
    name = next((name for name in folder.done_stages() if labels[name].get("kind") == part), None)
    if name is None:
        raise StoreError(f"{root} has no {part} yet. To make them, run its `recam run` command again, without --until.")
    stage = folder.stage(name)
    inputs = stage.record["inputs"]
    return stage.path, ClassSet(tuple(inputs["classes"]), inputs.get("background", True))


def find_classes(folder: Path, classes: Sequence[str] | str | Path | None) -> ClassSet:
    """The classes of a folder of masks, as named or as `recam predict` wrote them. Raises `DataError` without any."""
    if isinstance(classes, str | Path):
        return read_classes(classes)
    if classes is not None:
        return ClassSet(without_background(classes))
    if (folder / "predict.json").is_file():
        written = read_json(folder / "predict.json")
        return ClassSet(tuple(written["classes"]), bool(written.get("background", True)))
    raise DataError(
        f"nothing names the classes of the masks in {folder}. Give --classes classes.txt, one name per line."
    )


def find_photos(folder: Path, masks: Collection[Path]) -> Photos:
    """The photos in a folder and below, without the `masks`, which may lie beside them. Raises `DataError` for no
    folder."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. Name the folder of the photos.")
    skipped = {mask.resolve() for mask in masks}
    photos = Photos(where=f"in {folder}")
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_ENDINGS and path.is_file() and path.resolve() not in skipped:
            inner = path.relative_to(folder)
            _enter(photos, inner.with_suffix("").as_posix(), Photo(inner.as_posix(), ImageFile(path)))
    return photos


def photos_of_run(root: Path) -> Photos:
    """Photos of the run's data set; none where it cannot be opened any more, with the reason in `Photos.where`."""
    settings = read_run(root)["recipe"]["data"]
    try:
        catalog = read_settings(DataSettings, settings).open()
        samples = [sample for split in _splits(catalog, settings) for sample in catalog.samples(split)]
    except RecamError as error:
        return Photos(where=f"in the run's data set, which cannot be read ({first_line(error)})")
    photos = Photos(where="in the run's data set")
    for sample in {sample.id: sample for sample in samples}.values():  # splits may share images
        _enter(photos, sample.id, Photo(_file_name(sample.id, sample.image), sample.image))
    return photos


def _enter(photos: Photos, name: str, photo: Photo) -> None:
    key = name_key(name)
    if key in photos.by_key:
        photos.twice.setdefault(key, []).append(photo.name)
    else:
        photos.by_key[key] = photo


def _splits(catalog: Any, settings: dict[str, Any]) -> list[str]:
    chosen = [settings[role] or getattr(catalog.roles, role) for role in ("train", "score", "val")]
    return [split for split in dict.fromkeys(chosen) if split]


def _file_name(sample_id: str, image: Source) -> str:
    """Photos keep their ending; drawn pictures are PNGs."""
    return f"{sample_id}{image.path.suffix if isinstance(image, ImageFile) else '.png'}"
