"""Classes of a data set in VOC's layout: VOC's own twenty, or those of a list beside its folders, and what its masks
show them as.

labelmap.txt       of CVAT and Datumaro: ``name:r,g,b:parts:actions``; masks may be painted in these colours
classes.txt        one name per line in the order of the mask values 1…K
class_names.txt    of labelme: the same, begun by ``_background_``
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recam.data.images import MaskFile, read_image, read_mask
from recam.data.mask_folder import read_classes
from recam.digests import Digest
from recam.errors import DataError
from recam.labels import (
    BACKGROUND,
    IGNORE,
    MAX_CLASSES,
    VOC_CLASSES,
    ClassSet,
    is_background_name,
    mask_value,
    voc_palette,
)
from recam.types import Mask, Source

LABEL_MAP = "labelmap.txt"
LISTS = (LABEL_MAP, "classes.txt", "class_names.txt", "labels.txt")
"""The first that lies beside JPEGImages is read."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class VocClasses:
    """What a data set's masks mean.

    Attributes:
        classes: the classes.
        source: the file that lists them; None: VOC's own.
        values: (K,) the value of each class in the masks' files.
        colours: of background and each class, where masks are painted in others than VOC's; else empty.
        unread: other lists beside `source` that name other classes.
    """

    classes: ClassSet
    source: Path | None = None
    values: tuple[int, ...] = ()
    colours: tuple[Colour, ...] = ()
    unread: tuple[str, ...] = ()

    def table(self) -> NDArray[np.uint8] | None:
        """(256,) value in a mask's file → 1…K of `classes`; None where they are equal. A value of no class stays
        one."""
        if not self.values or self.values == tuple(range(1, len(self.classes) + 1)):
            return None
        table = np.arange(256, dtype=np.uint8)
        table[1 : len(self.classes) + 1] = MAX_CLASSES
        for index, value in enumerate(self.values):
            table[value] = mask_value(index)
        return table

    def mask(self, path: Path, selection: NDArray[np.uint8] | None) -> Source:
        """Reads the mask of a file.

        Args:
            selection: (256,) as `ClassSet.select` gives it; None keeps all classes.
        """
        table = self.table()
        if selection is not None:
            table = selection if table is None else selection[table]
        packed = None if table is None else table.tobytes()
        return ColourMask(path, self.colours, packed) if self.colours else MaskFile(path, packed)


@dataclass(frozen=True)
class ColourMask:
    """A mask painted in colours of its own, as the source of a `Sample`.

    Attributes:
        colours: of the values 0…K.
        table: (256,) uint8, value → new value; None leaves them.
    """

    path: Path
    colours: tuple[Colour, ...]
    table: bytes | None = None

    @property
    def where(self) -> str:
        return str(self.path)

    def read(self) -> Mask:
        """(H, W) uint8. A file in which any other colour occurs holds class values, as `read_mask` reads them.

        Raises:
            DataError: as `read_mask`.
        """
        codes = _codes(read_image(self.path))  # (H, W)
        known = _codes(np.array([*self.colours, voc_palette()[IGNORE]], np.uint8))  # (K + 2,)
        order = np.argsort(known)
        places = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
        if (known[order][places] == codes).all():
            mask: Mask = np.array([*range(len(self.colours)), IGNORE], np.uint8)[order][places]
        else:
            mask = read_mask(self.path)
        if self.table is not None:
            mask = np.frombuffer(self.table, np.uint8)[mask]
        return mask

    def fingerprint(self, digest: Digest) -> str:
        """The file's content, the colours and the table."""
        return f"{digest(self.path)}-{hashlib.sha256(repr((self.colours, self.table)).encode()).hexdigest()[:16]}"


def read_voc_classes(root: Path) -> VocClasses:
    """The classes of the data set in `root`. Raises `DataError` for a list that cannot be used."""
    by_name = {path.name.casefold(): path for path in sorted(root.glob("*.txt"))}
    found = [by_name[name] for name in LISTS if name in by_name]
    if not found:
        return VocClasses(ClassSet(VOC_CLASSES))
    if found[0].name.casefold() == LABEL_MAP:
        known = read_label_map(found[0])
    else:
        known = VocClasses(read_classes(found[0]), found[0])
    unread = tuple(path.name for path in found[1:] if not _same_names(path, known.classes))
    return VocClasses(known.classes, known.source, known.values, known.colours, unread)


def read_label_map(path: Path) -> VocClasses:
    """The classes of a label map. One whose colours are VOC's has its classes in the order of these; else the lines'
    order counts.

    Raises:
        DataError: a line that is none of a label map, a colour twice, no class, or a class in the colour of the
            background.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a label map ({error}). Save it as UTF-8 text.") from error
    entries: dict[str, Colour] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.partition(":")
        colour = _as_colour(rest.partition(":")[0])
        if colour is None or not name.strip():
            raise DataError(
                f"{path}:{number}: {line.strip()[:80]!r} is no line of a label map. Write name:red,green,blue::"
            )
        if name.strip() in entries or colour in entries.values():
            raise DataError(
                f"{path}:{number}: the name or the colour of {line.strip()[:80]!r} stands there already. Give each its"
                " own."
            )
        entries[name.strip()] = colour
    palette: list[Colour] = [(r, g, b) for r, g, b in voc_palette().tolist()]
    background = next((colour for name, colour in entries.items() if is_background_name(name)), palette[BACKGROUND])
    # Without a line for the background its colour is black.
    classes = {
        name: colour for name, colour in entries.items() if not is_background_name(name) and colour != palette[IGNORE]
    }
    if background in classes.values():
        (name,) = (name for name, colour in classes.items() if colour == background)
        raise DataError(
            f"{path}: the class {name!r} has the colour of the background. Give the background a line and a colour of"
            " its own."
        )
    try:
        if background == palette[BACKGROUND] and set(classes.values()) <= set(palette):
            classes = dict(sorted(classes.items(), key=lambda entry: palette.index(entry[1])))
            return VocClasses(
                ClassSet(tuple(classes)), path, tuple(palette.index(colour) for colour in classes.values())
            )
        return VocClasses(ClassSet(tuple(classes)), path, colours=(background, *classes.values()))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _as_colour(text: str) -> Colour | None:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(
        part.isascii() and part.isdecimal() and len(part) <= 3 and int(part) <= 255 for part in parts
    ):
        return None
    red, green, blue = map(int, parts)
    return red, green, blue


def _same_names(path: Path, classes: ClassSet) -> bool:
    try:
        return read_classes(path).names == classes.names
    except DataError:
        return False


def _codes(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(…, 3) RGB → (…) 24-bit codes."""
    red, green, blue = (colours[..., channel].astype(np.uint32) for channel in range(3))
    codes: NDArray[np.uint32] = red * np.uint32(1 << 16) + green * np.uint32(1 << 8) + blue
    return codes
