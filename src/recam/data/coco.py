"""COCO: the official layout, or one JSON file of the user's own in COCO's format.

    coco/annotations/instances_train2014.json       coco/train2014/*.jpg or coco/images/train2014/*.jpg
    coco/annotations/instances_val2014.json         coco/val2014/*.jpg   or coco/images/val2014/*.jpg

    export/shapes.json                              export/images/*      or export/*

Classes are the categories of the file in the order of their ids, whatever gaps the ids have. Labels of an image are the
categories of
its annotations that are no crowd regions: a crowd is too vague to teach a class from (the published code counts crowds
too). An
annotation that draws nothing (a bare box) still is a label. How overlaps and crowds are painted is told in
`recam.data.coco_masks`.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from recam.data.catalog import Catalog, Roles, catalogs
from recam.data.coco_masks import PROTOCOLS, CocoMask, Region, Shape, pack_shape
from recam.data.images import ImageFile
from recam.data.splits import stable_split
from recam.errors import DataError, Problem, RecipeError, near_matches
from recam.files import expand_home
from recam.labels import IGNORE, ClassSet, mask_value
from recam.types import Sample

_PREFIX = "instances_"


class _Picture(NamedTuple):
    id: int | str
    name: str
    size: tuple[int, int] | None


class _Annotation(NamedTuple):
    image: int | str
    category: int | str
    crowd: bool
    shape: Shape | None


class _Content(NamedTuple):
    """What is used of one JSON file; `malformed` counts entries of images and annotations without the keys they
    need."""

    names: dict[int | str, str]
    pictures: list[_Picture]
    annotations: list[_Annotation]
    malformed: int


@catalogs.register("coco")
class Coco(Catalog):
    """COCO's annotations of instances.

    Splits of the official layout are the files of instances (``train2014`` for ``instances_train2014.json``); 2014
    comes before 2017
    where both are there. A single file is split into ``train`` and ``val`` by a hash of the ids: images added later
    move no other.

    Args:
        location: the folder that holds ``annotations/``, or a JSON file.
        classes: categories to keep; the others become ignore in masks and no label.
        protocol: how crowd regions and overlaps are painted: ``ignore-crowd`` or ``recam``.
        split_seed: of a single file: another number gives another split.
        val_share: of a single file: share of images in val, in [0, 1).

    Raises:
        DataError: no such file, nothing in COCO's format, unknown classes.
        RecipeError: an unknown protocol, or `val_share` outside [0, 1).
    """

    def __init__(
        self,
        location: str | Path,
        *,
        classes: Sequence[str] | None = None,
        protocol: str = "ignore-crowd",
        split_seed: int = 0,
        val_share: float = 0.2,
    ) -> None:
        if protocol not in PROTOCOLS:
            raise RecipeError(f"unknown COCO protocol {protocol!r}.{near_matches(protocol, PROTOCOLS)}")
        if not 0 <= val_share < 1:
            raise RecipeError(f"val_share = {val_share}: choose a share from 0 to below 1.")
        self._location, self._protocol = expand_home(location), protocol
        self._files = _find_files(self._location)
        self._is_single = self._location.is_file()
        self._read_files: dict[Path, tuple[list[Sample], list[Problem]]] = {}

        train = (
            "train"
            if self._is_single
            else _first(self._files, ("train2014", "train2017"), "train") or next(iter(self._files))
        )
        val = "val" if self._is_single else _first(self._files, (train.replace("train", "val"),), "val")
        content = _read(self._files[train])
        self.classes, self._index = _select_classes(content, classes)
        self._read_files[self._files[train]] = self._make_samples(train, content)
        if self._is_single:
            ids = [sample.id for sample in self._read_files[self._files[train]][0]]
            self._parts = {
                name: frozenset(part)
                for name, part in zip(("train", "val"), stable_split(ids, val_share, split_seed), strict=True)
            }
        has_masks = any(sample.mask for sample in self.samples(train))
        if val == train or (self._is_single and not self._parts["val"]):
            val = None
        self.roles = Roles(train=train, score=train if has_masks else None, val=val)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._files)

    def samples(self, split: str) -> Sequence[Sample]:
        samples = self._read_split(split)[0]
        return [sample for sample in samples if sample.id in self._parts[split]] if self._is_single else samples

    def problems(self, splits: Iterable[str] | None = None) -> list[Problem]:
        splits = list(self.splits if splits is None else splits)
        found = list(dict.fromkeys(problem for split in splits for problem in self._read_split(split)[1]))
        if not self._is_single:
            holders: dict[str, list[str]] = defaultdict(list)
            for split in splits:
                for sample in self.samples(split):
                    holders[sample.id].append(split)
            message = (
                "the splits {} hold an image of this name, and what is made for one would replace the other's. Rename"
                " one."
            )
            found += [
                Problem("duplicate-id", i, message.format(" and ".join(names)))
                for i, names in holders.items()
                if len(names) > 1
            ]
        return found

    def _read_split(self, split: str) -> tuple[list[Sample], list[Problem]]:
        if split not in self._files:
            raise DataError(f"unknown split {split!r} of {self._location}.{near_matches(split, self._files)}")
        path = self._files[split]
        if path not in self._read_files:
            self._read_files[path] = self._make_samples(split, _read(path))
        return self._read_files[path]

    def _image_folders(self, split: str) -> list[Path]:
        if self._is_single:
            return [self._location.parent / "images", self._location.parent]
        return [self._location / split, self._location / "images" / split, self._location / "images", self._location]

    def _make_samples(self, split: str, content: _Content) -> tuple[list[Sample], list[Problem]]:
        """The usable images of a file, by id, and everything that is wrong with it."""
        path = self._files[split]
        by_image, problems = self._sort_annotations(path, content)
        pictures, wrong = _unique_pictures(path, content.pictures)
        problems += wrong
        folders = _Folders(self._image_folders(split))
        draws = any(annotation.shape for annotation in content.annotations) or not content.annotations
        samples, missing = [], []
        for image_id, picture in pictures.items():
            where = f"{path}: image {picture.name}"
            found = folders.find(picture.name)
            if found is None:
                missing.append(picture.name)
                continue
            mine = by_image.get(picture.id, [])
            drawn = tuple(Region(IGNORE if i is None else mask_value(i), a.crowd, a.shape) for i, a in mine if a.shape)
            if draws and len(drawn) < len(mine):
                message = (
                    f"{len(mine) - len(drawn)} of {len(mine)} annotations draw nothing: labels, but not in the mask."
                    " Redraw or remove them."
                )
                problems.append(Problem("empty-segmentation", where, message))
            if draws and not picture.size:
                problems.append(
                    Problem("missing-size", where, "has no height and width, so its mask cannot be drawn. Add them.")
                )
            mask = CocoMask(path, picture.name, picture.size, drawn, self._protocol) if draws and picture.size else None
            labels = {i for i, a in mine if i is not None and not a.crowd}
            samples.append(Sample(image_id, tuple(sorted(labels)), ImageFile(found), mask))
        if samples:
            problems += [
                Problem("missing-image", f"{path}: image {n}", f"not in {folders}; not used. Put it there.")
                for n in missing
            ]
        elif missing:
            message = (
                f"none of its {len(missing)} images (first: {missing[0]!r}) is in {folders}. Put them into one of"
                " these folders."
            )
            problems.append(Problem("missing-image", str(path), message))
        return sorted(samples, key=lambda sample: sample.id), problems

    def _sort_annotations(
        self, path: Path, content: _Content
    ) -> tuple[dict[int | str, list[tuple[int | None, _Annotation]]], list[Problem]]:
        """The annotations of each image with their class index (None: a class that is not selected), in the order of
        the file."""
        problems = []
        if content.malformed:
            message = (
                "images need id and file_name, annotations image_id and category_id; these entries are not used."
                " Export the file again."
            )
            problems.append(
                Problem("bad-entry", str(path), f"{content.malformed} entries are not as COCO's: {message}")
            )
        strange = {id_: name for id_, name in content.names.items() if name not in self._index}
        for id_, name in strange.items():
            hint = near_matches(name, self._index)
            problems.append(
                Problem(
                    "unknown-class",
                    f"{path}: category {id_}",
                    f"the training split has no class {name!r}; not used.{hint}",
                )
            )
        known_images = {picture.id for picture in content.pictures}
        by_image: dict[int | str, list[tuple[int | None, _Annotation]]] = defaultdict(list)
        no_image: Counter[int | str] = Counter()
        no_category: Counter[int | str] = Counter()
        for annotation in content.annotations:
            if annotation.image not in known_images:
                no_image[annotation.image] += 1
            elif annotation.category not in content.names:
                no_category[annotation.category] += 1
            elif annotation.category not in strange:
                by_image[annotation.image].append((self._index[content.names[annotation.category]], annotation))
        for kind, counts in (("unknown-image", no_image), ("unknown-class", no_category)):
            noun = "image" if kind == "unknown-image" else "category"
            message = (
                f"annotations name the {noun} id {{!r}}, which the file does not list; they are not used. Add it or"
                " remove them."
            )
            problems += [Problem(kind, str(path), f"{count} {message.format(id_)}") for id_, count in counts.items()]
        return by_image, problems


class _Folders:
    """Where the images of a file may lie; lists each folder once instead of asking for each file."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = [root for root in roots if root.is_dir()] or list(roots)
        self._listed: dict[Path, frozenset[str]] = {}

    def find(self, name: str) -> Path | None:
        """The first folder's file of this name (with ``/`` for sub-folders)."""
        inner, _, base = name.rpartition("/")
        for root in self.roots:
            folder = root / inner
            if folder not in self._listed:
                self._listed[folder] = frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()  # noqa: PTH208 (names only)
            if base in self._listed[folder]:
                return folder / base
        return None

    def __str__(self) -> str:
        return " or ".join(str(root) for root in self.roots)


def _find_files(location: Path) -> dict[str, Path]:
    """The annotation file of each split."""
    if location.is_file():
        return {"train": location, "val": location}
    if not location.exists():
        raise DataError(f"{location} does not exist. Name COCO's folder (which holds annotations/) or a JSON file.")
    files = {
        path.stem.removeprefix(_PREFIX): path for path in sorted((location / "annotations").glob(f"{_PREFIX}*.json"))
    }
    if not files:
        others = sorted(path.name for path in location.glob("*.json"))
        hint = f" For a file of your own: coco:{location / others[0]}" if others else ""
        raise DataError(f"{location / 'annotations'} holds no {_PREFIX}*.json. Unpack COCO's annotations there.{hint}")
    return files


def _first(names: Iterable[str], wanted: Sequence[str], start: str) -> str | None:
    """The first of `wanted` that is there, else the first name with this `start`."""
    names = list(names)
    return next((name for name in wanted if name in names), None) or next(
        (name for name in names if name.startswith(start)), None
    )


def _read(path: Path) -> _Content:
    """Parse a file; entries are packed while they are parsed, so that 80 000 images take hundreds of megabytes and not
    thousands."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            content = json.load(file, object_hook=_pack)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}). Download or export it again.") from error
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
    wrong = [
        c
        for c in categories
        if not (isinstance(c, dict) and isinstance(c.get("id"), int) and isinstance(c.get("name"), str))
    ]
    if wrong or not categories:
        raise DataError(
            f"{path}: categories need a whole number as id and a name, got {str(wrong[:1] or categories)[:200]}."
            " Correct the file."
        )
    pictures = [entry for entry in images if isinstance(entry, _Picture)]
    useful = [entry for entry in annotations if isinstance(entry, _Annotation)]
    names: dict[int | str, str] = {c["id"]: c["name"] for c in sorted(categories, key=lambda c: c["id"])}
    if len(names) < len(categories):
        doubled = sorted(id_ for id_, count in Counter(c["id"] for c in categories).items() if count > 1)
        raise DataError(
            f"{path}: the category ids {', '.join(map(str, doubled))} occur twice. Give each category an id of its own."
        )
    return _Content(names, pictures, useful, len(images) - len(pictures) + len(annotations) - len(useful))


def _pack(entry: dict[str, Any]) -> Any:
    """An image or annotation of the file as a tuple of what is used of it; any other object as it is."""
    if "image_id" in entry and "category_id" in entry:
        image, category = entry["image_id"], entry["category_id"]
        if isinstance(image, int | str) and isinstance(category, int | str):
            return _Annotation(image, category, bool(entry.get("iscrowd")), pack_shape(entry.get("segmentation")))
    elif isinstance(entry.get("id"), int | str) and isinstance(name := entry.get("file_name"), str) and name:
        height, width = entry.get("height"), entry.get("width")
        size = (
            (height, width) if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0 else None
        )
        return _Picture(entry["id"], name.replace("\\", "/").removeprefix("./"), size)
    return entry


def _select_classes(content: _Content, selected: Sequence[str] | None) -> tuple[ClassSet, dict[str, int | None]]:
    """The classes, and the class index of each category name; None where it is not selected."""
    names = list(content.names.values())
    if selected is None:
        classes = ClassSet(tuple(names))
    else:
        unknown = [f"unknown class {name!r}.{near_matches(name, names)}" for name in selected if name not in names]
        if unknown:
            raise DataError(" ".join(unknown))
        classes = ClassSet(tuple(name for name in names if name in selected))
    return classes, {name: classes.index(name) if name in classes else None for name in names}


def _unique_pictures(path: Path, pictures: Iterable[_Picture]) -> tuple[dict[str, _Picture], list[Problem]]:
    """The images by their sample id, which is the file name without its ending, and those that cannot be told apart."""
    kept: dict[str, _Picture] = {}
    problems = []
    seen: set[int | str] = set()
    for picture in pictures:
        name = PurePosixPath(picture.name)
        image_id = str(name.with_suffix(""))
        where = f"{path}: image {picture.name}"
        if name.is_absolute() or ".." in name.parts:
            message = "leads out of the folder of images; not used. Write the path from that folder."
            problems.append(Problem("bad-file-name", where, message))
        elif image_id in kept:
            message = (
                f"has the same name as {kept[image_id].name}, apart from the ending; the first is used. Remove or"
                " rename one."
            )
            problems.append(Problem("duplicate-id", where, message))
        elif picture.id in seen:
            problems.append(
                Problem(
                    "duplicate-id",
                    where,
                    f"has the id {picture.id!r} of another image; not used. Give it one of its own.",
                )
            )
        else:
            kept[image_id] = picture
            seen.add(picture.id)
    return kept, problems
