"""What files hold, as hashes: equal wherever the file lies and whenever it was written."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
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


def digest_each(items: Iterable[Item], tell: Callable[[Item], Any]) -> str:
    """64 hexadecimal digits of what `tell` says of each item, in their order; several items are read at a time."""
    whole = hashlib.sha256()
    for _, told in map_ahead(tell, items):
        whole.update(repr(told).encode())
    return whole.hexdigest()


class FileDigests:
    """`digest_file` that reads a file once: as long as its size and time of change stay, what it held before is believed.

    May be called from several threads.

    Args:
        memory: a JSON file that keeps the hashes for the next time; None forgets them. One that is damaged is as good as none.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._known: dict[str, list[int | str]] = {}  # path → size, time of change (ns), hash
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
        known = self._known.get(str(path))
        if known is None or known[:2] != [status.st_size, status.st_mtime_ns]:
            known = [status.st_size, status.st_mtime_ns, digest_file(path)]
            self._known[str(path)] = known
            self._is_new = True
        return str(known[2])

    def save(self) -> None:
        """Write what is new to the memory, whole or not at all. Raises `StoreError` for a full disk."""
        if self._memory is not None and self._is_new:
            write_bytes(self._memory, json.dumps(self._known, separators=(",", ":")).encode())
            self._is_new = False


def _read_memory(path: Path) -> dict[str, list[int | str]]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(name): [int(size), int(time), str(digest)]
            for name, (size, time, digest) in held.items()
            if re.fullmatch("[0-9a-f]{32}", str(digest))
        }
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}


def _gone(path: Path, error: OSError | ValueError) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else error  # a NUL character in the name
    return DataError(f"{path} cannot be read ({reason}). Put it back, or take it out of the lists.")
