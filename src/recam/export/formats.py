"""What a format of masks is and what it receives, and the registry of formats.

A format of one's own is a file with one class, entered here or through the entry points ``recam.formats``::

    @formats.register("mine")
    class Mine(MaskFormat):
        def write(self, masks, folder):
            return …  # how many shapes it wrote
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, TextIO

from recam.errors import Problem
from recam.export.checks import clashing_files
from recam.export.mask_set import MaskItem, MaskSet, Shapes
from recam.files import atomic_write
from recam.labels import voc_palette
from recam.registry import Registry


class MaskFormat:
    """How masks are written for another program; subclass and register, see the head of this file."""

    needs_photos: ClassVar[bool] = True
    """Whether a mask without its photo is a problem: where sizes or names are those of photos."""
    shapes: ClassVar[tuple[Shapes, ...]] = ("rle", "polygons")
    """The kinds of shapes that it can hold, the usual one first; none: it holds masks."""
    has_image_prefix: ClassVar[bool] = False
    """Whether it reads `MaskSet.image_prefix`."""
    masks_folder: ClassVar[str] = ""
    """Sub-folder that gets masks; empty: none does."""
    photos_folder: ClassVar[str] = "images"
    """Sub-folder that gets photos, where they are copied."""

    def write(self, masks: MaskSet, folder: Path) -> int:
        """Write all masks into a folder that is empty; returns how many shapes, one per class and image."""
        raise NotImplementedError

    def name_problems(self, masks: MaskSet, copied: bool) -> Iterator[Problem]:
        """Names that it cannot hold, beyond those that no list of lines, XML or UTF-8 text can; `copied`: photos are
        copied as well."""
        if copied:
            yield from clashing_files(masks.items, [item.image_name for item in masks.items])

    def photo_place(self, item: MaskItem) -> Path:
        """Where the photo of a mask is copied to, in the folder."""
        return Path(self.photos_folder, item.image_name)


formats: Registry[type[MaskFormat]] = Registry(
    "format of masks",
    "recam.formats",
    (
        "recam.export.coco",
        "recam.export.cvat",
        "recam.export.fiftyone",
        "recam.export.label_studio",
        "recam.export.voc",
        "recam.export.yolo",
    ),
)


def hex_colour(value: int) -> str:
    """``#800000`` of a mask value, as VOC's palette has it."""
    return "#" + "".join(f"{part:02x}" for part in voc_palette()[value].tolist())


def text_file(path: Path) -> AbstractContextManager[TextIO]:
    """A UTF-8 file written line by line, and there as a whole when the block ends."""

    @contextmanager
    def opened() -> Iterator[TextIO]:
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            yield file

    return opened()


def write_rows(file: TextIO, rows: Iterator[Any]) -> int:
    """A JSON array, a line per row, without holding more than one; returns how many."""
    count = 0
    file.write("[")
    for row in rows:
        file.write((",\n" if count else "\n") + json.dumps(row, ensure_ascii=False, separators=(",", ":")))
        count += 1
    file.write("\n]")
    return count
