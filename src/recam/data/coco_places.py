"""Where COCO's annotation files and their images lie, and which file does what."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath

from recam.data.catalog import PassedOver, passed_over
from recam.data.file_tree import is_system_name, unread_endings
from recam.data.images import IMAGE_ENDINGS
from recam.data.splits import split_role
from recam.errors import DataError, Problem, printable
from recam.labels import nfc

_PREFIX = "instances_"
_BESIDE = "_annotations.coco.json"


def find_files(location: Path) -> dict[str, Path]:
    """The annotation file of each split. Raises `DataError` where there is none."""
    if location.is_file():
        return {"train": location, "val": location}
    if not location.exists():
        raise DataError(f"{location} does not exist. Name COCO's folder (which holds annotations/) or a JSON file.")
    files = {
        path.stem.removeprefix(_PREFIX): path for path in sorted((location / "annotations").glob(f"{_PREFIX}*.json"))
    }
    files = files or {path.parent.name: path for path in sorted(location.glob(f"*/{_BESIDE}"))}
    if not files:
        others = sorted((*location.glob("*.json"), *location.glob("annotations/*.json")))
        hint = f" For a file of your own: coco:{others[0]}" if others else ""
        raise DataError(
            f"{location / 'annotations'} holds no {_PREFIX}*.json, and no folder in {location} a {_BESIDE}. Unpack"
            " COCO's annotations"
            f" there.{hint}"
        )
    return files


def find_roles(splits: Iterable[str]) -> tuple[str | None, str | None]:
    """The splits that are trained on and held out: 2014 before 2017, then by name, years apart; None where none is
    called so.

    Without a name for training, the first split that is called nothing known is trained on, but none that is called val
    or test.
    """
    names = list(splits)
    roles = {name: split_role(name.rstrip("0123456789")) for name in names}
    starts = [name for name in names if name.startswith("train")]
    training = [
        *(name for name in ("train2014", "train2017") if name in names),
        *(n for n in names if roles[n] == "train"),
        *starts,
    ]
    train = next(iter([*training, *(name for name in names if roles[name] is None)]), None)
    year = train[len(train.rstrip("0123456789")) :] if train else ""
    held_out = [name for name in names if roles[name] == "val" or (roles[name] is None and name.startswith("val"))]
    val = next((name for name in held_out if name.endswith(year)), None) or next(iter(held_out), None)
    return train, val if val != train else None


class Folders:
    """Where the images of a file may lie; lists each folder once instead of looking up each file. Names are equal in
    composed form."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = [root for root in roots if root.is_dir()] or list(roots)
        self.problems: list[Problem] = []
        self._listed: dict[Path, dict[str, str]] = {}  # composed name → as it is on disk
        self._found: set[Path] = set()

    def find(self, name: str) -> Path | None:
        """The first folder's file of this name (with ``/`` for sub-folders)."""
        for root in self.roots:
            path: Path | None = root
            for part in PurePosixPath(name).parts:
                spelled = self._names(path).get(nfc(part)) if path else None
                path = path / spelled if path and spelled else None
            if path is not None and path != root:
                self._found.add(path)
                return path
        return None

    def hint(self, name: str) -> str:
        """A question where a file differs from this name in upper and lower case or its ending alone; else nothing."""
        wanted = PurePosixPath(nfc(name).casefold()).with_suffix("")
        for root in self.roots:
            for spelled in self._names(root):
                if PurePosixPath(spelled.casefold()).with_suffix("") == wanted:
                    return printable(f"Did you mean {spelled!r}? It is ")
        return ""

    def passed_over(self, annotations: Collection[Path]) -> list[PassedOver]:
        """Files in the folders of the images that no entry names."""
        within = {path.parent for path in self._found}
        others = [folder / name for folder in sorted(within) for name in self._listed[folder].values()]
        others = [
            path
            for path in others
            if path not in self._found and path not in annotations and not is_system_name(path.name)
        ]
        files = [str(path) for path in others if not path.is_dir()]
        unlisted = [path for path in files if path.lower().endswith(IMAGE_ENDINGS)]
        return [
            *passed_over("unlisted-image", unlisted, "images that the annotation file does not list."),
            *unread_endings(
                (path for path in files if path not in set(unlisted)), "Only what the annotation file lists is used."
            ),
        ]

    def _names(self, folder: Path) -> dict[str, str]:
        if folder not in self._listed:
            try:
                # Names alone: looking up each file would take minutes on a network disk.
                names = os.listdir(folder) if os.path.isdir(folder) else []  # noqa: PTH112, PTH208
            except OSError as error:
                names = []
                self.problems.append(
                    Problem(
                        "unreadable-folder", str(folder), f"may not be read ({error.strerror}). Give read permission."
                    )
                )
            self._listed[folder] = {nfc(name): name for name in sorted(names)}
        return self._listed[folder]

    def __str__(self) -> str:
        return " or ".join(str(root) for root in self.roots)
