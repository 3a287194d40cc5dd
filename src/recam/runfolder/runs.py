"""All runs of a folder: which there are with their scores, and what of them no settings name any more."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from recam.errors import RecamError, StoreError, first_line
from recam.files import checked_path
from recam.frames import as_frame
from recam.runfolder.manifest import RECORD, is_leftover
from recam.runfolder.store import CHECK, REPORT, STAGES, RunFolder, read_run
from recam.runfolder.summary import summarise

DEFAULT = "runs"
_KEY = re.compile(r"^[0-9a-f]{16}$")
"""Name of a stage's folder, see `recam.runfolder.store.make_key`."""


@dataclass(frozen=True)
class RunEntry:
    """A run as `list_runs` found it.

    Attributes:
        path: the run folder.
        data: KIND:PATH of its data set.
        maps: title of the class maps that its pseudo masks are made of: training, map maker and refiners.
        maps_miou: mIoU in [0, 1] of these at the best threshold; None where it is not known, as of the next two.
        masks_miou: mIoU of the pseudo masks.
        model_miou: mIoU of the segmentation model on held-out images.
        done, stages: finished stages, of how many that its settings name.
        minutes: compute time of the finished stages, those taken over from other runs included.
        bytes: size on disk; a file that several runs share counts in each of them.
        problem: why the run cannot be read; empty where it can.
    """

    path: Path
    data: str = ""
    maps: str = ""
    maps_miou: float | None = None
    masks_miou: float | None = None
    model_miou: float | None = None
    done: int = 0
    stages: int = 0
    minutes: float = 0.0
    bytes: int = 0
    problem: str = ""


@dataclass(frozen=True)
class RunList:
    """The runs of a folder; prints itself.

    Attributes:
        folder: where they were looked for.
        runs: by name.
        bytes: size of all on disk, a file that several runs share counted once.
    """

    folder: Path
    runs: tuple[RunEntry, ...]
    bytes: int

    def __str__(self) -> str:
        if not self.runs:
            return f"no runs in {self.folder}"
        heads = ("run", "data", "class maps", "maps", "masks", "model", "stages", "minutes", "size")
        rows = [heads, *(_row(each) for each in self.runs if not each.problem)]
        wide = [max(len(row[column]) for row in rows) for column in range(len(heads))]
        lines = [
            "  ".join(f"{cell:<{width}}" if column < 3 else f"{cell:>{width}}"
                      for column, (cell, width) in enumerate(zip(row, wide, strict=True))).rstrip()
            for row in rows
        ]  # fmt: skip
        lines += [f"{each.path.name}: {each.problem}" for each in self.runs if each.problem]
        lines += ["maps, masks, model: mIoU in % of class maps at the best threshold, pseudo masks, segmentation model"]
        return "\n".join([*lines, f"{len(self.runs)} runs, {size_text(self.bytes)}"])

    def to_frame(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each run, columns as the attributes of `RunEntry`. Raises
        `DependencyError` where pandas is not installed."""
        return as_frame([asdict(each) for each in self.runs], [each.name for each in fields(RunEntry)])

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: mIoU in [0, 1], sizes in bytes."""
        runs = [{**asdict(each), "path": str(each.path)} for each in self.runs]
        return {"folder": str(self.folder), "runs": runs, "bytes": self.bytes}


@dataclass(frozen=True)
class CleanReport:
    """What `clean_runs` removed, or would remove; prints itself.

    Attributes:
        folder: where.
        stages: removed stages as RUN/.stages/NAME/KEY.
        leftovers: removed files and folders that killed processes left half written.
        bytes: disk space freed; files that another run still uses free none.
        skipped: runs that were left alone because they cannot be read, with the reason.
        dry_run: nothing was removed.
    """

    folder: Path
    stages: tuple[str, ...]
    leftovers: tuple[str, ...]
    bytes: int
    skipped: dict[str, str]
    dry_run: bool

    def __str__(self) -> str:
        verb = "would be removed" if self.dry_run else "removed"
        lines = [*self.stages, *self.leftovers]
        lines += [f"left alone: {name}: {why}" for name, why in self.skipped.items()]
        counts = f"{len(self.stages)} stages of earlier settings and {len(self.leftovers)} leftovers {verb}"
        return "\n".join([*lines, f"{counts}: {size_text(self.bytes)} {'to be ' * self.dry_run}freed"])

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "folder": str(self.folder)}


def list_runs(folder: str | Path = DEFAULT) -> RunList:
    """The runs in a folder, or the one that the folder is, with their scores.

    Raises:
        StoreError: there is no such folder.
    """
    found, places = Path(folder), _find_runs(folder)
    total = sum(_sizes(path for place in places for path in _files(place)).values())
    return RunList(found, tuple(_read_entry(place) for place in places), total)


def clean_runs(folder: str | Path = DEFAULT, dry_run: bool = False) -> CleanReport:
    """Remove what nobody needs from the runs in a folder, or from the one that the folder is.

    These are stages that the settings in force of their run do not name, and files that killed processes left half
    written. Stages that another run has taken over stay there: its files are links of their own.

    Args:
        dry_run: only report what would be removed.

    Raises:
        StoreError: there is no such folder; or a process is working in one of the runs, and nothing was removed.
    """
    stages: list[Path] = []
    leftovers: list[Path] = []
    skipped: dict[str, str] = {}
    with ExitStack() as locks:
        for place in _find_runs(folder):
            try:
                run, keys = RunFolder(place), RunFolder(place).keys
            except RecamError as error:
                skipped[place.name] = first_line(error)
                continue
            locks.enter_context(run.lock())
            stages += _unused_stages(run, keys)
            leftovers += _leftovers(place, stages)
        freed = _freed([*stages, *leftovers])
        if not dry_run:
            for path in stages:
                (path / RECORD).unlink(missing_ok=True)  # first: without it nothing takes the rest for a result
            for path in (*stages, *leftovers):
                _remove(path)
    root = Path(folder)
    removed, swept = (tuple(sorted(str(path.relative_to(root)) for path in paths)) for paths in (stages, leftovers))
    return CleanReport(root, removed, swept, freed, skipped, dry_run)


def size_text(size: int) -> str:
    """Bytes as people read them: ``1.4 MB``."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def _find_runs(folder: str | Path) -> list[Path]:
    root = checked_path(folder, StoreError)
    if not root.is_dir():
        raise StoreError(f"{root} is no folder. Name a run, or the folder that your runs lie in.")
    if (root / "run.json").is_file():
        return [root]
    return sorted(path.parent for path in root.glob("*/run.json"))


def _read_entry(place: Path) -> RunEntry:
    size = sum(_sizes(_files(place)).values())
    try:
        folder, written = RunFolder(place), read_run(place)
        summary = summarise(folder, tuple(folder.keys)).as_dict()
        maps = written["models"]["maps"]
        return RunEntry(
            path=place,
            data=str(written["recipe"].get("data", {}).get("location", "")),
            maps=maps["title"],
            maps_miou=summary["maps"].get(maps["name"], {}).get("miou"),
            masks_miou=summary["masks"]["miou"],
            model_miou=next((miou for miou in summary["segmentation"].values() if miou is not None), None),
            done=len(summary["stages"]),
            stages=len(written["stages"]),
            minutes=sum(each["minutes"] for each in summary["stages"].values()),
            bytes=size,
        )
    except RecamError as error:
        return RunEntry(place, bytes=size, problem=first_line(error))


def _row(entry: RunEntry) -> tuple[str, ...]:
    scores = (entry.maps_miou, entry.masks_miou, entry.model_miou)
    cells = ("" if score is None else f"{100 * score:.2f}" for score in scores)
    stages, size = f"{entry.done}/{entry.stages}", size_text(entry.bytes)
    return (entry.path.name, entry.data, entry.maps, *cells, stages, f"{entry.minutes:.1f}", size)


def _files(place: Path) -> Iterator[Path]:
    """Files below a folder, or the file itself; links to folders, such as those to the stages in force, are not
    followed."""
    if not place.is_dir() or place.is_symlink():
        yield place
        return
    for folder, _, names in os.walk(place):
        for name in names:
            yield Path(folder, name)


def _sizes(paths: Iterable[Path]) -> dict[tuple[int, int], int]:
    """Bytes of each file on disk, however many of its names are among the paths."""
    sizes = {}
    for path in paths:
        with suppress(OSError):  # gone meanwhile
            status = path.lstat()
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sizes


def _freed(places: Iterable[Path]) -> int:
    """Bytes of the files that have no name outside these places."""
    names: dict[tuple[int, int], int] = {}
    links: dict[tuple[int, int], tuple[int, int]] = {}
    for path in (path for place in places for path in _files(place)):
        with suppress(OSError):
            status = path.lstat()
            file = status.st_dev, status.st_ino
            names[file] = names.get(file, 0) + 1
            links[file] = status.st_nlink, status.st_size
    return sum(size for file, (count, size) in links.items() if names[file] >= count)


def _unused_stages(run: RunFolder, keys: dict[str, str]) -> list[Path]:
    """Folders of stages that the settings in force do not name; check and report, which no settings name, stay while
    the run shows them."""
    base = run.root / STAGES
    unused = []
    for path in _stage_folders(base):
        name = path.parent.relative_to(base).as_posix()
        link = run.root / name
        shown = name in (CHECK, REPORT) and link.is_symlink() and link.resolve() == path.resolve()
        if keys.get(name) != path.name and not shown:
            unused.append(path)
    return unused


def _stage_folders(base: Path) -> Iterator[Path]:
    """Every folder of a stage, also one without a record, as of a process that was killed at its start."""
    for path in sorted(base.iterdir()) if base.is_dir() else ():
        if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
            if _KEY.match(path.name):
                yield path
            else:
                yield from _stage_folders(path)


def _leftovers(place: Path, removed: Iterable[Path]) -> Iterator[Path]:
    """Half-written files and folders of a run, except those inside what is removed anyway."""
    gone = set(removed)
    for folder, folders, names in os.walk(place):
        inner = [name for name in folders if Path(folder, name) not in gone]
        yield from (Path(folder, name) for name in (*inner, *names) if is_leftover(name))
        folders[:] = [name for name in inner if not is_leftover(name)]


def _remove(path: Path) -> None:
    """Remove a file or folder, and the folders above it that are empty then, up to those of the stages."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        parent = path.parent
        while parent.name != STAGES and STAGES in parent.parts and not any(parent.iterdir()):
            parent.rmdir()
            parent = parent.parent
    else:
        path.unlink(missing_ok=True)
