"""What is wrong with masks, photos and names, found before anything is written and reported all at once."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from recam.data.images import ImageFile, image_size, read_mask
from recam.errors import DataError, Problem, first_line
from recam.export.mask_set import MaskItem
from recam.export.sources import name_key
from recam.labels import IGNORE, ClassSet, present_values
from recam.progress import Progress

_SHOWN = 5


def read_all(items: Sequence[MaskItem], classes: ClassSet) -> tuple[list[MaskItem], frozenset[int], list[Problem]]:
    """Read each mask once, one at a time, and the size of its photo.

    Returns:
        the items with the sizes of the masks that can be read; the values that occur in any mask; what is wrong: masks
        or photos that cannot be read, values that are no class, photos of another size.
    """
    measured, values, problems = [], set[int](), []
    with Progress("checking", len(items)) as progress:
        for item in items:
            try:
                mask = read_mask(item.mask)
            except DataError as error:
                problems.append(_unreadable("mask", item.mask, error))
                measured.append(item)
            else:
                found, (height, width) = present_values(mask), mask.shape
                measured.append(replace(item, size=(height, width)))
                values.update(found)
                problems += _foreign_values(item, found, classes)
                problems += _other_size(item, (height, width))
            progress.advance()
    return measured, frozenset(values), problems


def name_problems(items: Sequence[MaskItem], named: Iterable[str]) -> Iterator[Problem]:
    """Names that no list of lines, XML or UTF-8 text can hold."""
    for what, names in (("image", [item.image_name for item in items]), ("class", list(named))):
        for name in names:
            if any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or sign in "\ufffe\uffff" for sign in name):
                message = (
                    "holds a line break, another control character or bytes that are no UTF-8, which these formats"
                    " cannot hold. Rename it."
                )
                yield Problem(f"{what}-name", repr(name), message)


def clashing_files(items: Sequence[MaskItem], names: Sequence[str]) -> Iterator[Problem]:
    """Names of the files to write, one for each item, that are one file on Windows or macOS.

    They are equal but for case, or for how accents are written.
    """
    first: dict[str, str] = {}
    for item, name in zip(items, names, strict=True):
        key = name_key(name_key(name).casefold())
        if key in first:
            message = (
                f"would be written as {name!r}, which is the same file as that of {first[key]!r} where case does not"
                " count. Rename one."
            )
            yield Problem("same-file", item.image_name, message)
        first.setdefault(key, item.image_name)


def place_problems(
    items: Sequence[MaskItem], target: Path, written: Sequence[str], folder: Path, images: Path | None
) -> list[Problem]:
    """Outputs that lie among what is read: they would replace it, or be read as masks or photos the next time.

    Args:
        target: folder to write to.
        written: sub-folders of it that get masks or photos.
        folder: of the masks.
        images: of the photos, where one was named.
    """
    target = target.resolve()
    masks, photos = folder.resolve(), images.resolve() if images else None
    if target == masks or masks in target.parents:
        message = f"holds the masks themselves or lies among them ({masks}). Name another folder with -o."
        return [Problem("output", str(target), message)]
    files = [item.mask for item in items] + [item.image.path for item in items if isinstance(item.image, ImageFile)]
    read_from = {parent.resolve() for parent in {file.parent for file in files}}
    problems = []
    for name in written:
        place = target / name
        holds_sources = any(place in (source, *source.parents) for source in read_from)
        if holds_sources or (photos and photos in (place, *place.parents)):
            message = "masks or photos that are read would be mixed with what is written. Name another folder with -o."
            problems.append(Problem("output", str(place), message))
    return problems


def shortened(names: Sequence[str]) -> str:
    """The first names of a list for a sentence."""
    return ", ".join(names[:_SHOWN]) + ", …" * (len(names) > _SHOWN)


def _foreign_values(item: MaskItem, found: Sequence[int], classes: ClassSet) -> list[Problem]:
    foreign = [value for value in found if len(classes) < value < IGNORE]
    if not foreign:
        return []
    message = (
        f"holds the mask values {shortened([str(value) for value in foreign])}, but there are {len(classes)} classes."
        " Give the classes that the masks were made with."
    )
    return [Problem("mask-values", str(item.mask), message)]


def _other_size(item: MaskItem, size: tuple[int, int]) -> list[Problem]:
    if item.image is None:
        return []
    try:
        photo = image_size(item.image)
    except DataError as error:
        return [_unreadable("photo", item.image.where, error)]
    if photo == size:
        return []
    turned = " If the mask is that of the photo as stored, before its EXIF orientation turns it upright, turn it too."
    advice = turned if photo == size[::-1] else " Name the masks and photos that belong together."
    message = f"is {_by(size)}, and its photo {item.image_name} {_by(photo)} as a viewer shows it.{advice}"
    return [Problem("mask-size", str(item.mask), message)]


def _by(size: tuple[int, int]) -> str:
    return f"{size[1]}×{size[0]}"


def _unreadable(what: str, where: Path | str, error: DataError) -> Problem:
    return Problem(f"unreadable-{what}", str(where), first_line(error, 400).removeprefix(f"{where} "))
