"""Which files a finished stage consists of, with size, time and hash of each: what is missing, cut short or changed is found by them.

`MANIFEST` lies beside the stage's record, ``{"sub/a.png": [size, time of change in ns, hash]}``, in one file however many there are. The
record holds the hash of the manifest, so that each belongs to the other. Sizes and times cost a look at each file; where the size is the
same and the time is another, as after copying a run, the content decides.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from recam.ahead import map_ahead
from recam.digests import digest_file
from recam.errors import DataError, StoreError
from recam.files import TEMPORARY_ENDING, write_bytes

RECORD = "stage.json"
MANIFEST = "manifest.json"
Entry = tuple[int, int, str]
"""Size, time of change (ns), hash of the content."""
Manifest = dict[str, Entry]
"""By path from the stage's folder, with ``/``."""

_LEFTOVER = re.compile(rf"^\..*{re.escape(TEMPORARY_ENDING)}$|^\.tmp\w{{6}}$")
"""Our own temporary files, and those of safetensors."""
_FOREIGN = {"thumbs.db", "desktop.ini", "@eadir"}
"""What systems put into any folder, in lower case; besides names that begin with a dot."""


def stage_files(folder: Path) -> Iterator[Path]:
    """Files that a stage made: not its record, not those of stages in sub-folders, nothing half written or put there by a system."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(".") or path.name.lower() in _FOREIGN:
            continue
        if path.is_dir():
            if not (path / RECORD).is_file():
                yield from stage_files(path)
        elif path.name not in (RECORD, MANIFEST):
            yield path


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half written."""
    for place, _, names in os.walk(folder):
        for name in names:
            if _LEFTOVER.match(name):
                (Path(place) / name).unlink(missing_ok=True)


def write_manifest(folder: Path) -> tuple[int, str]:
    """Enter all files of the stage. Returns their number and the hash of the manifest.

    A file that the manifest names already, with this size and time, keeps its hash unread: damage stays visible, and a stage of which a
    few files were made again is finished in a moment.

    Raises:
        StoreError: a file cannot be read, or the disk is full.
    """
    known = _read(folder) if (folder / MANIFEST).is_file() else {}

    def enter(path: Path) -> tuple[str, Entry]:
        name, status = path.relative_to(folder).as_posix(), path.stat()
        before = known.get(name)
        if before and before[:2] == (status.st_size, status.st_mtime_ns):
            return name, before
        return name, (status.st_size, status.st_mtime_ns, digest_file(path))

    try:
        entries = dict(entry for _, entry in map_ahead(enter, stage_files(folder)))
    except (OSError, DataError) as error:
        raise StoreError(f"{folder}: a result of the stage cannot be read ({error}). Run the same command again.") from error
    return len(entries), _write(folder, entries)


def find_damage(folder: Path, recorded: str, verify: bool = False) -> dict[str, str]:
    """What is wrong with the files of a finished stage, by name; empty where all are as it left them.

    Args:
        recorded: hash of the manifest, from the stage's record.
        verify: read every file, not just those whose time has changed.
    """
    try:
        manifest = read_manifest(folder, recorded)
    except StoreError as error:
        return {MANIFEST: str(error)}
    found = map_ahead(lambda item: _judge(folder / item[0], item[1], verify), manifest.items())
    return {name: wrong for (name, _), wrong in found if wrong}


def refresh_times(folder: Path, recorded: str) -> str | None:
    """Enter the times that intact files have now, so that their content need not be read again.

    Returns:
        the new hash; None where no time has changed.
    """
    before = read_manifest(folder, recorded)
    after = {name: (entry[0], (folder / name).stat().st_mtime_ns, entry[2]) for name, entry in before.items()}
    return None if after == before else _write(folder, after)


def read_manifest(folder: Path, recorded: str) -> Manifest:
    """The manifest that a record belongs to. Raises `StoreError` where it is missing, damaged, or of another record."""
    path = folder / MANIFEST
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest()[:32] == recorded:
            return _read(folder)
        why = "it is not the one that the stage wrote"
    except OSError as error:
        why = str(error.strerror)
    raise StoreError(f"{path} cannot be used ({why})")


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files of a stage by their names in the manifest; those that are not there are passed over."""
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _judge(path: Path, entry: Entry, verify: bool) -> str:
    """What is wrong with a file; empty where nothing is."""
    size, modified, digest = entry
    try:
        status = path.stat()
        if status.st_size != size:
            return f"has {status.st_size} bytes instead of {size}"
        if (verify or status.st_mtime_ns != modified) and digest_file(path) != digest:
            return "holds something else than the stage wrote"
    except FileNotFoundError:
        return "is missing"
    except (OSError, DataError) as error:
        return f"cannot be read ({error})"
    return ""


def _read(folder: Path) -> Manifest:
    try:
        held = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest = {str(name): (int(size), int(modified), str(digest)) for name, (size, modified, digest) in held.items()}
        # A name that leads out of the folder is none of ours: files are removed by these names.
        return {} if any(Path(name).is_absolute() or ".." in Path(name).parts for name in manifest) else manifest
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(folder: Path, manifest: Manifest) -> str:
    content = json.dumps(manifest, separators=(",", ":")).encode()
    write_bytes(folder / MANIFEST, content)
    return hashlib.sha256(content).hexdigest()[:32]
