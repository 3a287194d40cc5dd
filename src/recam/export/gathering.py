"""The masks of a run or a folder with their photos, each read once and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recam.data.mask_folder import find_masks
from recam.errors import Problem, data_error
from recam.export.checks import read_all, shortened
from recam.export.mask_set import MaskItem, MaskSet
from recam.export.sources import Photos, find_classes, find_photos, find_run, name_key, photos_of_run
from recam.files import checked_path
from recam.labels import ClassSet

LISTED = 50
"""Problems in one message."""


@dataclass(frozen=True)
class Gathered:
    """What `gather` found.

    Attributes:
        folder: of the masks.
        items: masks with their photos, in the order of the photos' names, with their sizes.
        classes: of the mask values.
        values: that occur in any mask.
        problems: what is wrong with them.
    """

    folder: Path
    items: Sequence[MaskItem]
    classes: ClassSet
    values: frozenset[int]
    problems: Sequence[Problem]


def gather(
    source: str | Path,
    images: str | Path | None,
    classes: Sequence[str] | str | Path | None,
    part: str,
    required: bool,
) -> Gathered:
    """Masks with their photos; arguments as of `recam.export_masks`.

    Args:
        required: a mask without its photo is a problem.

    Raises:
        DataError: no masks or no classes. StoreError: a run without such masks.
    """
    root = checked_path(source)
    is_run = (root / "run.json").is_file()
    folder, classes_of = find_run(root, part) if is_run else (root, find_classes(root, classes))
    found, twice = find_masks(folder)
    problems = [Problem("same-name", str(folder), f"{pair} are masks of one name. Keep one of each.") for pair in twice]
    photos = find_photos(Path(images), found.values()) if images else photos_of_run(root) if is_run else Photos()
    items, unmatched = _match(found, photos, required=required or bool(photos.by_key))
    items, values, unread = read_all(items, classes_of)
    return Gathered(folder, items, classes_of, values, [*problems, *unmatched, *unread])


def open_masks(
    source: str | Path,
    *,
    images: str | Path | None = None,
    classes: Sequence[str] | str | Path | None = None,
    part: str = "masks",
) -> MaskSet:
    """The masks of a run or a folder, with their photos, for tools that read one after the other.

    Args:
        source: a run folder, or a folder of masks, e.g. what `recam.predict` wrote.
        images: folder of the photos; a run knows its own.
        classes: names of mask values 1…K, or the file that lists them; a run and a folder of `recam.predict` know their
            own.
        part: of a run, ``masks`` (pseudo masks) or ``predictions`` (of the held-out images).

    Raises:
        DataError: no masks or no classes; or, all at once, photos that are missing or do not fit, masks or photos that
            cannot be read. StoreError: a run without such masks.
    """
    found = gather(source, images, classes, part, required=True)
    if found.problems:
        raise data_error(found.problems, LISTED, "fix these and try again")
    return MaskSet(found.items, found.classes, values=found.values)


def _match(found: dict[str, Path], photos: Photos, required: bool) -> tuple[list[MaskItem], list[Problem]]:
    """Masks with their photos in the order of these; where names cannot be distinguished, or a required photo is not
    there, problems."""
    items, missing, first, problems = [], [], dict[str, str](), []
    for name, path in found.items():
        key = name_key(name)
        if key in first:
            message = f"has the same name as {first[key]!r} but for how accents are written. Keep one of them."
            problems.append(Problem("same-name", str(path), message))
            continue
        first[key] = name
        photo = photos.by_key.get(key)
        if photo is None:
            missing.append(name)
            items.append(MaskItem(name, path, f"{name}.jpg", None))
            continue
        if key in photos.twice:
            several = " and ".join([photo.name, *photos.twice[key]])
            message = (
                f"is the mask of several photos {photos.where} ({several}). Keep one of them, or rename the others."
            )
            problems.append(Problem("several-photos", str(path), message))
        items.append(MaskItem(str(PurePosixPath(photo.name).with_suffix("")), path, photo.name, photo.image))
    if missing and required:
        message = f"{len(missing)} of {len(found)} masks have no photo {photos.where} ({shortened(sorted(missing))})."
        problems.append(Problem("missing-photo", "photos", f"{message} Name the folder of the photos with --images."))
    return sorted(items, key=lambda item: item.image_name), problems
