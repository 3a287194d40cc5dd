"""The images of a folder of photos by id, and how a table names them; names that cannot be written are problems."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from recam.data.catalog import PassedOver
from recam.data.file_tree import FileTree, holds_line_break, is_writable, read_tree, unread_endings
from recam.data.folder_layout import Layout
from recam.data.images import IMAGE_ENDINGS
from recam.errors import Problem, printable
from recam.labels import nfc


class FolderImages:
    """The images below a folder.

    Args:
        layout: where they lie.

    Attributes:
        base: the folder; paths are relative to it.
        paths: path by id; ids are composed and in the order of the paths.
        folders: all sub-folders.
        unread: files that are no image by their ending.
        problems: what cannot be used.
        passed_over: what is not used.
    """

    def __init__(self, layout: Layout) -> None:
        self.base = layout.images
        tree, self.problems = writable_files(self.base, read_tree(self.base, without=layout.apart))
        self.blocked = tree.problems
        """Folders that may not be read."""
        self.paths: dict[str, str] = {}
        for path in tree.files:
            if not is_image(path):
                continue
            first = self.paths.setdefault(nfc(file_id(path)), path)
            if first != path:
                message = (
                    f"has the same id as {first}, since an id has no ending. Rename one of them; this one is not used."
                )
                self.problems.append(Problem("duplicate-id", printable(self.base / path), printable(message)))
        self.folders = tree.folders
        self.unread = [path for path in tree.files if not is_image(path)]
        self.passed_over: list[PassedOver] = [
            *tree.passed_over(),
            *unread_endings(self.unread, "Save photos as JPEG or PNG to use them."),
            *layout.passed_over(),
        ]
        self._id_by_name = {nfc(path): name for name, path in self.paths.items()} | {name: name for name in self.paths}
        self._path_by_lower_id = {name.lower(): path for name, path in self.paths.items()}
        self._unread_by_name = {nfc(name): path for path in self.unread for name in (path, stem(path))}

    def resolve(self, entry: str) -> str | None:
        """The (composed) id of the image that a row names, with or without ending, from images/ or from the folder that
        holds it."""
        entry = nfc(entry)
        head, slash, rest = entry.partition("/")
        inner = [rest] if slash and head.casefold() == "images" else []
        return next((self._id_by_name[name] for name in (entry, *inner) if name in self._id_by_name), None)

    def names_image(self, entry: str) -> bool:
        """Whether a text names an image, there or not."""
        return is_image(entry) or self.resolve(entry.replace("\\", "/")) is not None

    def missing(self, entry: str) -> str:
        """Why no image is there that a row names, and what to do."""
        entry = nfc(entry)
        unread = self._unread_by_name.get(entry) or self._unread_by_name.get(entry.removeprefix("images/"))
        if unread:
            return f"{unread!r} has an ending that is not read. Save it as JPEG or PNG; it is not used."
        near = self._path_by_lower_id.get(file_id(entry).lower())
        hint = f" Did you mean {near!r}?" if near else ""
        return f"{entry!r} is no image in {self.base}.{hint} Correct the name, or delete the row; it is not used."


def writable_files(base: Path, tree: FileTree) -> tuple[FileTree, list[Problem]]:
    """The tree without files whose names cannot be written in a table; these, and folders that may not be read, are
    problems."""
    bad: dict[str, int] = defaultdict(int)
    usable, problems = [], list(tree.problems)
    for path in tree.files:
        parts = path.split("/")
        wrong = next((i for i, part in enumerate(parts, start=1) if not is_writable(part)), None)
        if wrong:
            bad["/".join(parts[:wrong])] += 1
        else:
            usable.append(path)
    for path, count in bad.items():
        broken = holds_line_break(path)
        why = (
            "holds a line break in its name. Take it out"
            if broken
            else "is named in bytes that are no UTF-8. Rename it as UTF-8"
        )
        where = repr(str(base / path)) if broken else base / path
        problems.append(Problem("file-name", printable(where), f"{why}; {count} files are not used."))
    return FileTree(tuple(usable), tree.folders, tree.system, tree.links, tree.problems), problems


def is_image(path: str) -> bool:
    """Whether a file is read as an image, by its ending."""
    return path.lower().endswith(IMAGE_ENDINGS)


def file_id(path: str) -> str:
    """The id of an image: its path without the ending, where that is one of an image."""
    name, dot, ending = path.rpartition(".")
    return name if dot + ending.lower() in IMAGE_ENDINGS else path


def stem(path: str) -> str:
    """A path without its last ending, whatever that is."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)
