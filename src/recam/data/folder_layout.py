"""Where things lie in a folder of photos: images, masks, table and classes by name, in any case; classes and splits by
sub-folders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recam.data.catalog import PassedOver, passed_over
from recam.data.file_tree import is_system_name
from recam.data.label_table import Row, class_names
from recam.data.splits import split_role
from recam.errors import DataError

TABLES = frozenset({"labels.csv", "label.csv"})
_PICTURES = frozenset(
    {
        *(
            ".gif",
            ".heic",
            ".heif",
            ".avif",
            ".jfif",
            ".jpe",
            ".jp2",
            ".j2k",
            ".jxl",
            ".svg",
            ".psd",
            ".tga",
            ".ppm",
            ".pgm",
            ".pnm",
        ),
        *(
            ".exr",
            ".hdr",
            ".ico",
            ".raw",
            ".cr2",
            ".cr3",
            ".nef",
            ".arw",
            ".dng",
            ".orf",
            ".rw2",
            ".npy",
            ".npz",
            ".mp4",
            ".mov",
            ".avi",
        ),
    }
)


@dataclass(frozen=True)
class Layout:
    """What was found in a folder of photos.

    Attributes:
        root: the folder itself.
        images: the folder ``images``, or the folder itself where there is none.
        masks, table, classes: None where there is none.
        others: names in the folder itself that are none of these and lie beside ``images``.
    """

    root: Path
    images: Path
    masks: Path | None
    table: Path | None
    classes: Path | None
    others: tuple[str, ...]

    @property
    def apart(self) -> tuple[Path, ...]:
        """What may lie among the images and is something else."""
        return tuple(path for path in (self.masks, self.table, self.classes) if path)

    def passed_over(self) -> list[PassedOver]:
        """What lies beside ``images``."""
        folders = [f"{name}/" for name in self.others if (self.root / name).is_dir()]
        files = [name for name in self.others if f"{name}/" not in folders and not is_system_name(name)]
        message = (
            f"beside {self.images.name}/, and not read. Photos belong into {self.images.name}/, true masks into masks/"
        )
        system = [name for name in self.others if is_system_name(name)]
        return [
            *passed_over(
                "other-folder", [name for name in folders if not is_system_name(name[:-1])], f"folders {message}."
            ),
            *passed_over("other-file", files, f"files {message}, labels into labels.csv."),
            *passed_over("system-file", system, "hidden files, and files and folders that systems make."),
        ]


def find_layout(root: Path) -> Layout:
    """What lies where. Raises `DataError` for no folder, one that may not be read, or two names that differ in case
    alone."""
    if not root.is_dir():
        raise DataError(f"{root} is no folder. Name the folder that holds images/ and labels.csv.")
    inside = _list(root)
    images = _only(root, [name for name in inside if name.casefold() == "images" and (root / name).is_dir()])
    masks = _only(root, [name for name in inside if name.casefold() == "masks" and (root / name).is_dir()])
    classes = _only(root, [name for name in inside if name.casefold() == "classes.txt"])
    tables = [root / name for name in inside if name.casefold() in TABLES]
    if images:
        tables += [images / name for name in _list(images) if name.casefold() in TABLES]
    if len(tables) > 1:
        raise DataError(
            f"{root} has several tables of labels: {', '.join(str(path.relative_to(root)) for path in tables)}. Keep"
            " one."
        )
    beside = (
        []
        if tables or root.name.casefold() != "images"
        else [p for p in root.parent.iterdir() if p.name.casefold() in TABLES]
    )
    if beside:
        raise DataError(f"{root} lies beside {beside[0]}. Name the folder that holds both: folder:{root.parent}")
    table = tables[0] if tables else None
    used = {path.name for path in (images, masks, classes, table) if path and path.parent == root}
    others = tuple(name for name in inside if name not in used) if images else ()
    return Layout(root, images or root, masks, table, classes, others)


def rows_of_folders(base: Path, paths: Iterable[str]) -> list[Row]:
    """A row for each image in a sub-folder: the first folder is its class; or its split and the second its class, as
    torchvision has it.

    Raises:
        DataError: sub-folders called as splits, of which it is open whether they are.
    """
    by_folder: dict[str, list[str]] = {}
    for path in sorted(paths):
        if "/" in path:
            by_folder.setdefault(path.split("/")[0], []).append(path)
    if "JPEGImages" in by_folder:
        raise DataError(f"{base} is laid out as the VOC devkit is. Name it voc:{base}")
    splits = [name for name in by_folder if split_role(name)]
    others = [name for name in by_folder if name not in splits]
    deep = [name for name in splits if any(path.count("/") > 1 for path in by_folder[name])]
    if not splits or (others and len(deep) < 2):
        return [_row(base, path, 1) for of_folder in by_folder.values() for path in of_folder]
    if others:
        raise DataError(
            f"{base}: the sub-folders {', '.join(splits)} are called as splits, {', '.join(others[:5])} are not, so it"
            " is open what the"
            " classes are. Move the others away, or write a labels.csv with the columns image,labels,split."
        )
    classes = {path.split("/")[1] for of_folder in by_folder.values() for path in of_folder if path.count("/") > 1}
    if not deep or {name.casefold() for name in classes} == {"images"}:
        raise DataError(
            f"{base}: the classes would be {', '.join(classes if deep else splits)}. Put each image into the"
            " sub-folder of its class"
            f" below these ({splits[0]}/CLASS/1.jpg), or write a labels.csv with the columns image,labels,split."
        )
    return [_row(base, path, 2) for of_folder in by_folder.values() for path in of_folder if path.count("/") > 1]


def is_picture(path: str) -> bool:
    """Whether a file that is not read may be a picture all the same, by its ending (or that it has none)."""
    ending = PurePosixPath(path).suffix.lower()
    return not ending or ending in _PICTURES


def _row(base: Path, path: str, depth: int) -> Row:
    parts = path.split("/")
    return Row(
        str(base.joinpath(*parts[:depth])), path, class_names([parts[depth - 1]]), parts[0] if depth == 2 else None
    )


def _list(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} may not be read ({error.strerror}). Give read permission.") from error


def _only(root: Path, names: list[str]) -> Path | None:
    if len(names) > 1:
        raise DataError(f"{root} holds {' and '.join(names)}, and one of them is meant. Keep one, or rename the other.")
    return root / names[0] if names else None
