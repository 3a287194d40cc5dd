"""The run folder: what a run has made, from what, and whether it is whole.

```
RUN/run.json              settings in force, package versions, data set
RUN/run.lock              held while a process works here
RUN/files.json            what the data set's files hold, as hashes, so that a file that has not changed is read once
RUN/<stage>/stage.json    key, settings, inputs, state, seconds, peak memory, results
RUN/<stage>/manifest.json size, time and hash of each file that the stage made
RUN/<stage>/…             what the stage made
RUN/old/<stage>/<key>/    what other settings had made; taken back when those settings return
```
A stage's *key* is a hash of all that its result depends on: settings, keys of the stages it reads, fingerprint of the data. A folder with
another key is set aside, never deleted. Everything is written whole or not at all, and without pickle.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from recam.digests import digest_file
from recam.errors import DataError, StoreError
from recam.files import ARRAY_ERRORS, atomic_write, checked_path, write_bytes
from recam.pipeline.manifest import (
    RECORD,
    find_damage,
    read_manifest,
    refresh_times,
    remove_files,
    remove_leftovers,
    stage_files,
    write_manifest,
)
from recam.types import SeedMaps

_MAP_ERRORS: tuple[type[Exception], ...] = (*ARRAY_ERRORS, DataError)
MAX_SIDE = 65_535
"""Longest side (pixels) of an image that maps are made of; the formats of images end there or before."""


def make_key(parts: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that change when anything in JSON-ready `parts` does."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all; NaN is refused (give None)."""
    write_bytes(path, json.dumps(content, indent=2, allow_nan=False, default=str).encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote. Raises `StoreError` for a missing or damaged file, or one that holds no object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise StoreError(f"{path} is not there: not a run folder, or the stage has not begun.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read ({error}). Delete it; the same command makes it again.") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path} holds {type(content).__name__}, not an object with fields. Delete it; the same command makes it again.")
    return content


def read_record(path: Path, stage: str = "") -> dict[str, Any]:
    """Read a ``stage.json``. Raises `StoreError` as `read_json` does, and for what no stage writes.

    Args:
        stage: name of the stage; if it is finished, all must be there that readers take. Empty: it is not looked for.
    """
    from recam.pipeline.records import check_finished, check_record  # here: exported networks predict without pydantic

    content = read_json(path)
    return check_finished(path, content, stage) if stage else check_record(path, content)


def read_settings(root: Path) -> dict[str, Any]:
    """Read the ``run.json`` of a run folder. Raises `StoreError` as `read_record` does."""
    from recam.pipeline.records import check_settings

    return check_settings(root / "run.json", read_json(root / "run.json"))


@dataclass(frozen=True)
class StageFolder:
    """The part of a run folder that one stage writes.

    Attributes:
        name: the stage, with ``/`` for sub-folders, e.g. ``seeds/cam``.
        path: its folder.
        key: what it must have been made from to count.
    """

    name: str
    path: Path
    key: str

    @property
    def record(self) -> dict[str, Any]:
        """The stage's record, empty before it began."""
        return read_record(self.path / RECORD) if (self.path / RECORD).is_file() else {}

    @property
    def claims_done(self) -> bool:
        """Whether its record says that it was made from this key, to the end."""
        record = self.record
        return record.get("key") == self.key and record.get("state") == "done"

    @property
    def is_done(self) -> bool:
        """Whether it was made from this key, to the end, and all of it is there as it was; by size and time, see `find_damage`."""
        return self.claims_done and not self.find_damage()

    def find_damage(self, verify: bool = False) -> dict[str, str]:
        """What is wrong with files of the finished stage, by name; `verify` reads all of them."""
        record = self.record
        if "manifest" in record:
            return find_damage(self.path, str(record["manifest"]), verify)
        # Runs of versions that kept no hashes.
        count = self.count_files()
        return {} if record.get("files") == count else {".": f"has {count} files instead of {record.get('files')}"}

    def count_files(self) -> int:
        """Files of the stage, without its record."""
        return sum(1 for _ in stage_files(self.path))

    def begin(self, content: Mapping[str, Any]) -> None:
        """Write the record of a stage that has begun or resumes; remove what a killed process left half written."""
        remove_leftovers(self.path)
        spent = float(self.record.get("seconds", 0.0))
        write_json(self.path / RECORD, {"stage": self.name, "key": self.key, "state": "begun", "seconds": spent, **content})

    def finish(self, content: Mapping[str, Any]) -> None:
        """Mark the stage done, with its results and costs, and with the hashes of its files."""
        remove_leftovers(self.path)
        count, manifest = write_manifest(self.path)
        write_json(self.path / RECORD, {**self.record, "state": "done", "files": count, "manifest": manifest, **content})

    def reopen(self, damaged: Mapping[str, str]) -> None:
        """Remove damaged files of a finished stage and mark it begun, so that it makes them again."""
        remove_files(self.path, (name for name in damaged if name != "."))
        # After that: a stage that has begun trusts the files that it finds.
        write_json(self.path / RECORD, {**self.record, "state": "begun"})

    def accept_times(self) -> None:
        """Files of a finished stage that hold what they held, but have other times, are not read for that again."""
        record = self.record
        if "manifest" in record and (changed := refresh_times(self.path, str(record["manifest"]))):
            write_json(self.path / RECORD, {**record, "manifest": changed})

    def discard(self) -> None:
        """Throw away all that the stage made. Its record goes first: a folder without one is never taken for a result."""
        (self.path / RECORD).unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True, exist_ok=True)


class RunFolder:
    """A run on disk.

    Raises:
        StoreError: the path is a file, or a folder that holds something else than a run.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = checked_path(root, StoreError)
        if self.root.is_file():
            raise StoreError(f"{self.root} is a file; name a folder for the run.")
        foreign = self.root.is_dir() and any(self.root.iterdir()) and not (self.root / "run.json").is_file()
        if foreign and not (self.root / "run.lock").is_file():
            raise StoreError(
                f"{self.root} holds files that are no run of recam. Name an empty or a new folder, so that nothing gets mixed up."
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from working in this folder. Raises `StoreError` where one does; a killed process leaves no lock."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / "run.lock").open("a+")
        except OSError as error:
            raise StoreError(f"{self.root} cannot be written ({error.strerror}). Name another folder with -o.") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                other = file.read().strip() or "unknown"
                raise StoreError(f"another process ({other}) is working in {self.root}. Wait for it, or name another folder.") from error
            with suppress(OSError):  # a full disk: the lock holds all the same
                file.truncate(0)
                file.write(f"process {os.getpid()}")
                file.flush()
            _held_locks.add(file)
            try:
                yield
            finally:
                _held_locks.discard(file)
            file.truncate(0)

    def open_stage(self, name: str, key: str) -> StageFolder:
        """The stage's folder for `key`: one made with another key is set aside, one set aside before is taken back."""
        stage = StageFolder(name, self.root / name, key)
        present = stage.record.get("key")
        if present != key:
            aside = self.root / "old" / name
            if stage.path.is_dir() and any(stage.path.iterdir()):
                # Without a record nobody knows what it was made from: it must never pass for a part of the new.
                _move(stage.path, aside / (present or f"unknown-{time.time_ns()}"))
            if (aside / key).is_dir():
                _move(aside / key, stage.path)
        stage.path.mkdir(parents=True, exist_ok=True)
        return stage

    def stage(self, name: str) -> StageFolder:
        """The stage as it stands, for readers. Raises `StoreError` where it has not finished."""
        path = self.root / name
        record = StageFolder(name, path, "").record
        found = StageFolder(name, path, str(record.get("key", "")))
        if record.get("state") != "done":
            raise StoreError(f"{self.root} has no finished stage {name!r}. Run `recam run` on it, without --until or until that stage.")
        return found

    def done_stages(self) -> list[str]:
        """Names of the finished stages."""
        records = sorted(path for path in self.root.rglob(RECORD) if "old" not in path.relative_to(self.root).parts)
        return [str(path.parent.relative_to(self.root)) for path in records if read_json(path).get("state") == "done"]


def check_content(path: Path) -> None:
    """Compare a file of a finished stage with its hash. Passes files that no finished stage names.

    Raises:
        StoreError: it holds something else than the stage wrote; or the hashes are missing.
    """
    folder = path.parent
    stage = StageFolder(folder.name, folder, "")
    record = stage.record
    if record.get("state") != "done" or "manifest" not in record or not path.is_file():
        return
    again = "Run the command that made the run again with --verify: it makes what is damaged again. Or restore it from a copy."
    try:
        entry = read_manifest(folder, str(record["manifest"])).get(path.relative_to(folder).as_posix())
    except StoreError as error:
        raise StoreError(f"{path} cannot be checked: {error}. {again}") from error
    if entry and digest_file(path) != entry[2]:
        raise StoreError(f"{path} is damaged: it holds something else than the stage {record.get('stage')!r} wrote. {again}")


def map_path(folder: StageFolder, weighting: str, sample_id: str) -> Path:
    """Where the class maps of a sample lie: seeds by weighting, refined maps, which are of one weighting, without."""
    return folder.path / weighting / f"{sample_id}.npz" if folder.name.startswith("seeds/") else folder.path / f"{sample_id}.npz"


def open_run(path: str | Path) -> RunFolder:
    """An existing run folder, for readers. Raises `StoreError` where there is none."""
    if not (checked_path(path, StoreError) / "run.json").is_file():
        raise StoreError(f"{path} is no run folder: it holds no run.json. Name the folder that `recam run -o` was given.")
    return RunFolder(path)


def save_seed(path: Path, seed: SeedMaps, bits: int = 8) -> None:
    """Write class maps as unsigned integers of 8 or 16 bits, compressed, without pickle; rounding errs by at most 1/510 or 1/131070."""
    top = (1 << bits) - 1
    kind = np.uint8 if bits == 8 else np.uint16
    planes: dict[str, Any] = {
        "maps": np.rint(seed.maps * top).astype(kind),
        "class_indices": seed.class_indices.astype(np.int64),
        "size": np.asarray(seed.size, np.int64),
    }
    if seed.ignore is not None:
        planes["ignore"] = np.packbits(seed.ignore)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **planes)


def read_seed(path: Path, way_out: str = "Delete it; `recam run` makes it again.") -> SeedMaps:
    """Read what `save_seed` wrote, as float32 in [0, 1]. Raises `StoreError`, which ends in `way_out`, for a missing or damaged file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = file["maps"]
            if stored.dtype not in (np.uint8, np.uint16):  # others would be divided by the largest value of their own kind
                raise ValueError(f"its maps are {stored.dtype}; they must be uint8 or uint16, 0 to 255 or 65535, as save_seed writes them")
            height, width = _check_planes(stored, file["class_indices"], file["size"])
            ignore = None
            if "ignore" in file:
                if len(file["ignore"]) != -(-height * width // 8):  # unpacking would fill up what is missing
                    raise ValueError(f"its ignored pixels are not those of an image of {height}×{width}")
                ignore = np.unpackbits(file["ignore"], count=height * width).astype(bool).reshape(height, width)
            return SeedMaps(stored.astype(np.float32) / np.iinfo(stored.dtype).max, file["class_indices"], (height, width), ignore)
    except _MAP_ERRORS as error:
        # NumPy's own words on a file that is no .npz advise unsafe ways to load it.
        why = "it is no .npz file" if "pickle" in str(error) else error
        raise StoreError(f"{path} cannot be read as class maps ({why}). {way_out}") from error


def _check_planes(maps: NDArray[Any], class_indices: NDArray[Any], size: NDArray[Any]) -> tuple[int, int]:
    """(H, W). Raises `ValueError` where arrays of a seed do not fit together."""
    if size.dtype.kind not in "iu" or size.shape != (2,) or size.min() < 1 or size.max() > MAX_SIDE:
        raise ValueError(f"its size is {size.tolist()!r:.60}, not height and width")
    if class_indices.dtype.kind not in "iu" or maps.ndim != 3 or class_indices.shape != maps.shape[:1]:
        raise ValueError(f"maps {maps.shape} and class indices {class_indices.shape} of kind {class_indices.dtype} do not fit together")
    if len(set(class_indices.tolist())) < len(class_indices) or (
        len(class_indices) and not 0 <= class_indices.min() <= class_indices.max() < 254
    ):
        raise ValueError(f"its class indices are {class_indices.tolist()!r:.60}, not different ones from 0 to 253")
    height, width = (int(side) for side in size)
    if not (maps.shape[1] <= height and maps.shape[2] <= width) or (len(maps) and 0 in maps.shape):
        raise ValueError(f"maps {maps.shape} are larger than the image of {height}×{width}, or empty")
    return height, width


def _refuse_constant(word: str) -> float:
    raise ValueError(f"it holds {word}, which is no JSON")


_held_locks: set[IO[str]] = set()


def _let_go_of_locks() -> None:
    """In a worker that begins as a copy of this process: it must not hold the run when this process has been killed."""
    while _held_locks:
        _held_locks.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_locks)


def _move(source: Path, target: Path) -> None:
    """Rename a folder, all at once; one of the same key that is there already gives way, it is of no more use."""
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
