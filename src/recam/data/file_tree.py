"""What lies in a folder of the user's: each real folder visited once, and nothing left out without a word."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recam.data.catalog import PassedOver, passed_over
from recam.errors import Problem, printable

_SYSTEM_NAMES = frozenset(
    {
        "thumbs.db",
        "desktop.ini",
        "@eadir",
        "__macosx",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    }
)


def is_system_name(name: str) -> bool:
    """Whether a file or folder of this name belongs to a system, and to no data set: hidden ones, ``Thumbs.db``,
    ``@eaDir``, ….

    >>> [is_system_name(name) for name in (".DS_Store", "._x.jpg", "Thumbs.db", "__MACOSX", "x.jpg")]
    [True, True, True, True, False]
    """
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def holds_line_break(name: str) -> bool:
    """Whether a file's name cannot stand in a row of a table or a line of a list. Python's ``splitlines`` also parts at
    U+2028, U+0085 and others, which end no line of a file: an old archive leaves U+0085 where a name had ``…``."""
    return "\n" in name or "\r" in name


def is_writable(name: str) -> bool:
    """Whether a file's name can stand in a table or list: no line break, and no bytes that are no UTF-8."""
    return not holds_line_break(name) and printable(name) == name


@dataclass(frozen=True)
class FileTree:
    """The files below a folder. Paths are relative to it, with ``/``, sorted.

    Attributes:
        files: all but those of systems.
        folders: all that were visited, without the folder itself.
        system: files and folders of systems; the latter are not entered.
        links: links to folders that are visited at another place already; not entered.
        problems: folders that may not be read.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def passed_over(self) -> list[PassedOver]:
        """Files of systems, and links."""
        return [
            *passed_over("system-file", self.system, "hidden files, and files and folders that systems make."),
            *passed_over(
                "link", self.links, "links to a folder that is read at its own place; each folder is read once."
            ),
        ]


def read_tree(base: Path, without: Iterable[Path] = ()) -> FileTree:
    """All files below `base`, links to folders followed, each real folder once and under its own path where that lies
    in `base`.

    Args:
        without: folders that are not entered.
    """
    left_out = set(without)
    files, folders, system, links, problems = [], [], [], [], []
    visited: set[tuple[int, int]] = set()
    waiting, linked = [base], list[Path]()  # links come last: what they lead to may lie in `base` under its own name
    while waiting or linked:
        folder = waiting.pop() if waiting else linked.pop(0)
        inner = folder.relative_to(base).as_posix()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in visited:
                links.append(inner)
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            problems.append(
                Problem("unreadable-folder", str(folder), f"may not be read ({error.strerror}). Give read permission.")
            )
            continue
        if folder != base:
            folders.append(inner)
        for entry in entries:
            path = folder / entry.name
            if path in left_out:
                continue
            if is_system_name(entry.name):
                system.append(path.relative_to(base).as_posix())
            elif _is_folder(entry):
                (linked if entry.is_symlink() else waiting).append(path)
            else:
                files.append(path.relative_to(base).as_posix())
    return FileTree(
        tuple(sorted(files)),
        tuple(sorted(folders)),
        tuple(sorted(system)),
        tuple(sorted(links)),
        tuple(sorted(problems, key=_where)),
    )


def unread_endings(paths: Iterable[str], what: str) -> list[PassedOver]:
    """Files whose ending is not read, in one entry.

    Args:
        what: what to do where they should be, e.g. ``Save photos as JPEG or PNG to use them.``
    """
    every = list(paths)
    endings = Counter(PurePosixPath(path).suffix.lower() or "none" for path in every)
    endings_text = ", ".join(f"{ending} {count}" for ending, count in sorted(endings.items()))
    return passed_over("unread-ending", every, f"endings that are not read ({endings_text}). {what}")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except (
        OSError
    ):  # a link in a circle, or to where nobody may look: whoever reads it as a file reports why it cannot be
        return False


def _where(problem: Problem) -> str:
    return problem.where
