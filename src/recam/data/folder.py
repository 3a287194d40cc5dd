"""A folder of the user's own photos, with labels in a table or one sub-folder a class.

::

    photos/
      images/           any depth; JPEG, PNG, WebP, BMP, TIFF
      labels.csv        image,labels             farm/7.jpg,horse;traffic light
                        or one 0/1 column a class: image,horse,traffic light
                        and, if wanted, a column split (train, val, …)
      masks/            if there are any: index or palette PNG, named as the image: masks/farm/7.png
      classes.txt       if wanted: one class a line, in the order of the mask values 1…K

Without labels.csv each sub-folder of images/ (or of the folder itself) is a class. Without classes.txt the classes are the names found,
sorted. The name ``background`` is never a class: a sub-folder of that name holds images without labels, as an empty field of labels.csv
does.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recam.data.catalog import Catalog, Roles, catalogs
from recam.data.images import IMAGE_ENDINGS, ImageFile, MaskFile
from recam.data.splits import stable_split
from recam.errors import DataError, Problem, RecipeError, near_matches
from recam.files import expand_home
from recam.labels import ClassSet
from recam.types import Sample

ALL = "all"
"""The split that holds the images of all splits."""

NO_LABEL = "background"


@dataclass(frozen=True)
class _Row:
    """What is said of one image.

    Attributes:
        where: for the user to find it.
        entry: the image as it is named there.
        names: its class names.
        split: None where nothing is said of splits.
    """

    where: str
    entry: str
    names: frozenset[str]
    split: str | None = None


@catalogs.register("folder")
class Folder(Catalog):
    """Photos in a folder with ``labels.csv``, or one sub-folder a class; the top of this file draws the layout.

    Where the table has no column ``split``, a hash of its id and the seed puts each image into ``train`` or ``val``, so files that are
    added later move no other; the split ``all`` is both. Without any mask nothing could be scored on held-out images: ``all`` is then
    what is trained on, so that every photo gets its mask. An image of which something is wrong (an unknown class, say) is in no split.

    Args:
        location: the folder.
        classes: keep just these; the others become ignore in masks and no label.
        split_seed: another number gives another division into train and val.
        val_share: share of the images in val, in [0, 1).

    Raises:
        DataError: no such folder, no image or no label in it, or a table that cannot be read.
        RecipeError: `val_share` outside [0, 1).
    """

    def __init__(self, location: str | Path, *, classes: Sequence[str] | None = None, split_seed: int = 0, val_share: float = 0.2) -> None:
        if not 0 <= val_share < 1:
            raise RecipeError(f"val_share = {val_share}: choose a share from 0 to below 1.")
        self.root = expand_home(location)
        if not self.root.is_dir():
            raise DataError(f"{self.root} is no folder. Name the folder that holds images/ and labels.csv.")
        self._split_seed, self._val_share = split_seed, val_share
        self._problems: list[tuple[str | None, Problem]] = []  # of one split, or of all

        self._find_images()
        rows, names = self._read_rows()
        self._all_classes = self._find_classes(names)
        self.classes, self._table = self._all_classes, None
        if classes is not None:
            self.classes, table = self._all_classes.select(classes)
            self._table = table.tobytes()
        self._find_masks()
        self._fill_splits(rows)

        train = "train" if "train" in self._splits else next(iter(self._splits))
        has_masks = any(sample.mask for sample in self._splits[train])
        if any(sample.mask for sample in self.samples(ALL)) or any(row.split for row in rows):
            self.roles = Roles(train=train, score=train if has_masks else None, val="val" if self._splits.get("val") else None)
        else:  # nothing could be scored on held-out images, so none is held out: every photo gets its mask
            self.roles = Roles(train=ALL, score=None, val=None)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._splits)

    def samples(self, split: str) -> Sequence[Sample]:
        if split == ALL:
            return sorted((sample for of_split in self._splits.values() for sample in of_split), key=lambda sample: sample.id)
        if split not in self._splits:
            raise DataError(f"unknown split {split!r} of {self.root}.{near_matches(split, (*self._splits, ALL))}")
        return self._splits[split]

    def problems(self, splits: Iterable[str] | None = None) -> list[Problem]:
        wanted = None if splits is None or ALL in (splits := list(splits)) else {None, *splits}
        return list(dict.fromkeys(problem for split, problem in self._problems if wanted is None or split in wanted))

    def _tell(self, kind: str, where: Path | str, message: str, split: str | None = None) -> None:
        self._problems.append((split, Problem(kind, str(where), message)))

    def _find_images(self) -> None:
        self._base = self.root / "images" if (self.root / "images").is_dir() else self.root
        self._path_by_id: dict[str, str] = {}  # both from `_base`
        for path in _walk(self._base, IMAGE_ENDINGS, without=self.root / "masks"):
            first = self._path_by_id.setdefault(_id(path), path)
            if first != path:
                message = f"has the same id as {first}, since an id has no ending. Rename one of them; this one is not used."
                self._tell("duplicate-id", self._base / path, message)
        self._path_by_lower_id = {image_id.lower(): path for image_id, path in self._path_by_id.items()}
        if not self._path_by_id:
            raise DataError(f"{self._base} holds no image ({', '.join(IMAGE_ENDINGS)}). Put images there.")

    def _read_rows(self) -> tuple[list[_Row], frozenset[str]]:
        """Every row, and the names of the classes they tell of."""
        table = self.root / "labels.csv"
        if table.is_file():
            rows, columns, problems = _read_table(table)
            self._problems += [(None, problem) for problem in problems]
            self._unlisted = "no row of labels.csv names it; it is not used. Add a row (with empty labels if it shows no class)."
        else:
            paths = [path for path in self._path_by_id.values() if "/" in path]
            folders = [path.split("/")[0] for path in paths]
            rows = [_Row(str(self._base / f), path, _class_names([f])) for f, path in zip(folders, paths, strict=True)]
            columns = frozenset()
            self._unlisted = "lies in no class's sub-folder; it is not used. Move it, or write a labels.csv."
        return rows, columns.union(*(row.names for row in rows))

    def _find_classes(self, names: frozenset[str]) -> ClassSet:
        listed = self.root / "classes.txt"
        if listed.is_file():
            lines = [line.strip() for line in _read_text(listed).splitlines() if line.strip()]
            if lines and lines[0].lower() == NO_LABEL:
                lines = lines[1:]  # many lists begin with mask value 0
            if NO_LABEL in (line.lower() for line in lines):
                raise DataError(f"{listed} names {NO_LABEL!r} among the classes. It is mask value 0: put it first, or leave it out.")
            if not lines:
                raise DataError(f"{listed} names no class. Write one class a line, or delete the file.")
            return ClassSet(tuple(lines))
        if not names:
            raise DataError(
                f"{self.root} tells no class. Write labels.csv with columns image,labels, or put images in one sub-folder a class."
            )
        return ClassSet(tuple(sorted(names)))

    def _find_masks(self) -> None:
        self._masks: dict[str, MaskFile] = {}
        for path in _walk(self.root / "masks", (".png",)):
            if _id(path) in self._path_by_id:
                self._masks[_id(path)] = MaskFile(self.root / "masks" / path, self._table)
            else:
                message = f"is named as no image (looked for {_id(path)} in {self._base}). Rename it as its image; it is not used."
                self._tell("mask-without-image", self.root / "masks" / path, message)

    def _fill_splits(self, rows: list[_Row]) -> None:
        found = {row.split for row in rows if row.split}
        if ALL in found:
            raise DataError(f"{self.root}: a split may not be called {ALL!r}, which is the name of all splits together. Rename it.")
        order = ["train", "val"] if not found else sorted(found, key=lambda name: (name != "train", name != "val", name))
        self._splits: dict[str, list[Sample]] = {name: [] for name in order}
        in_val = frozenset(stable_split(self._path_by_id, self._val_share, self._split_seed)[1])
        first_row: dict[str, _Row] = {}
        for row in rows:
            image_id = self._resolve(row.entry)
            if image_id is None:
                self._tell("missing-image", row.where, self._missing(row.entry), row.split or None)
                continue
            split = ("val" if image_id in in_val else "train") if row.split is None else row.split
            unknown = sorted(name for name in row.names if name not in self._all_classes)
            if image_id in first_row:
                message = f"{row.entry!r} stands already on {first_row[image_id].where}. Delete one of the rows; the first is used."
                self._tell("duplicate-id", row.where, message, split or None)
            elif not split:
                self._tell("missing-split", row.where, f"{row.entry!r} has an empty split. Write one; the image is not used.")
            elif unknown:
                told = " ".join(f"unknown class {name!r}.{near_matches(name, self._all_classes.names)}" for name in unknown)
                self._tell("unknown-class", row.where, f"{told} Correct it, or add it to classes.txt; not used so far.", split)
            else:
                labels = sorted(self.classes.index(name) for name in row.names if name in self.classes)
                image = ImageFile(self._base / self._path_by_id[image_id])
                self._splits[split].append(Sample(image_id, tuple(labels), image, self._masks.get(image_id)))
            first_row.setdefault(image_id, row)
        for image_id, path in self._path_by_id.items():
            if image_id not in first_row:
                self._tell("unlisted-image", self._base / path, self._unlisted)
        for samples in self._splits.values():
            samples.sort(key=lambda sample: sample.id)

    def _resolve(self, entry: str) -> str | None:
        """The id of the image that a row names, with or without ending, from images/ or from the folder that holds it."""
        for name in (entry, entry.removeprefix("images/")):
            if name in self._path_by_id:
                return name
            if self._path_by_id.get(_id(name)) == name:
                return _id(name)
        return None

    def _missing(self, entry: str) -> str:
        near = self._path_by_lower_id.get(_id(entry).lower())
        hint = f" Did you mean {near!r}?" if near else ""
        return f"{entry!r} is no image in {self._base}.{hint} Correct the name, or delete the row; it is not used."


def _walk(base: Path, endings: tuple[str, ...], without: Path | None = None) -> list[str]:
    """Paths from `base`, with ``/``, sorted, of all files with one of the endings, but none that is hidden or lies in `without`."""
    found = []
    for folder, inner, names in os.walk(base, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith(".") and Path(folder, name) != without]
        paths = (Path(folder, name) for name in names if not name.startswith("."))
        found += [path.relative_to(base).as_posix() for path in paths if path.suffix.lower() in endings]
    return sorted(found)


def _id(path: str) -> str:
    stem, dot, ending = path.rpartition(".")
    return stem if dot + ending.lower() in IMAGE_ENDINGS else path


def _class_names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(stripped for name in names if (stripped := name.strip()) and stripped.lower() != NO_LABEL)


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}). Save it in the encoding UTF-8.") from error


def _read_table(path: Path) -> tuple[list[_Row], frozenset[str], list[Problem]]:
    """The rows of labels.csv, the classes that have a column of their own, and the rows that cannot be used."""
    reader = csv.reader(_read_text(path).splitlines(keepends=True))
    header = [name.strip() for name in next(reader, [])]
    columns = _check_header(header, path)
    rows, problems = [], []
    for fields in reader:
        where = f"{path}:{reader.line_num}"
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != len(header):
            message = (
                f"has {len(fields)} fields where the header has {len(header)}. Put names that hold a comma in double quotes; not used."
            )
            problems.append(Problem("bad-row", where, message))
            continue
        by_name = dict(zip(header, (field.strip() for field in fields), strict=True))
        wrong = {name: by_name[name] for name in columns if by_name[name] not in ("0", "1", "0.0", "1.0")}
        if wrong:
            told = ", ".join(f"{name} = {value!r}" for name, value in wrong.items())
            problems.append(Problem("bad-row", where, f"{told}: a class column holds 0 or 1. Correct it; the row is not used."))
            continue
        names = [name for name in columns if by_name[name][0] == "1"] if columns else by_name["labels"].split(";")
        entry = by_name["image"].replace("\\", "/").removeprefix("./")
        rows.append(_Row(where, entry, _class_names(names), by_name.get("split")))
    return rows, _class_names(columns), problems


def _check_header(header: list[str], path: Path) -> list[str]:
    """The columns that are classes; empty where there is a column of labels."""
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        mark = "semicolons" if ";" in header[0] else "tabs"
        raise DataError(f"{path} separates its columns by {mark}. Save it with commas (several labels of one image by ';'): image,labels")
    doubled = sorted({name for name in header if header.count(name) > 1})
    if "image" not in header or "" in header or doubled:
        wrong = (
            "no column 'image'" if "image" not in header else f"columns twice: {', '.join(doubled)}" if doubled else "a column without name"
        )
        raise DataError(f"{path} has {wrong}; its first line is {','.join(header)!r}. It should be: image,labels")
    columns = [name for name in header if name not in ("image", "split")]
    if not columns:
        raise DataError(f"{path} has no column 'labels' and no class columns. Its first line should be: image,labels")
    return [] if "labels" in header else columns
