"""PASCAL VOC 2012 and everything in its layout: the devkit as it is unpacked, with SBD's extra masks where they were
added.

Image labels are the object names of the XML annotations. Objects marked "difficult" count as present, as in the
published code. A data set without any annotation, such as `recam export masks --to voc` and labelme write it, has its
labels from its masks. Classes of its own are listed beside JPEGImages, see `recam.data.voc_classes`. Names are equal
where their composed Unicode forms are.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from recam.ahead import map_ahead
from recam.data.catalog import Catalog, PassedOver, Roles, catalogs, passed_over
from recam.data.file_tree import FileTree, read_tree, unread_endings
from recam.data.images import IMAGE_ENDINGS, ImageFile
from recam.data.mask_folder import MaskFiles, list_masks, unread_message
from recam.data.splits import split_role, training_split, validation_split
from recam.data.voc_classes import LISTS as CLASS_LISTS
from recam.data.voc_classes import read_voc_classes
from recam.data.voc_lists import IMAGES, image_id_of, read_list
from recam.errors import DataError, Problem, near_matches, printable
from recam.files import expand_home
from recam.labels import ClassSet, is_background_name, nfc
from recam.types import Sample, Source

LISTS = Path("ImageSets", "Segmentation")
LABELS = "Annotations"
MASKS = ("SegmentationClassAug", "SegmentationClass", "SegmentationClassPNG")
"""The first that holds an image's mask is used; the last is labelme's."""
_ALL = "train"
"""The split of all images where there is no list."""


@catalogs.register("voc")
class Voc(Catalog):
    """The VOC devkit.

    Splits are the lists in ``ImageSets/Segmentation`` (``train_aug``, ``train``, ``val``, any other), or the path of a
    list. A line of a list is an id, or an image and its mask: ``/JPEGImages/ID.jpg /SegmentationClassAug/ID.png``. The
    masks used are those of the id in ``SegmentationClassAug``, else ``SegmentationClass``, else
    ``SegmentationClassPNG``. Without any list all images are the split ``train``.

    Args:
        location: the path of ``VOC2012``, of ``VOCdevkit``, or of the folder that holds it.
        classes: classes to keep; the others become ignore in masks and no label.

    Raises:
        DataError: nothing in VOC's layout there, no image, a list of classes that cannot be used, or an unknown class.
    """

    def __init__(self, location: str | Path, *, classes: Sequence[str] | None = None) -> None:
        self.root = _find_root(expand_home(location))
        self._lists = {path.stem: path for path in sorted((self.root / LISTS).glob("*.txt"))}
        self._problems: list[Problem] = []
        self._known = read_voc_classes(self.root)
        self.classes, self._selection = self._known.classes, None
        if classes is not None:
            self.classes, self._selection = self._select(classes)
        self._find_images()
        self._find_masks()
        self._annotations = self._find_annotations()
        if not self._lists and not self._images:
            raise DataError(
                f"{self.root / LISTS} holds no list of images. Put train.txt and val.txt there, one id a line."
            )
        self._read_splits: dict[str, tuple[list[Sample], list[Problem]]] = {}
        self.roles = self._choose_roles()

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._lists) or (_ALL,)

    def samples(self, split: str) -> Sequence[Sample]:
        return self._read(split)[0]

    def problems(self, splits: Iterable[str] | None = None) -> list[Problem]:
        found = (problem for split in (self.splits if splits is None else splits) for problem in self._read(split)[1])
        return list(dict.fromkeys([*self._problems, *found]))  # an image of two splits is reported once

    def passed_over(self) -> list[PassedOver]:
        listed: set[str] = set()
        for split in self.splits:
            with suppress(DataError):  # a list that cannot be read is reported where its samples are read
                listed.update(self._ids(split)[0])
        unlisted = [path for image_id, path in self._images.items() if image_id not in listed]
        unread = [path for path in self._tree.files if not path.lower().endswith(IMAGE_ENDINGS)]
        folders = [
            path.name for path in self.root.glob("SegmentationClass*") if path.is_dir() and path.name not in MASKS
        ]
        found = [
            *self._tree.passed_over(),
            *unread_endings(unread, "Save photos as JPEG or PNG to use them."),
            *passed_over("unlisted-image", unlisted, f"images that no list in {LISTS} names."),
            *passed_over("mask-without-image", self._lone_masks, f"masks that are named as no image in {IMAGES}."),
            *passed_over(
                "other-folder", sorted(folders), f"folders of masks that are not read; read are {', '.join(MASKS)}."
            ),
            *passed_over(
                "other-list", self._known.unread, f"lists of other classes than {self._known.source}, which is read."
            ),
        ]
        if not self._lists:
            found += passed_over(
                "no-list", [LISTS], f"no list of images: all {len(self._images)} are the split {_ALL}."
            )
        if not self._annotations and self._masks:
            found += passed_over(
                "labels-from-masks",
                [LABELS],
                "no XML annotation: the labels of each image are the classes in its mask.",
            )
        return found

    def _select(self, classes: Sequence[str]) -> tuple[ClassSet, NDArray[np.uint8]]:
        try:
            return self._known.classes.select(classes)
        except DataError as error:
            raise DataError(f"{error}{self._way_out()}") from error

    def _way_out(self) -> str:
        """How a data set brings classes of its own."""
        if self._known.source:
            return f" The classes are those of {self._known.source}."
        return (
            f" For classes of your own, list them in {self.root / CLASS_LISTS[1]}, one per line in the order of the"
            " mask values, or write"
            " the data set as folder: or coco: reads it."
        )

    def _find_images(self) -> None:
        self._tree: FileTree = read_tree(self.root / IMAGES)
        self._problems += self._tree.problems
        self._images: dict[str, str] = {}  # id → path from JPEGImages on
        for path in self._tree.files:
            if not path.lower().endswith(IMAGE_ENDINGS):
                continue
            first = self._images.setdefault(image_id_of(path), path)
            if first != path:
                message = (
                    f"has the same id as {first}, since an id has no ending. Rename one of them; this one is not used."
                )
                self._problems.append(Problem("duplicate-id", printable(self.root / IMAGES / path), printable(message)))

    def _find_masks(self) -> None:
        self._masks: dict[str, Path] = {}
        unread: list[tuple[Path, MaskFiles]] = []
        for name in MASKS:
            folder = self.root / name
            if not folder.is_dir():
                continue
            found = list_masks(folder)
            unread.append((folder, found))
            self._problems += found.problems
            for pair in found.twice:
                self._problems.append(
                    Problem("duplicate-mask", printable(folder), f"{printable(pair)} have one name. Keep one of them.")
                )
            for inner, path in found.masks.items():
                self._masks.setdefault(nfc(inner), path)
        self._lone_masks = [str(path) for name, path in self._masks.items() if name not in self._images]
        for folder, found in unread:
            names = {path: nfc(str(PurePosixPath(path).with_suffix(""))) for path in found.unread}
            lost = [path for path, name in names.items() if name in self._images and name not in self._masks]
            self._lone_masks += [str(folder / path) for path in found.unread if path not in lost]
            if lost:
                self._problems.append(Problem("unread-mask", printable(folder), unread_message(lost)))

    def _find_annotations(self) -> dict[str, Path]:
        """The XML file of each id."""
        folder = self.root / LABELS
        files = read_tree(folder).files if folder.is_dir() else ()
        return {nfc(path[:-4]): folder / path for path in files if path.lower().endswith(".xml")}

    def _choose_roles(self) -> Roles:
        named = training_split(self.splits)
        others = [name for name in self.splits if split_role(name) is None]
        train = "train_aug" if "train_aug" in self._lists else named
        if train is None and not any(split_role(name) == "train" for name in self.splits):
            train = next(iter(others), None)
        return Roles(train=train, score=named if self._masks else None, val=validation_split(self.splits))

    def _ids(self, split: str) -> tuple[dict[str, str], list[Problem]]:
        """Each id with where it stands, and the lines of the list that cannot be used."""
        if not self._lists and split == _ALL:
            return {image_id: str(self.root / IMAGES / path) for image_id, path in self._images.items()}, []
        path = self._lists.get(split, expand_home(split))
        if not path.is_file():
            known = near_matches(split, self.splits)
            raise DataError(f"unknown split {split!r} of {self.root}.{known} The path of a list works too.")
        return read_list(path, self._images)

    def _read(self, split: str) -> tuple[list[Sample], list[Problem]]:
        if split not in self._read_splits:
            samples: list[Sample] = []
            ids, problems = self._ids(split)
            # Without annotations masks are decoded for the labels, which takes a while.
            for (image_id, _), made in map_ahead(lambda item: self._make_sample(*item), ids.items()):
                if isinstance(made, Sample):
                    samples.append(made)
                    if self._masks and made.mask is None and split in (self.roles.score, self.roles.val):
                        message = (
                            f"no mask in {' or '.join(MASKS)}, so this image of the split {split} is not scored. Put"
                            " its mask there."
                        )
                        problems.append(Problem("missing-mask", printable(image_id), message))
                else:
                    problems.append(made)
            self._read_splits[split] = samples, problems
        return self._read_splits[split]

    def _make_sample(self, image_id: str, where: str) -> Sample | Problem:
        if image_id not in self._images:
            message = (
                f"there is no {IMAGES}/{image_id}.jpg. Put it there, or take the line out of the list; it is not used."
            )
            return Problem("missing-image", where, printable(message))
        mask = self._known.mask(self._masks[image_id], self._selection) if image_id in self._masks else None
        labels = self._labels_of_mask(mask) if mask and not self._annotations else self._read_labels(image_id)
        if isinstance(labels, Problem):
            return labels
        return Sample(image_id, labels, ImageFile(self.root / IMAGES / self._images[image_id]), mask)

    def _labels_of_mask(self, mask: Source) -> tuple[int, ...] | Problem:
        try:
            values = np.flatnonzero(np.bincount(mask.read().ravel())).tolist()
        except DataError as error:
            message = f"{error} Its mask is all that gives the image labels; the image is not used."
            return Problem("bad-labels", printable(mask.where), printable(message))
        return tuple(value - 1 for value in values if 1 <= value <= len(self.classes))

    def _read_labels(self, image_id: str) -> tuple[int, ...] | Problem:
        path = self._annotations.get(image_id)
        if path is None:
            message = (
                "the image has no annotation, so its labels are unknown. Unpack the devkit's Annotations; the image"
                " is not used."
            )
            return Problem("missing-labels", printable(self.root / LABELS / f"{image_id}.xml"), message)
        try:
            tree = ElementTree.parse(path).getroot()
        except (
            ElementTree.ParseError,
            LookupError,
            ValueError,
            OSError,
        ) as error:  # in the middle: an encoding that is wrong or unknown
            message = f"cannot be read as XML ({error}). Unpack it again; the image is not used."
            return Problem("bad-labels", printable(path), printable(message))
        if tree.tag.lower() != "annotation":
            message = f"holds <{tree.tag[:40]}> where VOC has <annotation>. Unpack it again; the image is not used."
            return Problem("bad-labels", printable(path), printable(message))
        names = {nfc(one.findtext("name") or "").strip() for one in tree.findall("object")}
        names = {name for name in names if not is_background_name(name)}
        known = self._known.classes
        unknown = sorted(name for name in names if name not in known)
        if unknown:
            reasons = "; ".join(f"unknown class {name!r}.{near_matches(name, known.names)}" for name in unknown)
            return Problem(
                "unknown-class", printable(path), printable(f"{reasons}{self._way_out()} The image is not used.")
            )
        return tuple(sorted(self.classes.index(name) for name in names if name in self.classes))


def _find_root(location: Path) -> Path:
    for root in (location, location / "VOC2012", location / "VOCdevkit" / "VOC2012"):
        if (root / IMAGES).is_dir():
            return root
    if not location.exists():
        raise DataError(f"{location} does not exist. Name the folder of the unpacked VOC devkit.")
    if any((location / name).is_dir() for name in MASKS):
        raise DataError(
            f"{location} holds masks and no {IMAGES} folder. Put the photos into {location / IMAGES} (recam export"
            " masks does with"
            " --copy-images)."
        )
    inner = sorted(
        path.parent for pattern in (f"*/{IMAGES}", f"VOCdevkit/*/{IMAGES}") for path in location.glob(pattern)
    )
    hint = f" Did you mean {' or '.join(f'voc:{path}' for path in inner[:5])}?" if inner else ""
    raise DataError(
        f"{location} holds no {IMAGES} folder, nor do VOC2012 or VOCdevkit/VOC2012 in it. Name the folder VOC2012 of"
        f" the devkit.{hint}"
    )
