"""What a run reports while it works, kept in its folder: messages in ``run.log``, losses and scores in
``metrics.jsonl``, progress in ``progress.json``, which `recam.runfolder.status` reads from any process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from recam.errors import StoreError
from recam.events import Several
from recam.progress import Listener, Overall, Progress, listener
from recam.runfolder.store import read_json, write_json

LOG, METRICS, PROGRESS = "run.log", "metrics.jsonl", "progress.json"
EVERY = 5.0
"""Seconds between two writings of ``progress.json``."""
SLOWDOWN = (0.2, 5.0)
"""Bounds of real time over planned time, when the time left is estimated from plans."""


class CurrentWork(BaseModel):
    """The present work, as `recam.progress.Progress` counts it."""

    model_config = ConfigDict(allow_inf_nan=False)
    what: str
    done: int
    total: int
    unit: str
    speed: float
    left: float | None
    note: str


class ProgressRecord(BaseModel):
    """Content of ``progress.json``.

    Attributes:
        process: ID of the process.
        time: when it was written, seconds since 1970.
        stage: the present one; empty: between two.
        work: progress of that; None: not known.
        overall: progress of the run; None: not known.
    """

    model_config = ConfigDict(allow_inf_nan=False)
    process: int
    time: float
    stage: str
    work: CurrentWork | None = None
    overall: Overall | None = None


@dataclass
class Journal:
    """The `recam.progress.Listener` of a run, in the process that made it and not in forks of it. Nothing is written
    before a stage begins, so that a run with nothing to do leaves its folder as it was. What cannot be written is left
    out: no result depends on it.

    Attributes:
        root: the run folder.
        planned: seconds that each stage of the run was planned to take, None: not known; finished ones left out.
    """

    root: Path
    planned: dict[str, float | None] = field(default_factory=dict)
    _own: int = field(default_factory=os.getpid)
    _done: dict[str, float] = field(default_factory=dict)
    _stage: str = ""
    _began: float = 0.0
    _begun: bool = False
    _written: float = float("-inf")
    _waiting: list[str] = field(default_factory=list)
    """Messages of before the first stage."""

    def expect(self, planned: Mapping[str, float | None]) -> None:
        """The run is to make these stages, in order; what it has made already stays."""
        self.planned = {**{name: self.planned.get(name) for name in self._done}, **planned}

    def begin(self, stage: str, resumes: bool) -> None:
        """A stage begins."""
        self._stage, self._began = stage, time.monotonic()
        self._begun = True
        self.message(f"{stage}{' resumes' * resumes}")
        self._write()

    def end(self, stage: str, seconds: float) -> None:
        """A stage has been made, in so many seconds."""
        self._done[stage], self._stage = seconds, ""
        self.message(f"{stage} is finished after {seconds / 60:.2f} min")

    def message(self, text: str) -> None:
        self._waiting.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')} " + text.replace("\n", "\n    "))
        if self._begun:
            self._append(LOG, "\n".join(self._waiting))
            self._waiting.clear()

    def advanced(self, progress: Progress, note: str) -> None:
        if time.monotonic() - self._written >= EVERY:
            own = {name: getattr(progress, name) for name in ("what", "done", "total", "unit", "speed", "left")}
            self._write(CurrentWork(**own, note=note), progress)

    def measured(self, what: str, step: int, values: Mapping[str, float]) -> None:
        now = {"time": round(time.time(), 3), "stage": what, "step": step}
        self._append(METRICS, json.dumps({**now, **values}))

    def overall(self, progress: Progress | None) -> Overall | None:
        if not (self.planned and self._stage):
            return None
        stages = dict.fromkeys((*self.planned, *self._done, self._stage))
        return Overall(len(self._done) + 1, len(stages), self._left(progress))

    def _left(self, progress: Progress | None) -> float | None:
        """Seconds until the run is done: plans of what is to be made, times how much slower than planned the stages
        were that are finished."""
        ahead = [name for name in self.planned if name not in self._done and name != self._stage]
        known = [seconds for name in ahead if (seconds := self.planned[name]) is not None]
        present = self.planned.get(self._stage)
        if not known and present is None:
            return None
        slowdown = self._slowdown()
        spent = time.monotonic() - self._began
        rest = max(0.0, slowdown * (present or 0.0) - spent)
        if progress and progress.what == self._stage and progress.left is not None:
            rest = progress.left
        return rest + slowdown * sum(known)

    def _slowdown(self) -> float:
        pairs = [(seconds, planned) for name, seconds in self._done.items() if (planned := self.planned.get(name))]
        if not pairs:
            return 1.0
        took, planned = sum(each for each, _ in pairs), sum(each for _, each in pairs)
        least, most = SLOWDOWN
        return min(max(took / planned, least), most)

    def _append(self, name: str, line: str) -> None:
        if os.getpid() != self._own:
            return
        with suppress(OSError), (self.root / name).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{line}\n")

    def _write(self, work: CurrentWork | None = None, progress: Progress | None = None) -> None:
        self._written = time.monotonic()
        if os.getpid() != self._own:
            return
        overall = self.overall(progress)
        record = ProgressRecord(process=self._own, time=time.time(), stage=self._stage, work=work, overall=overall)
        with suppress(StoreError, OSError):
            write_json(self.root / PROGRESS, record.model_dump())

    def close(self) -> None:
        """The run is over, for now."""
        if os.getpid() == self._own:
            with suppress(OSError):
                (self.root / PROGRESS).unlink(missing_ok=True)


@contextmanager
def keep_journal(root: Path, *others: Listener) -> Iterator[Journal]:
    """The journal of all that this thread does within the block, and of how it ended.

    Args:
        root: the run folder.
        others: receive the same; what they raise ends the block.
    """
    journal = Journal(root)
    journal.message(f"process {os.getpid()} begins")
    token = listener.set(Several([journal, *others]) if others else journal)
    try:
        yield journal
        journal.message("done")
    except BaseException as error:
        journal.message(f"ended by {type(error).__name__}" + (f": {error}" if str(error) else ""))
        raise
    finally:
        listener.reset(token)
        journal.close()


def read_progress(root: Path) -> ProgressRecord | None:
    """A run's ``progress.json``; None where there is none, or a damaged one, since no result depends on it."""
    try:
        return ProgressRecord.model_validate(read_json(root / PROGRESS))
    except (StoreError, ValidationError):
        return None
