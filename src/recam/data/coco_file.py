"""Reading a JSON file in COCO's format: what is used of it, and what of it cannot be used and why."""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recam.data.coco_masks import Shape, pack_shape
from recam.data.json_numbers import truth_value, unquoted, whole_number
from recam.errors import DataError, Problem, first_line, printable
from recam.labels import nfc


class Picture(NamedTuple):
    """An image of the file: `size` (H, W), or a phrase that describes what stands there instead of one."""

    id: int | str
    name: str
    size: tuple[int, int] | str


class Annotation(NamedTuple):
    """An annotation: `lost` counts its polygons that draw nothing; `as_text`: some of their numbers are written as
    text."""

    image: int | str
    category: int | str
    crowd: bool
    shape: Shape | None
    lost: int
    as_text: bool


class Content(NamedTuple):
    """What is used of one file.

    Attributes:
        names: category names by id, in the order of the ids.
        pictures, annotations: in the order of the file.
        rejected: why entries of both cannot be used; how many, and what stands in the first of them.
    """

    names: dict[int | str, str]
    pictures: list[Picture]
    annotations: list[Annotation]
    rejected: dict[str, tuple[int, str]]

    def problems(self, path: Path) -> list[Problem]:
        """One for each reason why entries cannot be used."""
        return [
            Problem(
                "bad-entry",
                str(path),
                f"{n} {why} (first: {example}); they are not used. Correct them, or export the file again.",
            )
            for why, (n, example) in self.rejected.items()
        ]


class Ids:
    """Finds the entry that an annotation names, where a tool wrote one of the ids as a number and the other as text.

    Args:
        ids: those of the entries; ``1`` and ``"1"`` are two.
    """

    def __init__(self, ids: Iterable[int | str]) -> None:
        self._known = set(ids)
        self._by_number: dict[int, list[int | str]] = {}
        for id_ in self._known:
            if (number := whole_number(id_)) is not None:
                self._by_number.setdefault(number, []).append(id_)

    def find(self, id_: int | str) -> int | str | None:
        """The entry's own id, or None: there is none, or several are this number and none is written as it is."""
        if id_ in self._known:
            return id_
        same = self._same_number(id_)
        return same[0] if len(same) == 1 else None

    def hint(self, id_: int | str) -> str:
        """A sentence of why an id was not found, where there is more to it than that there is none."""
        same = sorted(map(repr, self._same_number(id_)))
        return f" It may be {' or '.join(same)}: write the same as there." if len(same) > 1 else ""

    def _same_number(self, id_: int | str) -> list[int | str]:
        number = whole_number(id_)
        return [] if number is None else self._by_number.get(number, [])


class _Rejected(NamedTuple):
    """Why an entry cannot be used, and what stands there."""

    why: str
    example: str


def read_coco(path: Path) -> Content:
    """Parse a file; entries are packed while they are parsed, so that 80 000 images take hundreds of megabytes and not
    thousands.

    Raises:
        DataError: no JSON, or not in COCO's format for instances.
    """
    try:
        content = json.loads(_read_text(path), object_hook=_pack)
    except (
        OSError,
        ValueError,
        RecursionError,
    ) as error:  # ValueError: no JSON, no UTF, or a number of thousands of digits
        raise DataError(f"{path} cannot be read as JSON ({first_line(error)}). Download or export it again.") from error
    lists = {
        name: content.get(name) if isinstance(content, dict) else None
        for name in ("images", "annotations", "categories")
    }
    absent = [name for name, entries in lists.items() if not isinstance(entries, list)]
    if absent:
        raise DataError(
            f"{path} has no list {', '.join(absent)}: it is not in COCO's format for instances. Export it as COCO"
            " instances."
        )
    images, annotations, categories = (list(entries or []) for entries in lists.values())
    rejected: dict[str, tuple[int, str]] = {}
    for one in (*_rejects(images, Picture, "images"), *_rejects(annotations, Annotation, "annotations")):
        count, first = rejected.get(one.why, (0, one.example))
        rejected[one.why] = count + 1, first
    pictures = [entry for entry in images if isinstance(entry, Picture)]
    useful = [entry for entry in annotations if isinstance(entry, Annotation)]
    return Content(_read_names(path, categories), pictures, useful, rejected)


def _read_text(path: Path) -> str:
    content = path.read_bytes()
    return content.decode(json.detect_encoding(content))  # UTF-8, 16 or 32


def _rejects(entries: Sequence[Any], wanted: type, where: str) -> Iterator[_Rejected]:
    keys = {"images": "id and file_name", "annotations": "image_id and category_id"}[where]
    for entry in entries:
        if not isinstance(entry, wanted):
            why, example = (
                entry if isinstance(entry, _Rejected) else (f"have no {keys}", printable(reprlib.repr(entry)))
            )
            yield _Rejected(f"of the {where} {why}", example)


def _read_names(path: Path, categories: list[Any]) -> dict[int | str, str]:
    """Category names by id, in the order of the ids."""
    ids = [
        whole_number(c.get("id")) if isinstance(c, dict) and isinstance(c.get("name"), str) else None
        for c in categories
    ]
    wrong = [c for c, id_ in zip(categories, ids, strict=True) if id_ is None]
    if wrong or not categories:
        got = reprlib.repr(wrong[0] if wrong else categories)
        raise DataError(
            printable(f"{path}: categories need a whole number as id and a name, got {got}. Correct the file.")
        )
    doubled = sorted(id_ for id_, count in Counter(ids).items() if count > 1 and id_ is not None)
    if doubled:
        raise DataError(
            f"{path}: the category ids {', '.join(map(str, doubled))} occur twice. Give each category an id of its own."
        )
    names = {id_: nfc(c["name"]).strip() for id_, c in zip(ids, categories, strict=True) if id_ is not None}
    return {id_: names[id_] for id_ in sorted(names)}


def _pack(entry: dict[str, Any]) -> Any:
    """An image or annotation of the file as a tuple of what is used of it; any other object as it is."""
    if "image_id" in entry and "category_id" in entry:
        return _pack_annotation(entry)
    if "file_name" in entry and "id" in entry:
        return _pack_picture(entry)
    return entry


def _pack_annotation(entry: dict[str, Any]) -> Annotation | _Rejected:
    image, category = _as_id(entry["image_id"]), _as_id(entry["category_id"])
    if image is None or category is None:
        name = "image_id" if image is None else "category_id"
        return _rejected(f"have no whole number or text as {name}", entry[name])
    given = entry.get("iscrowd")
    crowd = False if given is None else truth_value(given)
    if crowd is None:
        return _rejected("have an iscrowd that is neither 0 nor 1", given)
    segmentation, as_text = entry.get("segmentation"), False
    shape, lost = pack_shape(segmentation)
    if lost:  # looking for text takes time, and where there is any something is lost
        again = pack_shape(unquoted(segmentation))
        as_text = again[1] < lost or (shape is None and again[0] is not None)
        shape, lost = again if as_text else (shape, lost)
    number = whole_number(category)
    return Annotation(image, category if number is None else number, crowd, shape, lost, as_text)


def _pack_picture(entry: dict[str, Any]) -> Picture | _Rejected:
    id_, name = _as_id(entry["id"]), entry["file_name"]
    if id_ is None:
        return _rejected("have no whole number or text as id", entry["id"])
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        return _rejected("have a file_name that is no name", name)
    height, width = (whole_number(entry.get(side)) or 0 for side in ("height", "width"))
    size = (height, width) if height > 0 and width > 0 else _describe_size(entry)
    return Picture(id_, name.replace("\\", "/").removeprefix("./"), size)


def _describe_size(entry: dict[str, Any]) -> str:
    absent = [side for side in ("height", "width") if entry.get(side) is None]
    if absent:
        return f"has no {' and '.join(absent)}"
    height, width = (reprlib.repr(entry[side]) for side in ("height", "width"))
    return f"has height {height} and width {width}, which are no numbers of pixels"


def _rejected(why: str, value: Any) -> _Rejected:
    return _Rejected(why, printable(reprlib.repr(value)))


def _as_id(value: Any) -> int | str | None:
    """Text as it is, so that ``"007"`` stays apart from ``"7"``; a float as the whole number that it is."""
    return value if isinstance(value, str) else whole_number(value)
