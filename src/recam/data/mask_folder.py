"""Folders of masks, whoever made them, and lists of class names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recam.data.images import MASK_ENDINGS
from recam.errors import DataError
from recam.labels import ClassSet

OVERLAY = "_overlay"
"""``NAME_overlay.png`` beside ``NAME.png`` is a picture for people, written by `recam predict`, and no mask."""


def find_masks(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Masks by path without ending, from `folder` on and with ``/``; overlays beside their masks are left out.

    Returns:
        masks by name, and the pairs of files that have one name, of which the first counts.

    Raises:
        DataError: no folder, or no mask in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. Name a folder of masks.")
    found: dict[str, Path] = {}
    twice = []
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if path.suffix.lower() not in MASK_ENDINGS or any(part.startswith(".") for part in inner.parts):
            continue
        name = inner.with_suffix("").as_posix()
        if name in found:
            twice.append(f"{found[name].name} and {path.name}")
        found.setdefault(name, path)
    found = {name: path for name, path in found.items() if not (name.endswith(OVERLAY) and name.removesuffix(OVERLAY) in found)}
    if not found:
        raise DataError(f"{folder} holds no mask ({', '.join(MASK_ENDINGS)}). Name the folder that the masks are in.")
    return found, twice


def read_classes(path: Path | str) -> ClassSet:
    """The classes 1…K of a text file, one name a line; a first line ``background`` may be there or not, empty lines are passed over.

    Raises:
        DataError: no such file, no UTF-8, no name, or a name twice.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a list of classes ({error}). Write one class name a line, as UTF-8 text.") from error
    try:
        return ClassSet(without_background([line.strip() for line in lines if line.strip()]))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def without_background(names: Sequence[str]) -> tuple[str, ...]:
    """Class names without a leading ``background``."""
    return tuple(names[1:] if names and names[0].lower() == "background" else names)
