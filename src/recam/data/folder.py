"""A folder of the user's own photos, with labels in a table, or one sub-folder per class, below ``train/`` and ``val/``
if wanted.

::

    photos/
      images/           any depth; JPEG, PNG, WebP, BMP, TIFF, …
      labels.csv        image,labels             farm/7.jpg,horse;traffic light
                        or one 0/1 column per class: image,horse,traffic light
                        and, if wanted, a column split (train, val, …)
      masks/            if there are any: index or palette PNG, named as the image: masks/farm/7.png
      classes.txt       if wanted: one class per line, in the order of the mask values 1…K

These names may be written in any case, and labels.csv may lie in images/. Without it each sub-folder of images/
(or of the folder itself) is a class; sub-folders that are all called as splits (train, val, test) hold one sub-folder
per class instead. Without classes.txt the classes are the names found, sorted. The name ``background`` is never a
class: a sub-folder of that name holds images without labels, as an empty field of labels.csv does. Names are equal
where their composed Unicode forms are; ids are written as the files are named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from recam.data.catalog import Catalog, PassedOver, Roles, catalogs, passed_over
from recam.data.file_tree import FileTree, read_tree, unread_endings
from recam.data.folder_layout import find_layout, is_picture, rows_of_folders
from recam.data.images import IMAGE_ENDINGS, MASK_ENDINGS, ImageFile, MaskFile
from recam.data.label_table import LabelTable, Row, joined_names, part_labels, read_table, read_text
from recam.data.mask_folder import OVERLAY
from recam.data.splits import split_role, stable_split, training_split, validation_split
from recam.errors import DataError, Problem, RecipeError, near_matches, printable
from recam.files import expand_home
from recam.labels import ClassSet, is_background_name, nfc
from recam.types import Sample

ALL = "all"
"""The split that holds the images of all splits."""


@catalogs.register("folder")
class Folder(Catalog):
    """Photos in a folder with ``labels.csv``, or one sub-folder per class; the top of this file draws the layout.

    Where nothing names splits, a hash of its id and the seed puts each image into ``train`` or ``val``, so files that
    are added later move no other; the split ``all`` is both. Without any mask nothing could be scored on held-out
    images: ``all`` is then what is trained on, so that every photo gets its mask. An image of which something is wrong
    (an unknown class, for example) is in no split.

    Args:
        location: the folder.
        classes: keep just these; the others become ignore in masks and no label.
        split_seed: another number gives another division into train and val.
        val_share: share of the images in val, in [0, 1).

    Raises:
        DataError: no such folder, no image or no label in it, a table that cannot be read, or names that leave open
            what is what.
        RecipeError: `val_share` outside [0, 1).
    """

    def __init__(
        self, location: str | Path, *, classes: Sequence[str] | None = None, split_seed: int = 0, val_share: float = 0.2
    ) -> None:
        if not 0 <= val_share < 1:
            raise RecipeError(f"val_share = {val_share}: choose a share from 0 to below 1.")
        self.root = expand_home(location)
        self._split_seed, self._val_share = split_seed, val_share
        self._problems: list[tuple[str | None, Problem]] = []  # of one split, or of all
        self._passed_over: list[PassedOver] = []

        self._layout = find_layout(self.root)
        self._base = self._layout.images
        self._find_images()
        rows, names = self._read_rows()
        self._all_classes = self._find_classes(names)
        self.classes, self._table = self._all_classes, None
        if classes is not None:
            self.classes, table = self._all_classes.select(classes)
            self._table = table.tobytes()
        self._find_masks()
        self._fill_splits(rows)
        self.roles = self._choose_roles(rows)

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

    def passed_over(self) -> list[PassedOver]:
        return list(self._passed_over)

    def _report(self, kind: str, where: Path | str, message: str, split: str | None = None) -> None:
        self._problems.append((split, Problem(kind, printable(where), printable(message))))

    def _find_images(self) -> None:
        layout = self._layout
        tree = self._usable(self._base, read_tree(self._base, without=layout.apart))
        self._path_by_id: dict[str, str] = {}  # both from `_base`; ids composed
        for path in tree.files:
            if not path.lower().endswith(IMAGE_ENDINGS):
                continue
            first = self._path_by_id.setdefault(nfc(_id(path)), path)
            if first != path:
                message = (
                    f"has the same id as {first}, since an id has no ending. Rename one of them; this one is not used."
                )
                self._report("duplicate-id", self._base / path, message)
        self._id_by_name = {nfc(path): image_id for image_id, path in self._path_by_id.items()} | {
            i: i for i in self._path_by_id
        }
        self._path_by_lower_id = {image_id.lower(): path for image_id, path in self._path_by_id.items()}
        self._folders = tree.folders
        self._unread = [path for path in tree.files if not path.lower().endswith(IMAGE_ENDINGS)]
        self._unread_by_name = {nfc(name): path for path in self._unread for name in (path, _stem(path))}
        self._passed_over += unread_endings(self._unread, "Save photos as JPEG or PNG to use them.")
        self._passed_over += layout.passed_over()
        if not self._path_by_id:
            blocked = "".join(f" {problem.where} {problem.message}" for problem in tree.problems)
            raise DataError(
                blocked.strip()
                or f"{self._base} holds no image ({', '.join(IMAGE_ENDINGS)}).{self._unread_hint()} Put images there."
            )

    def _usable(self, base: Path, tree: FileTree) -> FileTree:
        """The tree without files whose names cannot be written in a table; these, and folders that may not be read, are
        problems."""
        self._problems += [(None, problem) for problem in tree.problems]
        self._passed_over += tree.passed_over()
        bad: dict[str, int] = defaultdict(int)
        usable = []
        for path in tree.files:
            parts = path.split("/")
            wrong = next((i for i, part in enumerate(parts, start=1) if not _is_writable(part)), None)
            if wrong:
                bad["/".join(parts[:wrong])] += 1
            else:
                usable.append(path)
        for path, count in bad.items():
            broken = len(path.splitlines()) > 1
            why = (
                "holds a line break in its name. Take it out"
                if broken
                else "is named in bytes that are no UTF-8. Rename it as UTF-8"
            )
            self._report(
                "file-name", repr(str(base / path)) if broken else base / path, f"{why}; {count} files are not used."
            )
        return FileTree(tuple(usable), tree.folders)

    def _read_rows(self) -> tuple[list[Row], frozenset[str]]:
        """Every row, and the names of the classes that they name."""
        self._listed = self._read_listed()
        table = self._layout.table
        if table:
            read: LabelTable = read_table(table, self._names_image)
            rows, problems = part_labels(read.rows, self._listed)
            self._problems += [(None, problem) for problem in (*read.problems, *problems)]
            self._passed_over += passed_over(
                "unread-column", read.unread, f"columns of {table.name} beside image, labels and split."
            )
            self._unlisted = (
                f"no row of {table.name} names it; it is not used. Add a row (with empty labels if it shows no class)."
            )
            return rows, read.columns.union(*(row.names for row in rows if row.is_clear))
        rows = rows_of_folders(self._base, self._path_by_id.values())
        self._unlisted = "lies in no class's sub-folder; it is not used. Move it, or write a labels.csv."
        self._report_lost_classes({row.where for row in rows}, has_splits=any(row.split for row in rows))
        return rows, frozenset().union(*(row.names for row in rows))

    def _report_lost_classes(self, used: set[str], has_splits: bool) -> None:
        """Sub-folders that stand for a class and hold no image that is read."""
        depth = 2 if has_splits else 1
        unread: dict[str, list[str]] = defaultdict(list)
        for path in self._unread:
            unread["/".join(path.split("/")[:depth])].append(path)
        empty = []
        for folder in self._folders:
            if folder.count("/") != depth - 1 or str(self._base / folder) in used:
                continue
            pictures = [path for path in unread[folder] if is_picture(path)]
            if pictures:
                message = (
                    f"holds {len(pictures)} files and no image that is read (first: {pictures[0]}). Save them as JPEG"
                    " or PNG."
                )
                self._report("class-not-read", self._base / folder, message)
            else:
                empty.append(folder)
        self._passed_over += passed_over(
            "folder-without-image", empty, "sub-folders without an image; they are no class."
        )

    def _read_listed(self) -> tuple[str, ...] | None:
        listed = self._layout.classes
        if listed is None:
            return None
        lines = [nfc(line.strip()) for line in read_text(listed).splitlines() if line.strip()]
        if lines and is_background_name(lines[0]):
            lines = lines[1:]  # many lists begin with mask value 0
        background = next((line for line in lines if is_background_name(line)), None)
        if background:
            raise DataError(
                f"{listed} names {background!r} among the classes. It is mask value 0: put it first, or leave it out."
            )
        if not lines:
            raise DataError(f"{listed} names no class. Write one class per line, or delete the file.")
        return tuple(lines)

    def _find_classes(self, names: frozenset[str]) -> ClassSet:
        if self._listed is not None:
            return ClassSet(self._listed)
        if not names:
            raise DataError(
                f"{self.root} names no class.{self._unread_hint()}"
                " Write labels.csv with columns image,labels, or put images in one sub-folder per class."
            )
        source = self._layout.table or self._base
        self._problems += [(None, problem) for problem in joined_names(names, str(source))]
        return ClassSet(tuple(sorted(names)))

    def _unread_hint(self) -> str:
        """What else lies there, for an error that would otherwise read as if there were nothing."""
        return "".join(f" Passed over: {printable(kind)}" for kind in self._passed_over if kind.kind != "system-file")

    def _find_masks(self) -> None:
        self._masks: dict[str, MaskFile] = {}
        folder = self._layout.masks
        if folder is None:
            return
        tree = self._usable(folder, read_tree(folder))
        unread, overlays = [], []
        stems = {_stem(path) for path in tree.files}
        for path in tree.files:
            image_id, is_mask = nfc(_stem(path)), path.lower().endswith(MASK_ENDINGS)
            if (
                image_id.endswith(OVERLAY)
                and image_id not in self._path_by_id
                and _stem(path).removesuffix(OVERLAY) in stems
            ):
                overlays.append(path)
            elif not is_mask:
                unread.append(path)
            elif image_id not in self._path_by_id:
                message = (
                    f"is named as no image (looked for {image_id} in {self._base}). Rename it as its image; it is not"
                    " used."
                )
                self._report("mask-without-image", folder / path, message)
            elif image_id in self._masks:
                message = (
                    f"belongs to the same image as {self._masks[image_id].path.name}, which is used. Delete one of"
                    " them."
                )
                self._report("duplicate-mask", folder / path, message)
            else:
                self._masks[image_id] = MaskFile(folder / path, self._table)
        for kind in unread_endings((p for p in unread if nfc(_stem(p)) in self._path_by_id), "Save masks as PNG."):
            message = (
                f"holds {kind.count} files that are named as images and are no PNG masks (first: {kind.examples[0]}):"
                f" {kind.why}"
            )
            self._report("unread-mask", folder, message)
        rest = [f"{folder.name}/{path}" for path in unread if nfc(_stem(path)) not in self._path_by_id]
        self._passed_over += unread_endings(rest, "Save masks as PNG to use them.")
        self._passed_over += passed_over("overlay", overlays, "pictures for people beside masks.")

    def _fill_splits(self, rows: list[Row]) -> None:
        names = self._split_names(rows)
        found = set(names.values())
        roles = ("train", "val", "test", None)
        order = ["train", "val"] if not found else sorted(found, key=lambda name: (roles.index(split_role(name)), name))
        self._splits: dict[str, list[Sample]] = {name: [] for name in order}
        in_val = frozenset(stable_split(self._path_by_id, self._val_share, self._split_seed)[1])
        first_row: dict[str, Row] = {}
        for row in rows:
            image_id = self._resolve(row.entry)
            split = names.get(_key(row.split)) if row.split is not None else "val" if image_id in in_val else "train"
            if image_id is None:
                self._report("missing-image", row.where, self._missing(row.entry), split if row.split else None)
                continue
            unknown = sorted(name for name in row.names if name not in self._all_classes) if row.is_clear else []
            if image_id in first_row:
                message = (
                    f"{row.entry!r} stands already on {first_row[image_id].where}. Delete one of the rows; the first"
                    " is used."
                )
                self._report("duplicate-id", row.where, message, split)
            elif not split:
                self._report(
                    "missing-split", row.where, f"{row.entry!r} has an empty split. Write one; the image is not used."
                )
            elif unknown:
                reasons = " ".join(
                    f"unknown class {name!r}.{near_matches(name, self._all_classes.names)}" for name in unknown
                )
                self._report(
                    "unknown-class",
                    row.where,
                    f"{reasons} Correct it, or add it to classes.txt; not used so far.",
                    split,
                )
            elif row.is_clear:
                labels = sorted(self.classes.index(name) for name in row.names if name in self.classes)
                path = self._path_by_id[image_id]
                self._splits[split].append(
                    Sample(_id(path), tuple(labels), ImageFile(self._base / path), self._masks.get(image_id))
                )
            first_row.setdefault(image_id, row)
        for image_id, path in self._path_by_id.items():
            if image_id not in first_row:
                self._report("unlisted-image", self._base / path, self._unlisted)
        for samples in self._splits.values():
            samples.sort(key=lambda sample: sample.id)

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

    def _names_image(self, entry: str) -> bool:
        return entry.lower().endswith(IMAGE_ENDINGS) or self._resolve(entry.replace("\\", "/")) is not None

    def _resolve(self, entry: str) -> str | None:
        """The (composed) id of the image that a row names, with or without ending, from images/ or from the folder that
        holds it."""
        entry = nfc(entry)
        head, slash, rest = entry.partition("/")
        inner = [rest] if slash and head.casefold() == "images" else []
        return next((self._id_by_name[name] for name in (entry, *inner) if name in self._id_by_name), None)

    def _missing(self, entry: str) -> str:
        entry = nfc(entry)
        unread = self._unread_by_name.get(entry) or self._unread_by_name.get(entry.removeprefix("images/"))
        if unread:
            return f"{unread!r} has an ending that is not read. Save it as JPEG or PNG; it is not used."
        near = self._path_by_lower_id.get(_id(entry).lower())
        hint = f" Did you mean {near!r}?" if near else ""
        return f"{entry!r} is no image in {self._base}.{hint} Correct the name, or delete the row; it is not used."


def _key(split: str) -> str:
    return nfc(split).strip().casefold()


def _id(path: str) -> str:
    stem, dot, ending = path.rpartition(".")
    return stem if dot + ending.lower() in IMAGE_ENDINGS else path


def _stem(path: str) -> str:
    """A path without its last ending, whatever that is."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def _is_writable(name: str) -> bool:
    """Whether a file name can stand in a table: no line break, and no bytes that are no UTF-8."""
    return name.splitlines() == [name] and printable(name) == name
