"""The run folder: what a run has made, from what, and whether it is whole.

```
RUN/run.json                       settings in force, package versions, data set, key of each stage
RUN/run.lock                       held while a process works here
RUN/plan.json                      what was chosen and why, minutes and memory that each stage was planned to take
RUN/run.log, RUN/metrics.jsonl     what it said, losses and scores of each epoch; see `recam.runfolder.journal`
RUN/files.json                     what the data set's files hold, as hashes: one that has not changed is read once
RUN/.stages/<stage>/<key>/         what a stage made from this key
            stage.json             key, what it was made from, state, seconds, peak memory, results
            manifest.json          size, time and hash of each file that the stage made
RUN/<stage>                        link to the stage that the settings in force name
```

A stage's *key* is a hash of all that its result depends on: its settings, keys of the stages it reads, fingerprint of
the data. Stages of other settings stay until `recam clean`. Runs that lie beside each other are a workspace: a stage
that one of them has finished is taken over by the others, by hard links where the disk has them, so that nothing is
made twice and each folder is whole by itself. Everything is written whole or not at all, and without pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recam.digests import digest_file
from recam.errors import StoreError
from recam.files import TEMPORARY_ENDING, checked_path, write_bytes
from recam.runfolder.lock import LOCK, hold_lock
from recam.runfolder.manifest import (
    RECORD,
    find_damage,
    read_manifest,
    refresh_times,
    remove_files,
    remove_leftovers,
    stage_files,
    write_manifest,
)

FORMAT = 2
"""Of the run folder; raised when readers of earlier ones would go wrong."""
STAGES = ".stages"
PLAN = "plan.json"
"""What a run was planned to take, see `recam.pipeline.planning`."""
CHECK, REPORT = "check", "report"
"""Stages that runs have beside those of their plan: what is wrong with the data set, and the report."""
WEIGHTS = "weights.safetensors"
"""What a stage that trains leaves for others."""


def make_key(parts: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that change when anything in JSON-ready `parts` does."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def has_background(settings: Mapping[str, Any]) -> bool:
    """Whether pixels may belong to no class, by the content of a ``run.json``."""
    return bool(settings.get("recipe", {}).get("data", {}).get("background", "rest") == "rest")


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
        raise StoreError(
            f"{path} holds {type(content).__name__}, not an object with fields. Delete it; the same command makes it"
            " again."
        )
    return content


def read_record(path: Path, kind: str = "") -> dict[str, Any]:
    """Read a ``stage.json``. Raises `StoreError` as `read_json` does, and for what no stage writes.

    Args:
        kind: see `recam.runfolder.kinds`; a finished stage must hold all that readers take. Empty: not checked.
    """
    from recam.runfolder.records import check_finished, check_record  # here: exported networks predict without pydantic

    content = read_json(path)
    return check_finished(path, content, kind) if kind else check_record(path, content)


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
    def weights(self) -> Path:
        """The network that it trained, compared with its hash. Raises `StoreError` for a damaged one."""
        check_content(self.path / WEIGHTS)
        return self.path / WEIGHTS

    @property
    def claims_done(self) -> bool:
        """Whether its record states that it was made from this key, to the end."""
        record = self.record
        return record.get("key") == self.key and record.get("state") == "done"

    @property
    def is_done(self) -> bool:
        """Whether it was made from this key, to the end, and all of it is there as it was; by size and time, see
        `find_damage`."""
        return self.is_intact()

    def is_intact(self, verify: bool = False) -> bool:
        """`is_done`; `verify` reads all files."""
        return self.claims_done and not self.find_damage(verify)

    def find_damage(self, verify: bool = False) -> dict[str, str]:
        """What is wrong with files of the finished stage, by name; `verify` reads all of them."""
        return find_damage(self.path, str(self.record.get("manifest", "")), verify)

    def count_files(self) -> int:
        """Files of the stage, without its record."""
        return sum(1 for _ in stage_files(self.path))

    def begin(self, content: Mapping[str, Any]) -> None:
        """Write the record of a stage that has begun or resumes; remove what a killed process left half written."""
        remove_leftovers(self.path)
        spent = float(self.record.get("seconds", 0.0))
        write_json(
            self.path / RECORD, {"stage": self.name, "key": self.key, "state": "begun", "seconds": spent, **content}
        )

    def finish(self, content: Mapping[str, Any]) -> None:
        """Mark the stage done, with its results and costs, and with the hashes of its files."""
        remove_leftovers(self.path)
        count, manifest = write_manifest(self.path)
        write_json(
            self.path / RECORD, {**self.record, "state": "done", "files": count, "manifest": manifest, **content}
        )

    def reopen(self, damaged: Mapping[str, str]) -> None:
        """Remove damaged files of a finished stage and mark it begun, so that it makes them again."""
        remove_files(self.path, (name for name in damaged if name != "."))
        # After that: a stage that has begun trusts the files that it finds.
        write_json(self.path / RECORD, {**self.record, "state": "begun"})

    def accept_times(self) -> None:
        """Files of a finished stage that hold what they held, but have other times, are not read for that again."""
        record = self.record
        if changed := refresh_times(self.path, str(record["manifest"])):
            write_json(self.path / RECORD, {**record, "manifest": changed})

    def discard(self) -> None:
        """Throw away all that the stage made. Its record goes first: a folder without one is never taken for a
        result."""
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
        if (self.root / "run.json").is_file():
            read_run(self.root)
        if foreign and not (self.root / LOCK).is_file():
            raise StoreError(
                f"{self.root} holds files that are no run of recam. Name an empty or a new folder, so that nothing"
                " gets mixed up."
            )

    def lock(self, shared: bool = False) -> AbstractContextManager[None]:
        """Keep other processes from working in this folder, but those that share it; see
        `recam.runfolder.lock.hold_lock`."""
        return hold_lock(self.root, shared=shared)

    def at(self, name: str, key: str) -> StageFolder:
        """Where a stage made from `key` lies, whether it is there or not."""
        return StageFolder(name, self.root / STAGES / name / key, key)

    def find(self, name: str, key: str, verify: bool = False) -> StageFolder | None:
        """The finished stage of this key, here or in a run beside this one; None where it is still to be made.

        Args:
            verify: read all of its files, as `find_damage` does.
        """
        return next((stage for stage in self._places(name, key) if stage.is_intact(verify)), None)

    def open_stage(self, name: str, key: str, verify: bool = False) -> StageFolder:
        """The stage's folder for `key`: new, resumed, or taken over from a run beside this one that has finished it.

        Args:
            verify: read all files of a stage before it is taken over.
        """
        stage = self.at(name, key)
        if not stage.is_done and (found := self.find(name, key, verify)):
            stage.discard()
            try:
                _take_over(found.path, stage.path)
            except (OSError, shutil.Error):
                if found.claims_done:  # else `recam clean` has removed it meanwhile, and it is made here
                    raise
        elif stage.path.is_dir() and not (stage.path / RECORD).is_file():
            stage.discard()  # nobody knows what these files are of, and a stage trusts the files that it finds
        stage.path.mkdir(parents=True, exist_ok=True)
        self._link(name, key)
        return stage

    def link_stages(self, keys: Mapping[str, str]) -> None:
        """Have the names of the run's folder show the stages of these keys, as far as they are there, and no others but
        the check."""
        for name in list(self._linked()):
            if name not in keys and name != CHECK:
                (self.root / name).unlink()
        for name, key in keys.items():
            if self.at(name, key).path.is_dir():
                self._link(name, key)
            elif (self.root / name).is_symlink():
                (self.root / name).unlink()

    @property
    def keys(self) -> dict[str, str]:
        """Key of each stage that the settings in force name, by ``run.json``."""
        return {name: str(each["key"]) for name, each in read_run(self.root)["stages"].items()}

    def stage(self, name: str) -> StageFolder:
        """The stage that the settings in force name, for readers. Raises `StoreError` where it has not finished."""
        found = self.at(name, self.keys.get(name, ""))
        if not found.claims_done:
            raise StoreError(
                f"{self.root} has no finished stage {name!r}. Run `recam run` on it, without --until or until that"
                " stage."
            )
        return found

    def done_stages(self) -> list[str]:
        """Names of the finished stages that the settings in force name, in order."""
        return [name for name, key in self.keys.items() if self.at(name, key).claims_done]

    def kept_stages(self) -> Iterator[StageFolder]:
        """All stages that lie in this folder, of whatever settings, finished or not."""
        base = self.root / STAGES
        for record in sorted(base.rglob(RECORD)):
            yield StageFolder(record.parent.parent.relative_to(base).as_posix(), record.parent, record.parent.name)

    def _places(self, name: str, key: str) -> Iterator[StageFolder]:
        yield self.at(name, key)
        for beside in sorted(self.root.absolute().parent.glob(f"*/{STAGES}/{name}/{key}/{RECORD}")):
            yield StageFolder(name, beside.parent, key)

    def _link(self, name: str, key: str) -> None:
        link, target = self.root / name, self.at(name, key).path
        aim = os.path.relpath(target, link.parent)
        if link.is_symlink() and os.readlink(link) == aim:  # noqa: PTH115 (the text of the link)
            return
        if link.exists() and not link.is_symlink():
            if not self._is_copy(link, name):
                raise StoreError(
                    f"{link} lies where the stage {name!r} would be shown. Move it away, or name another folder with"
                    " -o."
                )
            shutil.rmtree(link)
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f".{link.name}.{uuid.uuid4().hex[:12]}{TEMPORARY_ENDING}")
        fresh.symlink_to(aim, target_is_directory=True)
        fresh.replace(link)

    def _is_copy(self, folder: Path, name: str) -> bool:
        """Whether a folder holds what a stage of this run holds, file by file: so does a run that was copied with its
        links followed."""
        copy = StageFolder(name, folder, "")
        try:
            record = copy.record
            kept = self.at(name, str(record.get("key", "")))
            return (
                record.get("stage") == name
                and record.get("state") == "done"
                and record == kept.record
                and not copy.find_damage(verify=True)
                and copy.count_files() == kept.count_files()
            )
        except StoreError:
            return False

    def _linked(self) -> Iterator[str]:
        """Names of the links to stages of this folder; links are not followed."""
        own = os.path.abspath(self.root / STAGES)  # noqa: PTH100 (resolves no link)
        for place, folders, files in os.walk(self.root):
            links = [path for name in (*folders, *files) if (path := Path(place, name)).is_symlink()]
            folders[:] = [name for name in folders if name != STAGES]
            for link in links:
                aim = os.path.abspath(link.parent / os.readlink(link))  # noqa: PTH100, PTH115
                if aim.startswith(own + os.sep):
                    yield link.relative_to(self.root).as_posix()


def read_run(root: Path) -> dict[str, Any]:
    """``run.json`` of a run. Raises `StoreError` for one that is missing, damaged, or of another version of recam."""
    from recam.runfolder.records import check_settings  # here: exported networks predict without pydantic

    content = read_json(root / "run.json")
    if content.get("format") != FORMAT:
        raise StoreError(
            f"{root} was made by another version of recam and cannot be read by this one. Name a new folder with -o."
        )
    return check_settings(root / "run.json", content)


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
    again = (
        "Run the command that made the run again with --verify: it makes what is damaged again. Or restore it from a"
        " copy."
    )
    try:
        entry = read_manifest(folder, str(record["manifest"])).get(path.relative_to(folder).as_posix())
    except StoreError as error:
        raise StoreError(f"{path} cannot be checked: {error}. {again}") from error
    if entry and digest_file(path) != entry[2]:
        raise StoreError(
            f"{path} is damaged: it holds something else than the stage {record.get('stage')!r} wrote. {again}"
        )


def open_run(path: str | Path) -> RunFolder:
    """An existing run folder, for readers. Raises `StoreError` where there is none."""
    if not (checked_path(path, StoreError) / "run.json").is_file():
        raise StoreError(f"{path} is no run folder: it holds no run.json. Name the folder of `recam run -o`.")
    return RunFolder(path)


def _take_over(source: Path, target: Path) -> None:
    """A finished stage of another run as this run's own: all at once, by hard links where the disk has them."""
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}{TEMPORARY_ENDING}")
    try:
        shutil.copytree(source, fresh, copy_function=link_or_copy)
        if target.is_dir():
            shutil.rmtree(target)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _refuse_constant(word: str) -> float:
    raise ValueError(f"it holds {word}, which is no JSON")
