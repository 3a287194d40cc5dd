"""How far a run is, read from its folder, also while another process works on it: ``recam status``."""

from __future__ import annotations

import fcntl
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from recam.errors import StoreError, printable
from recam.progress import minutes_text
from recam.runfolder.journal import ProgressRecord, read_progress
from recam.runfolder.lock import LOCK
from recam.runfolder.store import RunFolder, open_run
from recam.runfolder.summary import read_planned

State = Literal["works", "stopped", "finished"]


@dataclass(frozen=True)
class StageStatus:
    """A stage of a run.

    Attributes:
        name: the stage.
        state: ``finished``, ``works``, ``begun`` (it resumes) or ``open``.
        minutes: that it took or has taken; None: it has not begun.
        planned: minutes that a plan gave it; None: not known.
    """

    name: str
    state: str
    minutes: float | None
    planned: float | None


@dataclass(frozen=True)
class RunStatus:
    """How far a run is; prints itself.

    Attributes:
        root: the run folder.
        state: ``works``: a process works on it; ``stopped``: none does, and the same command goes on; ``finished``.
        process: what works on it, e.g. ``process 4711``; empty: nothing.
        now: what it does at present, in words.
        age: seconds since `progress.json` was written; None: there is none.
        left: seconds until all is done, as estimated; None: not known.
        stages: in order, as the settings in force name them.
    """

    root: Path
    state: State
    process: str
    now: str
    age: float | None
    left: float | None
    stages: tuple[StageStatus, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "root": str(self.root), "stages": [asdict(stage) for stage in self.stages]}

    def __str__(self) -> str:
        done = sum(stage.state == "finished" for stage in self.stages)
        head = f"{self.root}: {done} of {len(self.stages)} stages are finished"
        age = f" ({self.age:.0f} s ago)" if self.age is not None and self.age > 60 else ""
        state = {
            "works": f"{self.process} works on it{f': {self.now}' * bool(self.now)}{age}",
            "stopped": "nothing works on it: the same command goes on where it ended",
            "finished": "nothing is left to do",
        }[self.state]
        lines = [head, state]
        if self.left is not None:
            lines.append(f"about {minutes_text(self.left)} left in all")
        wide = max((20, *(len(stage.name) + 2 for stage in self.stages)))
        lines += ["", f"{'stage':<{wide}}{'minutes':>8} {'planned':>8}"]
        for stage in self.stages:
            cells = ("" if each is None else f"{each:.2f}" for each in (stage.minutes, stage.planned))
            lines.append(f"{stage.name:<{wide}}{' '.join(f'{cell:>8}' for cell in cells)}  {stage.state}")
        return "\n".join(map(printable, lines))


def read_status(path: str | Path) -> RunStatus:
    """How far a run is.

    Args:
        path: the run folder.

    Raises:
        StoreError: it is none, or its ``run.json`` is damaged.
    """
    folder = open_run(path)
    process = _worker(folder.root)
    found = read_progress(folder.root) if process else None
    planned = read_planned(folder)
    stages = tuple(
        _stage(folder, name, key, found.stage if found else "", planned.get((name, key)))
        for name, key in folder.keys.items()
    )
    is_finished = all(stage.state == "finished" for stage in stages)
    state: State = "works" if process else "finished" if is_finished else "stopped"
    age = max(0.0, time.time() - found.time) if found else None
    left = found.overall.left if found and found.overall else None
    return RunStatus(folder.root, state, process, _describe(found) if found else "", age, left, stages)


def _stage(folder: RunFolder, name: str, key: str, present: str, expected: float | None) -> StageStatus:
    try:
        record = folder.at(name, key).record
    except StoreError:
        return StageStatus(name, "damaged", None, expected)
    if record.get("state") == "done":
        return StageStatus(name, "finished", record["seconds"] / 60, expected)
    state = "works" if name == present else "begun" if record else "open"
    spent = record["seconds"] / 60 if record else None
    return StageStatus(name, state, spent, expected)


def _describe(found: ProgressRecord) -> str:
    """What it works on, in words."""
    if not found.stage:
        return ""
    stage = f"stage {found.overall.stage} of {found.overall.stages}, {found.stage}" if found.overall else found.stage
    if not (work := found.work):
        return stage
    left = f", {minutes_text(work.left)} left" if work.left is not None else ""
    what = f"{work.what}, " if work.what != found.stage else ""
    note = f", {work.note}" if work.note else ""
    return f"{stage}: {what}{work.done}/{work.total} {work.unit}, {work.speed:.1f} {work.unit}/s{left}{note}"


def _worker(root: Path) -> str:
    """The process that holds the run's lock, as it names itself; empty: none does."""
    try:
        with (root / LOCK).open() as file:
            name = file.read().strip()
            if not name:
                return ""
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return name
    except OSError:
        return ""
    return ""  # it was killed
