"""What is stated of each image of a folder of photos: by a table, by sub-folders, or by the names of the files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from recam.data.catalog import PassedOver, passed_over
from recam.data.folder_images import FolderImages
from recam.data.folder_layout import Layout, is_picture, rows_of_folders
from recam.data.label_table import Row, class_names, part_labels, read_table, read_text
from recam.data.name_pattern import NamePattern, NameReading, is_pattern, make_pattern
from recam.errors import DataError, Problem, RecipeError, near_matches, printable
from recam.labels import is_background_name, nfc


@dataclass(frozen=True)
class LabelSource:
    """Where labels and groups are read from.

    Attributes:
        labels_from: a pattern of file names with a field ``{label}``, or a regular expression with a group ``label``;
            None: the table, or sub-folders.
        label_separator: what parts several labels in a name; None: a name has one.
        group: a column of the table, or a pattern of file names with a field ``{group}``; None: no groups, or those of
            `labels_from`.
    """

    labels_from: str | None = None
    label_separator: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        if self.label_separator is not None and self.labels_from is None:
            raise RecipeError("data.label_separator parts labels in file names: set data.labels_from as well.")
        if self.label_separator == "":
            raise RecipeError("data.label_separator is empty. Give the sign between two labels, e.g. '+'.")


@dataclass
class FolderRows:
    """What is stated of the images.

    Attributes:
        rows: in order.
        names: classes that they name.
        unlisted: why nothing is stated of the images that no row names, and what to do.
        refused: (composed) ids of images of which something is stated that cannot be used.
        problems: what cannot be used.
        passed_over: what is not read.
    """

    rows: list[Row]
    names: frozenset[str]
    unlisted: str
    refused: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)


def read_rows(layout: Layout, images: FolderImages, listed: Sequence[str] | None, source: LabelSource) -> FolderRows:
    """What is stated of each image.

    Args:
        listed: the names in ``classes.txt``; None without one.

    Raises:
        DataError: a table or names that leave open what is what.
        RecipeError: a pattern that is none.
    """
    patterned = source.group is not None and is_pattern(source.group)
    column = None if patterned else source.group
    if column is not None and (layout.table is None or source.labels_from):
        raise DataError(
            f"data.group = {column!r} names a column, and there is no labels.csv to read it from. Write one, or give a"
            " pattern of file names, such as '{group}_{id}'."
        )
    if source.labels_from:
        found = _rows_of_names(layout, images, listed, source)
    elif layout.table:
        found = _rows_of_table(layout.table, images, listed, column)
    else:
        found = _rows_of_folders(images)
    if source.group is not None and patterned:
        _add_groups(found, images, make_pattern(source.group, "group", "data.group"))
    return found


def read_listed(path: Path | None) -> tuple[str, ...] | None:
    """The names in ``classes.txt``; None without one. Raises `DataError` for none, or a background among them."""
    if path is None:
        return None
    lines = [nfc(line.strip()) for line in read_text(path).splitlines() if line.strip()]
    if lines and is_background_name(lines[0]):
        lines = lines[1:]  # many lists begin with mask value 0
    background = next((line for line in lines if is_background_name(line)), None)
    if background:
        raise DataError(
            f"{path} names {background!r} among the classes. It is mask value 0: put it first, or leave it out."
        )
    if not lines:
        raise DataError(f"{path} names no class. Write one class per line, or delete the file.")
    return tuple(lines)


def _rows_of_table(path: Path, images: FolderImages, listed: Sequence[str] | None, group: str | None) -> FolderRows:
    read = read_table(path, images.names_image, group)
    rows, problems = part_labels(read.rows, listed or read.columns or None)  # a column names its class as a list does
    return FolderRows(
        rows,
        read.columns.union(*(row.names for row in rows if row.is_clear)),
        f"no row of {path.name} names it, so its labels are unknown and nothing is learned from it. Add a row"
        " (with empty labels if it shows no class), or set data.unlisted = 'negative' if missing rows mean that.",
        {found for entry in read.broken if (found := images.resolve(entry))},
        [*read.problems, *problems],
        passed_over(
            "unread-column", read.unread, f"columns of {path.name} beside image, labels, split and data.group."
        ),
    )


def _rows_of_folders(images: FolderImages) -> FolderRows:
    rows = rows_of_folders(images.base, images.paths.values())
    found = FolderRows(
        rows,
        frozenset().union(*(row.names for row in rows)),
        "lies in no class's sub-folder, so its labels are unknown and nothing is learned from it. Move it, or write a"
        " labels.csv.",
    )
    _report_lost_classes(found, images, has_splits=any(row.split for row in rows))
    return found


def _report_lost_classes(found: FolderRows, images: FolderImages, has_splits: bool) -> None:
    """Sub-folders that stand for a class and hold no image that is read."""
    depth, used = 2 if has_splits else 1, {row.where for row in found.rows}
    unread: dict[str, list[str]] = defaultdict(list)
    for path in images.unread:
        unread["/".join(path.split("/")[:depth])].append(path)
    empty = []
    for folder in images.folders:
        if folder.count("/") != depth - 1 or str(images.base / folder) in used:
            continue
        pictures = [path for path in unread[folder] if is_picture(path)]
        if pictures:
            message = (
                f"holds {len(pictures)} files and no image that is read (first: {pictures[0]})."
                " Save them as JPEG or PNG."
            )
            found.problems.append(Problem("class-not-read", printable(images.base / folder), printable(message)))
        else:
            empty.append(folder)
    found.passed_over += passed_over("folder-without-image", empty, "sub-folders without an image; they are no class.")


def _rows_of_names(
    layout: Layout, images: FolderImages, listed: Sequence[str] | None, source: LabelSource
) -> FolderRows:
    if layout.table:
        raise DataError(
            f"data.labels_from reads labels from file names, and {layout.table} holds labels as well. Leave out the"
            " setting, or move the table away."
        )
    assert source.labels_from is not None
    pattern = make_pattern(source.labels_from, "label", "data.labels_from", listed, source.label_separator)
    found = FolderRows([], frozenset(), "")
    for image_id, path in images.paths.items():
        where, read = str(images.base / path), pattern.read(image_id)
        if read is None or read.others:
            readings = (read.fields.get("label", ""), *read.others) if read else ()
            found.refused.add(image_id)
            found.problems.append(_unclear_name(where, "data.labels_from", pattern, readings))
            continue
        label = read.fields.get("label", "")
        labels = label.split(source.label_separator) if source.label_separator else [label]
        found.rows.append(Row(where, path, class_names(labels), group=read.fields.get("group")))
    if not found.rows:
        first = found.problems[0]
        raise DataError(f"no name of a file shows a label. {first.where} {first.message}")
    found.names = frozenset().union(*(row.names for row in found.rows))
    unknown = sorted(found.names.difference(listed)) if listed is not None else []
    if unknown and not any(name in listed for name in found.names):  # type: ignore[operator]
        raise DataError(
            f"data.labels_from = {source.labels_from!r} reads labels such as {unknown[0]!r}, none of which is in"
            f" {layout.classes}.{near_matches(unknown[0], listed or ())}"
        )
    return found


def _unclear_name(where: str, setting: str, pattern: NamePattern, readings: tuple[str, ...]) -> Problem:
    """A name that a pattern does not fit, or that it fits in several ways."""
    if not readings:
        message = f"does not fit {setting} = {pattern.text!r}. Rename it, or change the pattern; it is not used."
        return Problem("name-not-matched", printable(where), printable(message))
    known = " list the classes in classes.txt, or" if pattern.wanted == "label" else ""
    message = (
        f"fits {setting} = {pattern.text!r} with the {pattern.wanted} {' or '.join(map(repr, readings))}:{known} give a"
        f" regular expression, such as '(?P<{pattern.wanted}>.+)_[0-9]+'; it is not used."
    )
    return Problem("name-unclear", printable(where), printable(message))


def _add_groups(found: FolderRows, images: FolderImages, pattern: NamePattern) -> None:
    """Groups from the names of the images; what is stated of an image whose name shows none is not used."""
    rows, found.rows = found.rows, []
    for row in rows:
        image_id = images.resolve(row.entry)
        read = pattern.read(image_id) if image_id else NameReading({})  # an image that is missing is reported as such
        if read and not read.others:
            found.rows.append(replace(row, group=read.fields.get("group", "")))
            continue
        assert image_id
        found.refused.add(image_id)
        readings = (read.fields.get("group", ""), *read.others) if read else ()
        where = str(images.base / images.paths[image_id])
        found.problems.append(_unclear_name(where, "data.group", pattern, readings))
