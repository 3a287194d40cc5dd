"""Folders of masks, whoever made them, and lists of class names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recam.data.file_tree import read_tree
from recam.data.images import IMAGE_ENDINGS, MASK_ENDINGS
from recam.errors import DataError, Problem, data_error, printable
from recam.labels import ClassSet, is_background_name

OVERLAY = "_overlay"
"""``NAME_overlay.png`` beside ``NAME.png`` is a picture for people, written by `recam predict`, and no mask."""
UNREAD_ENDINGS = frozenset({*IMAGE_ENDINGS, ".npy"} - {*MASK_ENDINGS})
"""Files that people keep masks in and that are not read: formats that change values, and arrays (not .npz, which runs
write)."""
IGNORED_NAME = "__ignore__"
"""Of labelme's lists: the name of the value 255, before that of the background."""


@dataclass(frozen=True)
class MaskFiles:
    """What a folder of masks holds.

    Attributes:
        masks: by path without ending, from the folder on and with ``/``.
        twice: the pairs of files that have one name, of which the first counts.
        unread: paths of files that may be masks and are not read, and have no mask of the same name beside them.
        problems: folders that may not be read.
    """

    masks: dict[str, Path]
    twice: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def list_masks(folder: Path) -> MaskFiles:
    """The masks in a folder and below it; overlays beside their masks are left out.

    Raises:
        DataError: no folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. Name a folder of masks.")
    tree = read_tree(folder)
    found: dict[str, Path] = {}
    twice, unread = [], []
    for path in tree.files:
        inner = PurePosixPath(path)
        name = inner.with_suffix("").as_posix()
        if inner.suffix.lower() in UNREAD_ENDINGS:
            unread.append((name, path))
        if inner.suffix.lower() not in MASK_ENDINGS:
            continue
        if name in found:
            twice.append(f"{found[name].name} and {inner.name}")
        found.setdefault(name, folder / path)
    found = {
        name: path
        for name, path in found.items()
        if not (name.endswith(OVERLAY) and name.removesuffix(OVERLAY) in found)
    }
    alone = [path for name, path in unread if name.removesuffix(OVERLAY) not in found]
    return MaskFiles(found, tuple(twice), tuple(alone), tree.problems)


def find_masks(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The `MaskFiles.masks` and `MaskFiles.twice` of a folder in which nothing else may be a mask.

    Raises:
        DataError: no folder, no mask in it, a sub-folder that may not be read, or files that may be masks and are not
            read.
    """
    found = list_masks(folder)
    problems = list(found.problems)
    if found.unread:
        problems.append(Problem("unread-mask", printable(folder), unread_message(found.unread)))
    if problems:
        raise data_error(problems, rest="their kinds are those above")
    if not found.masks:
        raise DataError(f"{folder} holds no mask ({', '.join(MASK_ENDINGS)}). Name the folder that the masks are in.")
    return found.masks, list(found.twice)


def unread_message(paths: Sequence[str]) -> str:
    """What is wrong with files that may be masks and are not read."""
    first = printable(", ".join(paths[:3]) + ", …" * (len(paths) > 3))
    return (
        f"holds {len(paths)} files that may be masks and are not read ({first}). Save them as PNG, or move them away."
    )


def read_classes(path: Path | str) -> ClassSet:
    """The classes 1…K of a text file, one name per line; a first line ``background`` (or ``_background_``, after
    ``__ignore__``, as labelme writes it) may be there or not, empty lines are passed over.

    Raises:
        DataError: no such file, no UTF-8, no name, a name twice, or ``background`` among the classes.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as a list of classes ({error}). Write one class name per line, as UTF-8 text."
        ) from error
    try:
        return ClassSet(without_background([line.strip() for line in lines if line.strip()]))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def without_background(names: Sequence[str]) -> tuple[str, ...]:
    """Class names without what stands for 255 and 0 before them. Raises `DataError` for a background among the
    classes."""
    start = 1 if names and names[0].strip().lower() == IGNORED_NAME else 0
    start += 1 if len(names) > start and is_background_name(names[start]) else 0
    classes = tuple(names[start:])
    background = [name for name in classes if is_background_name(name)]
    if background:
        raise DataError(
            f"{background[0]!r} stands among the classes. It is mask value 0: put it first, or leave it out."
        )
    return classes
