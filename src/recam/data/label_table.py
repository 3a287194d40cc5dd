"""Labels of images in a table: ``labels.csv`` of a folder of photos.

The labels of one image stand in one cell, separated by ``;`` or by line breaks. Where names are joined by ``|`` or
commas it depends on the rest of the table what was meant: names that occur on their own are labels of one image, and
what stays unclear is reported.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recam.data.file_tree import holds_line_break
from recam.errors import DataError, Problem, near_matches
from recam.labels import is_background_name, nfc

_JOINT = re.compile("[|,]")
_LOOSE_JOINT = re.compile("[|,/]")
_COLUMNS = {"image": "image", "labels": "labels", "label": "labels", "split": "split"}
_GROUP = ";group"
"""The column of groups, whatever its name is: no class is called so."""


@dataclass(frozen=True)
class Row:
    """What is stated of one image.

    Attributes:
        where: for the user to find it.
        entry: the image as it is named there.
        names: its class names.
        split: None where nothing is stated of splits.
        group: None where nothing is stated of groups; empty where a column of groups holds nothing.
        is_clear: False where it is reported that nobody knows which labels `names` are; the image is then not used.
    """

    where: str
    entry: str
    names: frozenset[str]
    split: str | None = None
    group: str | None = None
    is_clear: bool = True


@dataclass(frozen=True)
class LabelTable:
    """A table as it was read.

    Attributes:
        rows: those that can be used.
        columns: classes that have a column of their own.
        unread: columns that are not read.
        problems: rows that cannot be used.
        broken: what such a row holds where the image is named, as far as it can be read.
    """

    rows: list[Row]
    columns: frozenset[str]
    unread: tuple[str, ...]
    problems: list[Problem]
    broken: frozenset[str] = frozenset()


def read_table(path: Path, is_image: Callable[[str], bool], group: str | None = None) -> LabelTable:
    """Read a table; names in a cell that are joined by other marks than ``;`` are left as they are.

    Args:
        is_image: whether a text names an image, so that a row that a quote has swallowed is known as one.
        group: the column that holds the group of each image; None: no column does.

    Raises:
        DataError: no text in UTF-8, or a header that does not name where images, labels and groups are.
    """
    records = _read_records(read_text(path), is_image)
    line, first = next(records, (1, []))
    if isinstance(first, str):
        raise DataError(f"{path}:{line} {first}")
    named = [nfc(field.strip()) for field in first]
    header = [_GROUP if name == group else _COLUMNS.get(name.casefold(), name) for name in named]
    if group is not None and _GROUP not in header:
        raise DataError(f"{path} has no column {group!r}, which data.group names.{near_matches(group, named)}")
    columns, unread = _check_header(header, path, ",".join(named))
    rows: list[Row] = []
    problems: list[Problem] = []
    broken: set[str] = set()
    for line, fields in records:
        where = f"{path}:{line}"
        if isinstance(fields, str):
            problems.append(Problem("bad-row", where, fields))
        elif any(field.strip() for field in fields):
            made = _make_row(where, header, columns, fields)
            if isinstance(made, Row):
                rows.append(made)
            else:
                problems.append(made)
                broken.update(
                    fields[header.index("image")].splitlines()[:1] if len(fields) > header.index("image") else ()
                )
    return LabelTable(rows, class_names(columns), unread, problems, frozenset(map(_entry, broken)))


def read_text(path: Path) -> str:
    """A text file in UTF-8. Raises `DataError` where it is none, or may not be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except PermissionError as error:
        raise DataError(f"{path} may not be read. Give read permission.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read as text ({error}). Save it in the encoding UTF-8.") from error


def class_names(names: Iterable[str]) -> frozenset[str]:
    """Names as they are compared: composed, without blanks around them; the background is none."""
    return frozenset(stripped for name in names if (stripped := nfc(name.strip())) and not is_background_name(stripped))


def part_labels(rows: Sequence[Row], listed: Collection[str] | None) -> tuple[list[Row], list[Problem]]:
    """Part names that are joined by ``|`` or commas where the parts are classes, and report where some may be.

    A part is a class where it is listed, or where nothing is listed: where it stands alone in a cell, or joined with
    others than here.

    Args:
        listed: the names in ``classes.txt``; None without one. A listed name is never parted.

    Returns:
        The rows, and what to report, each name once: kind ``joined-labels`` of names that were parted, and of those
        with a comma that were not; ``unclear-labels`` of rows that are not used.
    """
    names = frozenset().union(*(row.names for row in rows))
    joined = {name: _parts(name, _JOINT) for name in names if _JOINT.search(name) and name not in (listed or ())}
    if listed is None:
        every = [part for parts in joined.values() for part in set(parts)]
        known = (names - joined.keys()) | {part for part in every if every.count(part) > 1}
    else:
        known = frozenset(listed)
    parted = {name: frozenset(parts) for name, parts in joined.items() if parts and known.issuperset(parts)}
    unclear = (
        set()
        if listed
        else {n for n, parts in joined.items() if n not in parted and ("|" in n or not known.isdisjoint(parts))}
    )
    made = [
        replace(
            row,
            names=frozenset().union(*(parted.get(n, {n}) for n in row.names)),
            is_clear=row.names.isdisjoint(unclear),
        )
        for row in rows
    ]
    whole = set() if listed else joined.keys() - parted.keys() - unclear
    problems = []
    for name in sorted(parted.keys() | unclear | whole):
        places = [row.where for row in rows if name in row.names]
        lines = ", ".join(place.rpartition(":")[2] for place in places[:5]) + ", …" * (len(places) > 5)
        others = f" (in {len(places)} rows: {lines})" if len(places) > 1 else ""
        labels = ", ".join(joined[name])
        if name in whole:
            message = f"{name!r} is read as one class{others}. Separate labels of one image by ';' if it is several."
            problems.append(Problem("joined-labels", places[0], message))
        elif name in parted:
            message = (
                f"{name!r} is read as the labels {labels}{others}. Separate labels by ';'; if it is one class, list it"
                " in classes.txt."
            )
            problems.append(Problem("joined-labels", places[0], message))
        else:
            message = (
                f"is {name!r} one class, or the labels {labels}{others}? Separate labels by ';', or list the class in"
                " classes.txt; not used."
            )
            problems.append(Problem("unclear-labels", places[0], message))
    return made, problems


def joined_names(names: Collection[str], where: str) -> list[Problem]:
    """A note for each class whose name consists of others, joined by ``|``, ``,`` or ``/``."""
    found = {name: _parts(name, _LOOSE_JOINT) for name in sorted(names)}
    message = (
        "consists of the other classes {}, and is read as a class of its own. Separate labels of one image by ';'."
    )
    return [
        Problem("joined-labels", where, f"{name!r} {message.format(', '.join(parts))}")
        for name, parts in found.items()
        if len(parts) > 1 and set(parts) <= set(names) - {name}
    ]


def _parts(name: str, joint: re.Pattern[str]) -> list[str]:
    return sorted(class_names(joint.split(name)))


def _read_records(text: str, is_image: Callable[[str], bool]) -> Iterator[tuple[int, list[str] | str]]:
    """(line at which it begins, fields) of each record, or what is wrong with it; reading then continues with the next
    line."""
    lines = list(io.StringIO(text, newline=""))
    start = 0
    while start < len(lines):
        reader = csv.reader((lines[i] for i in range(start, len(lines))), strict=True)
        begin = start
        try:
            for fields in reader:
                last, swallowed = start + reader.line_num, _swallows(fields, is_image)
                if swallowed:
                    yield (
                        begin + 1,
                        f"opens a quote that is not closed before line {last}: {swallowed}. Close it; the line is not"
                        " used.",
                    )
                    break
                yield begin + 1, fields
                begin = last
            else:
                return
        except csv.Error as error:
            if start + reader.line_num > begin + 1 or "unexpected end" in str(error):
                yield begin + 1, "opens a quote that is not closed. Close it, or take it out; the line is not used."
            else:
                yield (
                    begin + 1,
                    f"is no line of a table ({error}). A quote inside a name is written twice; the line is not used.",
                )
        start = begin + 1


def _swallows(fields: Sequence[str], is_image: Callable[[str], bool]) -> str:
    """Why line breaks inside a record cannot be meant: a line that names an image is a row; empty where they can."""
    for field in fields:
        row = next(
            (line for line in field.splitlines()[1:] if "," in line and is_image(line.split(",")[0].strip())), None
        )
        if row:
            return f"{row[:60]!r} inside it is a row"
    return ""


def _make_row(where: str, header: Sequence[str], columns: Sequence[str], fields: Sequence[str]) -> Row | Problem:
    if len(fields) != len(header):
        message = (
            f"has {len(fields)} fields where the header has {len(header)}. Put names that hold a comma in double"
            " quotes; not used."
        )
        return Problem("bad-row", where, message)
    by_name = dict(zip(header, (field.strip() for field in fields), strict=True))
    broken = [name for name, value in by_name.items() if name != "labels" and holds_line_break(value)]
    if broken:
        return Problem(
            "bad-row", where, f"holds a line break in the column {broken[0]!r}. Take it out; the row is not used."
        )
    wrong = {name: by_name[name] for name in columns if by_name[name] not in ("0", "1", "0.0", "1.0")}
    if wrong:
        values = ", ".join(f"{name} = {value!r}" for name, value in wrong.items())
        return Problem("bad-row", where, f"{values}: a class column holds 0 or 1. Correct it; the row is not used.")
    if columns:
        names = [name for name in columns if by_name[name][0] == "1"]
    else:
        names = [name for line in by_name["labels"].splitlines() for name in line.split(";")]
    return Row(where, _entry(by_name["image"]), class_names(names), by_name.get("split"), by_name.get(_GROUP))


def _entry(field: str) -> str:
    return field.strip().replace("\\", "/").removeprefix("./")


def _check_header(header: list[str], path: Path, first_line: str) -> tuple[list[str], tuple[str, ...]]:
    """The columns that are classes, empty where there is a column of labels; and the columns that are not read.

    Args:
        first_line: for messages, as it stands in the file.
    """
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        mark = "semicolons" if ";" in header[0] else "tabs"
        raise DataError(
            f"{path} separates its columns by {mark}. Save it with commas (several labels of one image by ';'):"
            " image,labels"
        )
    # Before the others it is a row's number, as pandas writes it; behind them a comma too many may hide a label.
    nameless = "" in (header[1:] if "labels" in header else header)
    doubled = sorted({name for name in header if name and header.count(name) > 1})
    if "image" not in header or nameless or doubled:
        wrong = (
            "no column 'image'"
            if "image" not in header
            else f"columns twice: {', '.join(doubled)}"
            if doubled
            else "a column without name"
        )
        raise DataError(f"{path} has {wrong}; its first line is {first_line!r}. It should be: image,labels")
    columns = [name for name in header if name not in ("image", "split", _GROUP)]
    if not columns:
        raise DataError(f"{path} has no column 'labels' and no class columns. Its first line should be: image,labels")
    return ([], tuple(name or "''" for name in columns if name != "labels")) if "labels" in header else (columns, ())
