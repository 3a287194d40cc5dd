"""PASCAL VOC 2012 and everything in its layout: the devkit as it is unpacked, with SBD's extra masks where they were
added.

Image labels are the object names of the XML annotations. Objects marked "difficult" count as present, as in the
published code.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from pathlib import Path

from recam.data.catalog import Catalog, Roles, catalogs
from recam.data.images import IMAGE_ENDINGS, ImageFile, MaskFile
from recam.errors import DataError, Problem, near_matches
from recam.files import expand_home
from recam.labels import VOC_CLASSES, ClassSet
from recam.types import Sample

IMAGES = "JPEGImages"
LISTS = Path("ImageSets", "Segmentation")
LABELS = "Annotations"
MASKS = ("SegmentationClassAug", "SegmentationClass")  # the first that holds an image's mask is used


@catalogs.register("voc")
class Voc(Catalog):
    """The VOC devkit.

    Splits are the lists in ``ImageSets/Segmentation`` (``train_aug``, ``train``, ``val``, any other), or the path of a
    list. A line of a
    list is an id, or an image and its mask: ``/JPEGImages/ID.jpg /SegmentationClassAug/ID.png``. The masks used are
    those of the id in
    ``SegmentationClassAug``, else ``SegmentationClass``.

    Args:
        location: the path of ``VOC2012``, of ``VOCdevkit``, or of the folder that holds it.
        classes: VOC classes to keep; the others become ignore in masks and no label.

    Raises:
        DataError: nothing in VOC's layout there, no list of images, or an unknown class.
    """

    def __init__(self, location: str | Path, *, classes: Sequence[str] | None = None) -> None:
        self.root = _find_root(expand_home(location))
        self._lists = {path.stem: path for path in sorted((self.root / LISTS).glob("*.txt"))}
        if not self._lists:
            raise DataError(
                f"{self.root / LISTS} holds no list of images. Put train.txt and val.txt there, one id a line."
            )
        self.classes, self._table = ClassSet(VOC_CLASSES), None
        if classes is not None:
            self.classes, table = self.classes.select(classes)
            self._table = table.tobytes()
        self._images = _files_by_stem(self.root / IMAGES, IMAGE_ENDINGS)
        self._masks = {
            stem: path
            for folder in reversed(MASKS)
            for stem, path in _files_by_stem(self.root / folder, (".png",)).items()
        }
        self._read_splits: dict[str, tuple[list[Sample], list[Problem]]] = {}
        self.roles = Roles(
            train=next((name for name in ("train_aug", "train") if name in self._lists), self.splits[0]),
            score="train" if "train" in self._lists and self._masks else None,
            val="val" if "val" in self._lists else None,
        )

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._lists)

    def samples(self, split: str) -> Sequence[Sample]:
        return self._read(split)[0]

    def problems(self, splits: Iterable[str] | None = None) -> list[Problem]:
        found = (problem for split in (self.splits if splits is None else splits) for problem in self._read(split)[1])
        return list(dict.fromkeys(found))  # an image of two splits is told once

    def _read(self, split: str) -> tuple[list[Sample], list[Problem]]:
        if split not in self._read_splits:
            path = self._lists.get(split, expand_home(split))
            if not path.is_file():
                known = near_matches(split, self._lists)
                raise DataError(f"unknown split {split!r} of {self.root}.{known} The path of a list works too.")
            samples: list[Sample] = []
            ids, problems = _read_list(path)
            for image_id, where in ids.items():
                made = self._make_sample(image_id, where)
                if isinstance(made, Sample):
                    samples.append(made)
                    if self._masks and made.mask is None and split in (self.roles.score, self.roles.val):
                        message = (
                            f"no mask in {' or '.join(MASKS)}, so this image of the split {split} is not scored. Put"
                            " its mask there."
                        )
                        problems.append(Problem("missing-mask", image_id, message))
                else:
                    problems.append(made)
            self._read_splits[split] = samples, problems
        return self._read_splits[split]

    def _make_sample(self, image_id: str, where: str) -> Sample | Problem:
        if image_id not in self._images:
            message = (
                f"there is no {IMAGES}/{image_id}.jpg. Put it there, or take the line out of the list; it is not used."
            )
            return Problem("missing-image", where, message)
        labels = self._read_labels(self.root / LABELS / f"{image_id}.xml")
        if isinstance(labels, Problem):
            return labels
        mask = MaskFile(self._masks[image_id], self._table) if image_id in self._masks else None
        return Sample(image_id, labels, ImageFile(self._images[image_id]), mask)

    def _read_labels(self, path: Path) -> tuple[int, ...] | Problem:
        try:
            objects = ElementTree.parse(path).getroot().findall("object")
        except FileNotFoundError:
            message = (
                "the image has no annotation, so its labels are unknown. Unpack the devkit's Annotations; the image"
                " is not used."
            )
            return Problem("missing-labels", str(path), message)
        except (
            ElementTree.ParseError,
            LookupError,
            ValueError,
            OSError,
        ) as error:  # the last but one: an encoding that is wrong or unknown
            return Problem(
                "bad-labels", str(path), f"cannot be read as XML ({error}). Unpack it again; the image is not used."
            )
        names = {(one.findtext("name") or "").strip() for one in objects}
        unknown = sorted(names.difference(VOC_CLASSES))
        if unknown:
            message = "; ".join(f"unknown class {name!r}.{near_matches(name, VOC_CLASSES)}" for name in unknown)
            return Problem("unknown-class", str(path), f"{message} The image is not used.")
        return tuple(sorted(self.classes.index(name) for name in names if name in self.classes))


def _find_root(location: Path) -> Path:
    for root in (location, location / "VOC2012", location / "VOCdevkit" / "VOC2012"):
        if (root / IMAGES).is_dir():
            return root
    if not location.exists():
        raise DataError(f"{location} does not exist. Name the folder of the unpacked VOC devkit.")
    raise DataError(
        f"{location} holds no {IMAGES} folder, nor do VOC2012 or VOCdevkit/VOC2012 in it. Name the folder VOC2012 of"
        " the devkit."
    )


def _files_by_stem(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    return {
        path.stem: path
        for path in sorted(folder.glob("*"))
        if path.suffix.lower() in endings and not path.name.startswith(".")
    }


def _read_list(path: Path) -> tuple[dict[str, str], list[Problem]]:
    """Each id of a list with ``file:line``, and the lines that cannot be used."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as a list of images ({error}). Save it as UTF-8 text, one id a line."
        ) from error
    ids: dict[str, str] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        where = f"{path}:{number}"
        if not fields:
            continue
        first = Path(fields[0])
        image_id = first.stem if first.suffix.lower() in IMAGE_ENDINGS else first.name
        if len(fields) > 2 or (len(fields) == 2 and Path(fields[1]).stem != image_id):
            message = (
                f"{line.strip()!r} is neither an id nor an image and its mask. Write one id a line; the line is not"
                " used."
            )
            problems.append(Problem("bad-line", where, message))
        elif image_id in ids:
            message = (
                f"{image_id!r} stands already on {ids[image_id]}. Take one of the lines out; the image is used once."
            )
            problems.append(Problem("duplicate-id", where, message))
        else:
            ids[image_id] = where
    return ids, problems
