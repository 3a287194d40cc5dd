"""The images for `recam predict`, as files, folders, patterns or a list; nothing in them is left out without a word."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recam.data.catalog import PassedOver, passed_over
from recam.data.file_tree import FileTree, is_system_name, read_tree, unread_endings
from recam.data.images import IMAGE_ENDINGS
from recam.errors import DataError, Problem, printable
from recam.files import checked_path

LISTED = "-"
"""Instead of a file: the list of files on standard input, one a line."""


@dataclass(frozen=True)
class FoundImages:
    """What `find_images` found.

    Attributes:
        images: (file, its name below the output folder without ending).
        passed_over: what lies there and is not predicted.
        problems: folders that may not be read, and what is no file.
    """

    images: tuple[tuple[Path, Path], ...]
    passed_over: tuple[PassedOver, ...] = ()
    problems: tuple[Problem, ...] = ()


def find_images(places: Sequence[str | Path], output: Path | None = None) -> FoundImages:
    """The images of files, folders, patterns and ``-``.

    Hidden files and those of systems are passed over in folders and patterns, and so is `output` where it lies in them.
    Each real folder is read once, whatever links lead to it.

    Raises:
        DataError: a place that is none of these or may not be read, or `output` itself among the folders.
    """
    found = [_find(place, output) for place in places]
    named = {(path.absolute(), name): path for part in found for path, name in part.images}  # twice named is once
    images = tuple((path, name) for (_, name), path in named.items())
    empty = [place for place, part in zip(places, found, strict=True) if not (part.images or part.problems)]
    noted = passed_over("no-image", empty if images else (), f"places without an image ({', '.join(IMAGE_ENDINGS)}).")
    special = [path for path, _ in images if path.exists() and not path.is_file()]
    problems = [
        Problem("no-file", printable(path), "is a folder, a pipe or a device. Name a file.") for path in special
    ]
    return FoundImages(
        tuple(one for one in images if one[0] not in special),
        (*_merge(entry for part in found for entry in part.passed_over), *noted),
        (*(problem for part in found for problem in part.problems), *problems),
    )


def _find(place: str | Path, output: Path | None) -> FoundImages:
    if str(place) == LISTED:
        try:
            names = [line.strip() for line in sys.stdin]
        except UnicodeDecodeError as error:
            raise DataError(
                f"the list on standard input is no text ({error}). Write one file per line, as UTF-8."
            ) from error
        return FoundImages(tuple(_below_common_folder([_as_spelled(checked_path(name)) for name in names if name])))
    path = _as_spelled(checked_path(place))
    try:
        if path.is_dir():
            return _find_in_folder(path, output)
        if path.is_file():
            return FoundImages(((path, Path(path.stem)),))
    except PermissionError as error:
        raise DataError(f"{place} may not be read. Give read permission.") from error
    if any(sign in str(place) for sign in "*?["):
        return _find_by_pattern(path, output)
    raise DataError(f"{place} is neither a file nor a folder.")


def _find_in_folder(folder: Path, output: Path | None) -> FoundImages:
    within = _within(output, folder)
    if within == Path():
        raise DataError(
            f"the output {output} is the folder of the images itself: masks would lie among photos, and the next call"
            " would take them for"
            " photos. Name a different folder with -o."
        )
    tree = read_tree(folder, () if within is None else (folder / within,))
    read = [name for name in tree.files if PurePosixPath(name).suffix.lower() in IMAGE_ENDINGS]
    entries = [
        *tree.passed_over(),
        *_unread(name for name in tree.files if name not in set(read)),
        *_inside([output] if within else []),
    ]
    return FoundImages(
        tuple((folder / name, Path(name).with_suffix("")) for name in read), tuple(entries), tree.problems
    )


def _find_by_pattern(pattern: Path, output: Path | None) -> FoundImages:
    # The pattern begins where the first part with a sign does.
    parts = pattern.parts
    start = next(index for index, part in enumerate(parts) if any(sign in part for sign in "*?["))
    base = Path(*parts[:start])
    try:
        files = sorted(one for one in base.glob(str(Path(*parts[start:]))) if not one.is_dir())
    except (ValueError, NotImplementedError) as error:
        raise DataError(f"{pattern} is no pattern ({error}). Write e.g. 'photos/*/7*.jpg'.") from error
    system = [one for one in files if any(is_system_name(part) for part in one.relative_to(base).parts)]
    inside = [one for one in files if _within(one, output) is not None] if output else []
    left = [one for one in files if one not in {*system, *inside}]
    read = [one for one in left if one.suffix.lower() in IMAGE_ENDINGS]
    entries = [
        *FileTree((), system=tuple(map(str, system))).passed_over(),
        *_unread(str(one) for one in left if one not in set(read)),
    ]
    return FoundImages(tuple(_below_common_folder(read)), (*entries, *_inside([output] if inside else [])))


def _unread(paths: Iterable[str]) -> list[PassedOver]:
    return unread_endings(paths, f"Images end in {', '.join(IMAGE_ENDINGS)}.")


def _inside(outputs: Sequence[Path | None]) -> list[PassedOver]:
    return passed_over("output", outputs, "the output folder, which lies in the input: what is in it is not predicted.")


def _merge(entries: Iterable[PassedOver]) -> list[PassedOver]:
    """One entry for each kind and reason."""
    merged: dict[tuple[str, str], PassedOver] = {}
    for entry in entries:
        before = merged.get((entry.kind, entry.why))
        count, examples = (before.count, before.examples) if before else (0, ())
        merged[entry.kind, entry.why] = PassedOver(
            entry.kind, count + entry.count, entry.why, (*examples, *entry.examples)[:3]
        )
    return list(merged.values())


def _within(inner: Path | None, outer: Path | None) -> Path | None:
    """`inner` relative to `outer`, or None where it lies elsewhere; links are resolved."""
    if inner is None or outer is None or not inner.resolve().is_relative_to(outer.resolve()):
        return None
    return inner.resolve().relative_to(outer.resolve())


def _as_spelled(path: Path) -> Path:
    """The path as its file system spells it: ``é`` is one character in most names and two in those of a Mac."""
    spellings = [path, *(Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD"))]
    return next((one for one in spellings if os.path.lexists(one)), path)


def _below_common_folder(files: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Names from the deepest folder on that all files share."""
    if files:
        # Not resolved: below a link, a file keeps the name that it was found by.
        whole = [file.absolute() for file in files]
        folder = os.path.commonpath([file.parent for file in whole])
        yield from ((file, one.relative_to(folder).with_suffix("")) for file, one in zip(files, whole, strict=True))
