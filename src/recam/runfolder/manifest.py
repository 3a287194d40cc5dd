"""Which files a finished stage consists of, with size, time and hash of each: what is missing, cut short or changed is
found by them.

`MANIFEST` lies beside the stage's record, ``{"sub/a.png": [size, time of change in ns, hash]}``, in one file however
many there are. The record holds the hash of the manifest, so that each belongs to the other. Sizes and times cost a
look at each file; where the size is the same and the time is another, as after copying a run, the content decides.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
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
PORTION = 64
"""Files that one thread reads before it takes the next ones: to hand over a single small one takes longer than to read
it."""

_LEFTOVER = re.compile(rf"^\..*{re.escape(TEMPORARY_ENDING)}$|^\.tmp\w{{6}}$")
"""Our own temporary files, and those of safetensors."""
_FOREIGN = {"thumbs.db", "desktop.ini", "@eadir"}
"""What systems put into any folder, in lower case; besides names that begin with a dot."""


def stage_files(folder: Path) -> Iterator[Path]:
    """Files that a stage made: not its record, not those of stages in sub-folders, nothing half written or put there by
    a system."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(".") or path.name.lower() in _FOREIGN:
            continue
        if path.is_dir():
            if not (path / RECORD).is_file():
                yield from stage_files(path)
        elif path.name not in (RECORD, MANIFEST):
            yield path


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is half written."""
    return bool(_LEFTOVER.match(name))


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half written."""
    for place, _, names in os.walk(folder):
        for name in names:
            if is_leftover(name):
                (Path(place) / name).unlink(missing_ok=True)


def write_manifest(folder: Path) -> tuple[int, str]:
    """Enter all files of the stage. Returns their number and the hash of the manifest.

    A file that the manifest names already, with this size and time, keeps its hash unread: damage stays visible, and a
    stage of which a few files were made again is finished in a moment.

    Raises:
        StoreError: a file cannot be read, or the disk is full.
    """
    known = _read(folder) if (folder / MANIFEST).is_file() else {}
    entries: Manifest = {}
    new: dict[str, Path] = {}
    try:
        for path in stage_files(folder):
            name, status = path.relative_to(folder).as_posix(), path.stat()
            before = known.get(name, (0, 0, ""))
            entries[name] = (status.st_size, status.st_mtime_ns, before[2])
            if entries[name] != before:
                new[name] = path
    except OSError as error:
        raise StoreError(f"{folder}: a result cannot be read ({error}). Run the same command again.") from error
    for name, digest in _digest_all(new):
        if not digest:
            raise StoreError(f"{new[name]} cannot be read. Make it readable, and run the same command again.")
        entries[name] = (*entries[name][:2], digest)
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
    damage: dict[str, str] = {}
    doubtful: dict[str, Path] = {}
    for name, (size, modified, _) in manifest.items():
        try:
            status = (folder / name).stat()
        except OSError as error:
            damage[name] = (
                "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            )
            continue
        if status.st_size != size:
            damage[name] = f"has {status.st_size} bytes instead of {size}"
        elif verify or status.st_mtime_ns != modified:
            doubtful[name] = folder / name
    for name, digest in _digest_all(doubtful):
        if digest != manifest[name][2]:
            damage[name] = "holds something else than the stage wrote" if digest else "cannot be read"
    return damage


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


def _digest_all(paths: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Each name with the hash of its file, empty where that cannot be read; some files at a time, for slow disks."""

    def digest(some: tuple[str, ...]) -> list[str]:
        return [_digest_or_nothing(paths[name]) for name in some]

    names = iter(paths)
    for some, found in map_ahead(digest, iter(lambda: tuple(islice(names, PORTION)), ())):
        yield from zip(some, found, strict=True)


def _digest_or_nothing(path: Path) -> str:
    try:
        return digest_file(path)
    except DataError:
        return ""


def _read(folder: Path) -> Manifest:
    try:
        held = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest = {
            str(name): (int(size), int(modified), str(digest)) for name, (size, modified, digest) in held.items()
        }
        # A name that leads out of the folder is none of ours: files are removed by these names.
        return {} if any(Path(name).is_absolute() or ".." in Path(name).parts for name in manifest) else manifest
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(folder: Path, manifest: Manifest) -> str:
    content = json.dumps(manifest, separators=(",", ":")).encode()
    write_bytes(folder / MANIFEST, content)
    return hashlib.sha256(content).hexdigest()[:32]
