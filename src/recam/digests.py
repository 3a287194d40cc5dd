"""What files hold, as hashes: equal wherever the file lies and whenever it was written."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from recam.ahead import map_ahead
from recam.errors import DataError
from recam.files import write_bytes

Item = TypeVar("Item")
Digest = Callable[[Path], str]
"""Path → hash of the file's content. Raises `DataError` where the file cannot be read."""


def digest_file(path: Path) -> str:
    """32 hexadecimal digits of a file's content. Raises `DataError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except (OSError, ValueError) as error:
        raise _gone(path, error) from error


def digest_each(items: Iterable[Item], describe: Callable[[Item], Any]) -> str:
    """64 hexadecimal digits of what `describe` returns for each item, in their order; several items are read at a
    time."""
    whole = hashlib.sha256()
    for _, described in map_ahead(describe, items):
        whole.update(repr(described).encode())
    return whole.hexdigest()


@dataclass(frozen=True)
class Known:
    """What is known of a file: what shows that it has changed, and what it held.

    Attributes:
        size: in bytes.
        modified: time of the last change of its content, ns; programs may set it to anything.
        digest: hash of its content.
        changed: time of the last change of its content, its name or its rights, ns, which no program can set; -1 where
            not recorded.
        inode: which file it is on its disk; -1 where not recorded.
    """

    size: int
    modified: int
    digest: str
    changed: int = -1
    inode: int = -1

    def is_same(self, status: os.stat_result) -> bool:
        """Whether size and time are those that the content was read with."""
        return (self.size, self.modified) == (status.st_size, status.st_mtime_ns)

    def is_untouched(self, status: os.stat_result) -> bool:
        """Whether nothing was done to the file since. Its inode does not count: some network disks number files anew at
        any time."""
        return self.is_same(status) and self.changed in (-1, status.st_ctime_ns)


class FileDigests:
    """`digest_file` that reads a file once: as long as its size and time of change stay, what it held before is
    believed.

    It also watches: the digests taken can be compared later with what is there then, see `changed`. May be called from
    several threads.

    Args:
        memory: a JSON file that keeps the hashes for the next time; None forgets them. One that is damaged is as good
            as none.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._known: dict[str, Known] = {}
        self._first: dict[str, Known] = {}  # as each file was when this process first took its digest
        self._touched: dict[str, bool] = {}  # of the files that memory knows and this process used
        self._collectors: list[set[str]] = []
        self._is_new = False
        if memory is not None and memory.is_file():
            self._known = _read_memory(memory)

    def __call__(self, path: Path) -> str:
        """The hash of a file's content. Raises `DataError` where the file cannot be read."""
        path = path.absolute()
        try:
            status = path.stat()
        except OSError as error:
            raise _gone(path, error) from error
        name, known = str(path), self._known.get(str(path))
        if name not in self._first and known is not None:
            self._touched[name] = not known.is_untouched(status)
        if (
            known is None
            or not known.is_same(status)
            or (known.changed, known.inode) != (status.st_ctime_ns, status.st_ino)
        ):
            digest = known.digest if known is not None and known.is_same(status) else digest_file(path)
            known = Known(status.st_size, status.st_mtime_ns, digest, status.st_ctime_ns, status.st_ino)
            self._known[name] = known
            self._is_new = True
        self._first.setdefault(name, known)
        self.note((name,))
        return known.digest

    @contextmanager
    def collect(self) -> Iterator[set[str]]:
        """Gathers the absolute paths of all files whose digest is taken in the block."""
        paths: set[str] = set()
        self._collectors.append(paths)
        try:
            yield paths
        finally:
            self._collectors.pop()

    def note(self, paths: Iterable[str]) -> None:
        """Counts files of earlier digests as files of this block."""
        for collector in self._collectors:
            collector.update(paths)

    def changed(self, paths: Iterable[str]) -> list[str]:
        """Those of the files with a digest that are not as they were at first: gone, changed, or changed and put back.

        One with the same size and times but another inode counts where its content differs.
        """
        return [path for path in sorted(paths) if path in self._first and _has_changed(Path(path), self._first[path])]

    def take_touched(self) -> list[str]:
        """Files to which something was done since the memory was written, once. None where that is true of all of them:
        a copy or a data set unpacked anew, whose files are compared by content."""
        touched = sorted(path for path, is_touched in self._touched.items() if is_touched)
        found = touched if len(touched) < len(self._touched) else []
        self._touched.clear()
        return found

    def save(self) -> None:
        """Write what is new to the memory, whole or not at all. Raises `StoreError` for a full disk."""
        if self._memory is not None and self._is_new:
            held = {
                path: [known.size, known.modified, known.digest, known.changed, known.inode]
                for path, known in self._known.items()
            }
            write_bytes(self._memory, json.dumps(held, separators=(",", ":")).encode())
            self._is_new = False


def _has_changed(path: Path, before: Known) -> bool:
    try:
        status = path.stat()
        if not before.is_untouched(status):
            return True
        return status.st_ino != before.inode and digest_file(path) != before.digest
    except (OSError, DataError):
        return True


def _read_memory(path: Path) -> dict[str, Known]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(name): Known(int(size), int(modified), str(digest), *map(int, more))
            for name, (size, modified, digest, *more) in held.items()
            if re.fullmatch("[0-9a-f]{32}", str(digest))
        }
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}


def _gone(path: Path, error: OSError | ValueError) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else error  # a NUL character in the name
    return DataError(f"{path} cannot be read ({reason}). Put it back, or take it out of the lists.")
