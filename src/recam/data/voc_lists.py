"""Lists of images in VOC's layout: one id per line, or an image and its mask."""

from __future__ import annotations

import codecs
import re
from collections.abc import Container
from pathlib import Path, PurePosixPath

from recam.data.images import IMAGE_ENDINGS
from recam.errors import DataError, Problem, printable
from recam.labels import nfc

IMAGES = "JPEGImages"


def read_list(path: Path, known: Container[str]) -> tuple[dict[str, str], list[Problem]]:
    """Each id of a list with ``file:line``, and the lines that cannot be used.

    Args:
        known: ids of images. A line that is one of them as a whole is that id, spaces included.

    Raises:
        DataError: a file that is no text.
    """
    ids: dict[str, str] = {}
    problems = []
    for number, line in enumerate(_read_lines(path), start=1):
        if not line.strip():
            continue
        where = printable(f"{path}:{number}")
        image_id = _id_of_line(line.strip(), known)
        if image_id is None:
            message = (
                f"{line.strip()!r} is neither an id nor an image and its mask. Write one id a line; the line is not"
                " used."
            )
            problems.append(Problem("bad-line", where, printable(message)))
        elif image_id in ids:
            message = (
                f"{image_id!r} stands already on {ids[image_id]}. Take one of the lines out; the image is used once."
            )
            problems.append(Problem("duplicate-id", where, printable(message)))
        else:
            ids[image_id] = where
    return ids, problems


def image_id_of(path: str) -> str:
    """An id: the path from JPEGImages on, in composed form, without the ending of an image."""
    inner = path.replace("\\", "/").lstrip("/")
    if f"/{IMAGES}/" in f"/{inner}":
        inner = f"/{inner}".rpartition(f"/{IMAGES}/")[2]
    place = PurePosixPath(inner)
    return nfc(str(place.with_suffix("")) if place.suffix.lower() in IMAGE_ENDINGS else inner)


def _id_of_line(line: str, known: Container[str]) -> str | None:
    for text in (line, *([] if " " in line or "\t" in line else [PurePosixPath(image_id_of(line)).name])):
        if image_id_of(text) in known:
            return image_id_of(text)
    for gap in re.finditer(r"\s+", line):
        image, mask = line[: gap.start()], line[gap.end() :]
        image_id = image_id_of(image)
        if PurePosixPath(image_id).name == nfc(PurePosixPath(mask).stem):
            return image_id if image_id in known else PurePosixPath(image_id).name
    return None if re.search(r"\s", line) else PurePosixPath(image_id_of(line)).name


def _read_lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # what Windows calls Unicode
            text = content.decode("utf-16")
        else:  # names in another encoding are found where the files are named in the same bytes
            text = content.decode("utf-8-sig", "surrogateescape")
        if "\0" in text:
            raise ValueError("it holds NUL characters")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as a list of images ({error}). Save it as UTF-8 text, one id a line."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
