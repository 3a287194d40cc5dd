"""A folder of the user's own photos, with labels in a table, in sub-folders or in the names of the files, below
``train/`` and ``val/`` if wanted.

::

    photos/
      images/           any depth; JPEG, PNG, WebP, BMP, TIFF, …
      labels.csv        image,labels             farm/7.jpg,horse;traffic light
                        or one 0/1 column per class: image,horse,traffic light
                        and, if wanted, a column split (train, val, …) and one of groups, such as patient
      masks/            if there are any: index or palette PNG, named as the image: masks/farm/7.png
      classes.txt       if wanted: one class per line, in the order of the mask values 1…K

These names may be written in any case, and labels.csv may lie in images/. Without it each sub-folder of images/
(or of the folder itself) is a class; sub-folders that are all called as splits (train, val, test) hold one sub-folder
per class instead. With `labels_from` neither counts, but the names of the files. Without classes.txt the classes are
the names found, sorted. The name ``background`` is never a class: a sub-folder of that name holds images without
labels, as an empty field of labels.csv does. Names are equal where their composed Unicode forms are; ids are written as
the files are named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from recam.data.catalog import Catalog, PassedOver, Roles, catalogs
from recam.data.folder_images import FolderImages, file_id
from recam.data.folder_layout import find_layout
from recam.data.folder_masks import find_masks
from recam.data.folder_rows import FolderRows, LabelSource, read_listed, read_rows
from recam.data.images import IMAGE_ENDINGS, ImageFile, MaskFile
from recam.data.label_table import Row, joined_names
from recam.data.name_groups import suggest_groups
from recam.data.splits import split_groups, split_role, stable_split, training_split, validation_split
from recam.errors import DataError, Problem, RecipeError, near_matches, printable
from recam.files import expand_home
from recam.labels import IGNORE, ClassSet, nfc
from recam.types import Sample

ALL = "all"
"""The split that holds the images of all splits."""


FROM_ZERO = np.minimum(np.arange(256) + 1, IGNORE)
"""(256,) value of true masks whose first class is 0 → the same from 1 on; 255 stays."""
Unlisted = Literal["unlabelled", "negative"]


@catalogs.register("folder")
class Folder(Catalog):
    """Photos in a folder with ``labels.csv``, or one sub-folder per class; the top of this file draws the layout.

    Where nothing names splits, a hash of its id and the seed puts each image into ``train`` or ``val``, so files that
    are added later move no other; the split ``all`` is both. Where there are groups, whole groups go into either.
    Without any mask nothing could be scored on held-out images: ``all`` is then what is trained on, so that every photo
    gets its mask. An image of which something is wrong (an unknown class, for example) is in no split.

    Args:
        location: the folder.
        classes: keep just these; the others become ignore in masks and no label.
        split_seed: another number gives another division into train and val.
        val_share: share of the images in val, in [0, 1).
        unlisted: what images are that no row names: ``unlabelled``, or ``negative``, as if a row named them with empty
            labels.
        labels_from, label_separator, group: see `LabelSource`.
        first_value: value of the first class in true masks: 1, or 0 where there is no background.

    Raises:
        DataError: no such folder, no image or no label in it, a table that cannot be read, or names that leave open
            what is what.
        RecipeError: `val_share` outside [0, 1), a pattern that is none, or another word for `unlisted`.
    """

    def __init__(
        self,
        location: str | Path,
        *,
        classes: Sequence[str] | None = None,
        split_seed: int = 0,
        val_share: float = 0.2,
        unlisted: Unlisted = "unlabelled",
        labels_from: str | None = None,
        label_separator: str | None = None,
        group: str | None = None,
        first_value: Literal[0, 1] = 1,
    ) -> None:
        if not 0 <= val_share < 1:
            raise RecipeError(f"val_share = {val_share}: choose a share from 0 to below 1.")
        if unlisted not in ("unlabelled", "negative"):
            raise RecipeError(f"unlisted = {unlisted!r}.{near_matches(str(unlisted), ('unlabelled', 'negative'))}")
        self.root = expand_home(location)
        self._split_seed, self._val_share = split_seed, val_share
        self._problems: list[tuple[str | None, Problem]] = []  # of one split, or of all
        self._passed_over: list[PassedOver] = []

        self._layout = find_layout(self.root)
        self._images = FolderImages(self._layout)
        self._base = self._layout.images
        self._keep(self._images.problems, self._images.passed_over)
        if not self._images.paths:
            blocked = "".join(f" {problem.where} {problem.message}" for problem in self._images.blocked)
            raise DataError(
                blocked.strip()
                or f"{self._base} holds no image ({', '.join(IMAGE_ENDINGS)}).{self._unread_hint()} Put images there."
            )
        listed = read_listed(self._layout.classes)
        found = read_rows(self._layout, self._images, listed, LabelSource(labels_from, label_separator, group))
        self._keep(found.problems, found.passed_over)
        self._all_classes = self._find_classes(found.names, listed)
        self.classes, table = self._all_classes, None
        if classes is not None:
            self.classes, table = self._all_classes.select(classes)
        if first_value == 0:
            table = (np.arange(256, dtype=np.uint8) if table is None else table)[FROM_ZERO]
        self._masks: dict[str, MaskFile] = {}
        if self._layout.masks:
            stored = None if table is None else table.tobytes()
            masks = find_masks(self._layout.masks, self._base, self._images.paths.keys(), stored)
            self._keep(masks.problems, masks.passed_over)
            self._masks = masks.by_id
        self._fill_splits(found, unlisted)
        self.roles = self._choose_roles(found.rows)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._splits)

    def samples(self, split: str) -> Sequence[Sample]:
        if split == ALL:
            return sorted(
                (sample for of_split in self._splits.values() for sample in of_split), key=lambda sample: sample.id
            )
        same = [name for name in self._splits if _key(name) == _key(split)]
        if not same:
            raise DataError(f"unknown split {split!r} of {self.root}.{near_matches(split, (*self._splits, ALL))}")
        return self._splits[same[0]]

    def problems(self, splits: Iterable[str] | None = None) -> list[Problem]:
        wanted = None if splits is None or ALL in (splits := list(splits)) else {_key(split) for split in splits}
        found = (
            problem for split, problem in self._problems if wanted is None or split is None or _key(split) in wanted
        )
        return list(dict.fromkeys(found))

    def unlabelled(self) -> Sequence[Sample]:
        return list(self._unlabelled)

    def passed_over(self) -> list[PassedOver]:
        return list(self._passed_over)

    def _report(self, kind: str, where: Path | str, message: str, split: str | None = None) -> None:
        self._problems.append((split, Problem(kind, printable(where), printable(message))))

    def _keep(self, problems: Iterable[Problem], passed_over: Iterable[PassedOver]) -> None:
        self._problems += [(None, problem) for problem in problems]
        self._passed_over += passed_over

    def _find_classes(self, names: frozenset[str], listed: Sequence[str] | None) -> ClassSet:
        if listed is not None:
            return ClassSet(tuple(listed))
        if not names:
            wrong = next((f" {first.where}: {first.message}" for _, first in self._problems), "")
            raise DataError(
                f"{self.root} names no class.{wrong}{self._unread_hint()}"
                " Write labels.csv with columns image,labels, or put images in one sub-folder per class."
            )
        source = self._layout.table or self._base
        self._problems += [(None, problem) for problem in joined_names(names, str(source))]
        return ClassSet(tuple(sorted(names)))

    def _unread_hint(self) -> str:
        """What else lies there, for an error that would otherwise read as if there were nothing."""
        return "".join(f" Passed over: {printable(kind)}" for kind in self._passed_over if kind.kind != "system-file")

    def _fill_splits(self, found: FolderRows, unlisted: Unlisted) -> None:
        rows = found.rows
        names = self._split_names(rows)
        written = set(names.values())
        roles = ("train", "val", "test", None)
        order = sorted(written, key=lambda name: (roles.index(split_role(name)), name)) if written else ["train", "val"]
        self._splits: dict[str, list[Sample]] = {name: [] for name in order}
        first_row: dict[str, Row] = {}
        taken: list[tuple[str, Row]] = []
        for row in rows:
            image_id = self._images.resolve(row.entry)
            split = names.get(_key(row.split)) if row.split is not None else None
            if image_id is None:
                self._report("missing-image", row.where, self._images.missing(row.entry), split)
            elif self._is_usable(image_id, row, first_row, split):
                taken.append((image_id, row))
            if image_id is not None:
                first_row.setdefault(image_id, row)
        others = [each for each in self._images.paths if each not in first_row and each not in found.refused]
        self._unlabelled: list[Sample] = []
        if unlisted == "unlabelled":
            self._unlabelled = [self._sample(each, None) for each in others]
            for each in others:
                self._report("unlisted-image", self._base / self._images.paths[each], found.unlisted)
        elif not written:
            taken += [(each, Row(str(self._base / self._images.paths[each]), each, frozenset())) for each in others]
        elif others:
            message = (
                f"{len(others)} images are in no row, so data.unlisted = 'negative' leaves their split open (first:"
                f" {others[0]}). Write rows for them; they are not used."
            )
            self._report("missing-split", self._layout.table or self._base, message)
        in_val = self._held_out(taken)
        for image_id, row in taken:
            split = names[_key(row.split)] if row.split else "val" if image_id in in_val else "train"
            self._splits[split].append(self._sample(image_id, row))
        for samples in self._splits.values():
            samples.sort(key=lambda sample: sample.id)
        self._check_groups(taken)

    def _is_usable(self, image_id: str, row: Row, first_row: dict[str, Row], split: str | None) -> bool:
        """Whether an image can be used as a row states; what is wrong with it is reported."""
        unknown = sorted(name for name in row.names if name not in self._all_classes) if row.is_clear else []
        if image_id in first_row:
            first = first_row[image_id].where
            message = f"{row.entry!r} stands already on {first}. Delete one of the rows; the first is used."
            self._report("duplicate-id", row.where, message, split)
        elif row.split is not None and not split:
            self._report(
                "missing-split", row.where, f"{row.entry!r} has an empty split. Write one; the image is not used."
            )
        elif unknown:
            reasons = " ".join(
                f"unknown class {name!r}.{near_matches(name, self._all_classes.names)}" for name in unknown
            )
            message = f"{reasons} Correct it, or add it to classes.txt; not used so far."
            self._report("unknown-class", row.where, message, split)
        else:
            return row.is_clear
        return False

    def _sample(self, image_id: str, row: Row | None) -> Sample:
        """An image as a row states; without one nothing is known of it."""
        path = self._images.paths[image_id]
        names = row.names if row else ()
        labels = tuple(sorted(self.classes.index(name) for name in names if name in self.classes))
        group = row.group or None if row else None
        return Sample(file_id(path), labels, ImageFile(self._base / path), self._masks.get(image_id), group)

    def _held_out(self, taken: Sequence[tuple[str, Row]]) -> frozenset[str]:
        """Ids of the images that are in ``val`` where nothing names a split."""
        groups = {image_id: row.group for image_id, row in taken if row.group}
        if not groups:
            return frozenset(stable_split(self._images.paths, self._val_share, self._split_seed)[1])
        # An image without a group is one of its own; no name of a group holds a line break.
        group_of = {image_id: groups.get(image_id, f"\n{image_id}") for image_id, _ in taken}
        return frozenset(split_groups(group_of, self._val_share, self._split_seed)[1])

    def _check_groups(self, taken: Sequence[tuple[str, Row]]) -> None:
        """Report groups on both sides of a split, images without one, and names that suggest some where none are
        given."""
        where = self._layout.table or self._base
        if not any(row.group is not None for _, row in taken):
            suggested = suggest_groups({image_id: row.names for image_id, row in taken})
            if suggested:
                message = (
                    f"names suggest groups: {suggested.count} beginnings such as {suggested.largest!r}"
                    f" ({suggested.images} images). If the images of one show the same patient, slide or scene, keep"
                    f" them together in splits: data.group = '{suggested.pattern}'."
                )
                self._report("groups-suggested", where, message)
            return
        alone = [image_id for image_id, row in taken if not row.group]
        if alone:
            message = f"{len(alone)} images have no group (first: {alone[0]}): each counts as one of its own."
            self._report("missing-group", where, message)
        splits_of: dict[str, set[str]] = defaultdict(set)
        for split, samples in self._splits.items():
            for sample in samples:
                if sample.group:
                    splits_of[sample.group].add(split)
        torn = sorted(group for group, splits in splits_of.items() if len(splits) > 1)
        if torn:
            message = (
                f"{len(torn)} groups are in more than one split (first: {torn[0]} in"
                f" {' and '.join(sorted(splits_of[torn[0]]))}), so scores flatter the model. Write one split for all"
                " images of a group, or leave out the column split."
            )
            self._report("group-in-several-splits", where, message)

    def _split_names(self, rows: list[Row]) -> dict[str, str]:
        """How each split is called: as it is first written, whatever case other rows write it in."""
        written: dict[str, dict[str, None]] = defaultdict(dict)
        for row in rows:
            if row.split:
                written[_key(row.split)].setdefault(nfc(row.split))
        if ALL in written:
            raise DataError(
                f"{self.root}: a split may not be called {ALL!r}, which is the name of all splits together. Rename it."
            )
        for spellings in written.values():
            if len(spellings) > 1:
                self._report(
                    "split-spelling",
                    self.root,
                    f"{', '.join(spellings)} are taken for one split. Rename one if they are not.",
                )
        return {key: next(iter(spellings)) for key, spellings in written.items()}

    def _choose_roles(self, rows: list[Row]) -> Roles:
        has_splits = any(row.split for row in rows)
        if not has_splits and not any(sample.mask for sample in self.samples(ALL)):
            # nothing could be scored on held-out images, so none is held out: every photo gets its mask
            return Roles(train=ALL, score=None, val=None)
        train, val = training_split(self._splits), validation_split(self._splits)
        has_masks = train is not None and any(sample.mask for sample in self._splits[train])
        return Roles(train=train, score=train if has_masks else None, val=val if val and self._splits[val] else None)


def _key(split: str) -> str:
    return nfc(split).strip().casefold()
