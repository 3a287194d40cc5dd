"""COCO: the official layout, or one JSON file of the user's own in COCO's format.

    coco/annotations/instances_train2014.json       coco/train2014/*.jpg or coco/images/train2014/*.jpg
    coco/annotations/instances_val2014.json         coco/val2014/*.jpg   or coco/images/val2014/*.jpg

    export/shapes.json                              export/images/*      or export/*

    export/train/_annotations.coco.json             export/train/*       (valid, test as well; as Roboflow has it)

Classes are the categories of the file in the order of their ids, whatever gaps the ids have; one that is called
``background`` is none, and paints 0. Labels of an image are the categories of its annotations that are no crowd
regions: a crowd is too vague to teach a class from (the published code counts crowds too). An annotation that draws
nothing (a bare box) still is a label. `recam.data.coco_masks` describes how overlaps and crowds are painted,
`recam.data.coco_file` what is read of a file.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from recam.data.catalog import Catalog, PassedOver, Roles, catalogs, passed_over
from recam.data.coco_file import Annotation, Content, Ids, Picture, read_coco
from recam.data.coco_masks import PROTOCOLS, CocoMask, Region
from recam.data.coco_places import Folders, find_files, find_roles
from recam.data.images import ImageFile
from recam.data.splits import stable_split
from recam.errors import DataError, Problem, RecipeError, near_matches, printable
from recam.files import expand_home
from recam.labels import BACKGROUND, IGNORE, ClassSet, is_background_name, mask_value, nfc
from recam.types import Sample


@catalogs.register("coco")
class Coco(Catalog):
    """COCO's annotations of instances.

    Splits of the official layout are the files of instances (``train2014`` for ``instances_train2014.json``); 2014
    comes before 2017 where both are there, and names may be synonyms such as ``training`` and ``valid``. A single file
    is split into ``train`` and ``val`` by a hash of the ids: images added later move no other.

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
        self._files = find_files(self._location)
        self._is_single = self._location.is_file()
        self._read_files: dict[Path, tuple[list[Sample], list[Problem]]] = {}
        self._folders: dict[Path, Folders] = {}

        train, val = find_roles(self._files)
        first = train or next(iter(self._files))
        content = read_coco(self._files[first])
        self.classes, self._values = _select_classes(self._files[first], content, classes)
        self._read_files[self._files[first]] = self._make_samples(first, content)
        if self._is_single:
            ids = [sample.id for sample in self._read_files[self._files[first]][0]]
            self._parts = {
                name: frozenset(part)
                for name, part in zip(("train", "val"), stable_split(ids, val_share, split_seed), strict=True)
            }
            val = val if self._parts["val"] else None
        has_masks = train is not None and any(sample.mask for sample in self.samples(train))
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

    def passed_over(self) -> list[PassedOver]:
        for split in self.splits:
            with suppress(DataError):  # a file that cannot be read is reported where its samples are read
                self._read_split(split)
        found = passed_over(
            "unread-file",
            self._files_beside(),
            "JSON files beside those that are read, which are named as no list of instances.",
        )
        return found + [
            kind for folders in self._folders.values() for kind in folders.passed_over(set(self._files.values()))
        ]

    def _files_beside(self) -> list[str]:
        if self._is_single:
            return []
        beside = sorted(
            path for folder in {path.parent for path in self._files.values()} for path in folder.glob("*.json")
        )
        return [str(path.relative_to(self._location)) for path in beside if path not in self._files.values()]

    def _read_split(self, split: str) -> tuple[list[Sample], list[Problem]]:
        if split not in self._files:
            raise DataError(f"unknown split {split!r} of {self._location}.{near_matches(split, self._files)}")
        path = self._files[split]
        if path not in self._read_files:
            self._read_files[path] = self._make_samples(split, read_coco(path))
        return self._read_files[path]

    def _image_folders(self, split: str) -> list[Path]:
        beside = self._files[split].parent
        if self._is_single:
            return [beside / "images", beside]
        if beside.name != "annotations":  # one folder per split, with its file in it
            return [beside, beside / "images"]
        return [self._location / split, self._location / "images" / split, self._location / "images", self._location]

    def _make_samples(self, split: str, content: Content) -> tuple[list[Sample], list[Problem]]:
        """The usable images of a file, by id, and everything that is wrong with it."""
        path = self._files[split]
        by_image, problems = self._sort_annotations(path, content)
        pictures, wrong = _unique_pictures(path, content.pictures)
        problems += wrong
        folders = self._folders[path] = Folders(self._image_folders(split))
        draws = any(annotation.shape for annotation in content.annotations) or not content.annotations
        problems += [*_lost_shapes(path, content, draws), *_shapes_as_text(path, content)]
        samples, missing = [], []
        for image_id, picture in pictures.items():
            where = printable(f"{path}: image {picture.name}")
            found = folders.find(picture.name)
            if found is None:
                missing.append(picture.name)
                continue
            mine = by_image.get(picture.id, [])
            drawn = tuple(Region(value, a.crowd, a.shape) for value, a in mine if a.shape)
            if draws and len(drawn) < len(mine):
                message = (
                    f"{len(mine) - len(drawn)} of {len(mine)} annotations draw nothing: labels, but not in the mask."
                    " Redraw or remove them."
                )
                problems.append(Problem("empty-segmentation", where, message))
            mask = None
            if draws and isinstance(picture.size, str):
                message = f"{picture.size}, so its mask cannot be drawn. Write height and width as whole numbers."
                problems.append(Problem("missing-size", where, message))
            elif draws and not isinstance(picture.size, str):
                mask = CocoMask(path, picture.name, picture.size, drawn, self._protocol, found)
            labels = {value - 1 for value, a in mine if value not in (BACKGROUND, IGNORE) and not a.crowd}
            samples.append(Sample(image_id, tuple(sorted(labels)), ImageFile(found), mask))
        problems += folders.problems
        if samples:
            message = f"not in {folders}; not used. Put it there."
            problems += [
                Problem("missing-image", printable(f"{path}: image {name}"), f"{folders.hint(name)}{message}")
                for name in missing
            ]
        elif missing:
            message = (
                f"none of its {len(missing)} images (first: {missing[0]!r}) is in {folders}. Put them into one of"
                " these folders."
            )
            problems.append(Problem("missing-image", str(path), message))
        return sorted(samples, key=lambda sample: sample.id), problems

    def _sort_annotations(
        self, path: Path, content: Content
    ) -> tuple[dict[int | str, list[tuple[int, Annotation]]], list[Problem]]:
        """The annotations of each image with their mask value (255: a class that is not selected), in the order of the
        file."""
        problems = content.problems(path)
        strange = {id_: name for id_, name in content.names.items() if name not in self._values}
        for id_, name in strange.items():
            hint = near_matches(name, self._values)
            message = f"the training split has no class {name!r}; not used.{hint}"
            problems.append(Problem("unknown-class", f"{path}: category {id_}", printable(message)))
        images = Ids(picture.id for picture in content.pictures)
        by_image: dict[int | str, list[tuple[int, Annotation]]] = defaultdict(list)
        no_image: Counter[int | str] = Counter()
        no_category: Counter[int | str] = Counter()
        for annotation in content.annotations:
            image = images.find(annotation.image)
            if image is None:
                no_image[annotation.image] += 1
            elif annotation.category not in content.names:
                no_category[annotation.category] += 1
            elif annotation.category not in strange:
                by_image[image].append((self._values[content.names[annotation.category]], annotation))
        for kind, noun, counts in (("unknown-image", "image", no_image), ("unknown-class", "category", no_category)):
            message = (
                f"annotations name the {noun} id {{!r}}, which the file does not list; they are not used.{{}} Add it"
                " or remove them."
            )
            for id_, count in counts.items():
                hint = images.hint(id_) if noun == "image" else ""
                problems.append(Problem(kind, str(path), printable(f"{count} {message.format(id_, hint)}")))
        return by_image, problems


def _lost_shapes(path: Path, content: Content, draws: bool) -> list[Problem]:
    """Notes of shapes that draw nothing, by count: beside others that do, or where no annotation draws anything at
    all."""
    lost = [annotation for annotation in content.annotations if annotation.lost and (annotation.shape or not draws)]
    count, found = sum(annotation.lost for annotation in lost), []
    why = (
        "Fewer than three points, no area, no usable numbers, or shares of width and height in place of pixels: redraw"
        " them, or export again."
    )
    if not draws:
        given = (
            f", although {count} polygons or run-length codes are given. {why}"
            if count
            else ". Export polygons or masks if you have them."
        )
        message = (
            f"none of the {len(content.annotations)} annotations draws anything, so they are labels and nothing can be"
            f" scored{given}"
        )
        found.append(Problem("empty-segmentation", str(path), message))
    elif lost:
        message = (
            f"{count} polygons of {len(lost)} annotations draw nothing, others of these do (first: of the image id"
            f" {lost[0].image!r})"
        )
        found.append(Problem("empty-segmentation", str(path), printable(f"{message}. {why}")))
    return found


def _shapes_as_text(path: Path, content: Content) -> list[Problem]:
    """A note of shapes whose numbers are text."""
    found = [annotation for annotation in content.annotations if annotation.as_text]
    if not found:
        return []
    message = (
        f"the coordinates or run lengths of {len(found)} annotations are text (first: of the image id"
        f" {found[0].image!r}) and are read as numbers. Compare some masks with their photos."
    )
    return [Problem("number-as-text", str(path), printable(message))]


def _select_classes(path: Path, content: Content, selected: Sequence[str] | None) -> tuple[ClassSet, dict[str, int]]:
    """The classes, and the mask value of each category name: 0 of background, 255 where it is not selected."""
    names = [name for name in content.names.values() if not is_background_name(name)]
    if not names:
        raise DataError(
            f"{path} has no category but {', '.join(content.names.values())}. Add a category for each class."
        )
    if selected is None:
        kept = names
    else:
        wanted = [nfc(name).strip() for name in selected]
        unknown = [f"unknown class {name!r}.{near_matches(name, names)}" for name in wanted if name not in names]
        if unknown:
            raise DataError(" ".join(unknown))
        kept = [name for name in names if name in wanted]
    try:
        classes = ClassSet(tuple(kept))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    values = {name: mask_value(classes.index(name)) if name in classes else IGNORE for name in names}
    return classes, values | {name: BACKGROUND for name in content.names.values() if is_background_name(name)}


def _unique_pictures(path: Path, pictures: Iterable[Picture]) -> tuple[dict[str, Picture], list[Problem]]:
    """The images by their sample id, which is the file name without its ending, and those that cannot be
    distinguished."""
    kept: dict[str, Picture] = {}
    problems = []
    found: set[int | str] = set()
    for picture in pictures:
        name = PurePosixPath(picture.name)
        image_id = nfc(str(name.with_suffix("")))
        where = printable(f"{path}: image {picture.name}")
        if name.is_absolute() or ".." in name.parts:
            message = "leads out of the folder of images; not used. Write the path from that folder."
            problems.append(Problem("bad-file-name", where, message))
        elif image_id in kept:
            message = (
                f"has the same name as {kept[image_id].name}, apart from the ending; the first is used. Remove or"
                " rename one."
            )
            problems.append(Problem("duplicate-id", where, printable(message)))
        elif picture.id in found:
            problems.append(
                Problem(
                    "duplicate-id",
                    where,
                    f"has the id {picture.id!r} of another image; not used. Give it one of its own.",
                )
            )
        else:
            kept[image_id] = picture
            found.add(picture.id)
    return kept, problems
