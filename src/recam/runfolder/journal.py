"""What a run tells while it works, kept in its folder: messages in ``run.log``, losses and scores in
``metrics.jsonl``, how far it is in ``progress.json``, which `recam.runfolder.status` reads from elsewhere."""

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
from recam.progress import Progress, Whole, listener
from recam.runfolder.store import read_json, write_json

LOG, METRICS, PROGRESS = "run.log", "metrics.jsonl", "progress.json"
EVERY = 5.0
"""Seconds between two writings of ``progress.json``."""
FASTEST, SLOWEST = 0.2, 5.0
"""A machine is taken to be so many times as slow as planned, at least and at most."""


class Work(BaseModel):
    """The work at hand, as `recam.progress.Progress` counts it."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    what: str
    done: int
    total: int
    unit: str
    speed: float
    left: float | None
    note: str


class Part(BaseModel):
    """How far all of the run is: `recam.progress.Whole`."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    part: int
    parts: int
    left: float | None


class Told(BaseModel):
    """What ``progress.json`` holds.

    Attributes:
        process: number of the process that works.
        time: when it was written, seconds since 1970.
        stage: the stage at hand; empty: between two.
        work: how far that is; None: not known.
        whole: how far the run is; None: not known.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    process: int
    time: float
    stage: str
    work: Work | None = None
    whole: Part | None = None


@dataclass
class Journal:
    """Hears a run, see `recam.progress.Listener`; in the process that made it, not in copies of it. Nothing is written
    before a stage begins, so that a run that has nothing to do leaves its folder as it was. What cannot be written is
    left out: nothing hangs on it.

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
    _kept: list[str] = field(default_factory=list)
    """Messages before the first stage."""

    def expect(self, planned: Mapping[str, float | None]) -> None:
        """The run is to make these stages, in order; what it has made already stays."""
        self.planned = {**{name: self.planned.get(name) for name in self._done}, **planned}

    def begin(self, stage: str, resumes: bool) -> None:
        """A stage begins."""
        self._stage, self._began = stage, time.monotonic()
        self._begun = True
        self.told(f"{stage}{' resumes' * resumes}")
        self._write()

    def end(self, stage: str, seconds: float) -> None:
        """A stage has been made, in so many seconds."""
        self._done[stage], self._stage = seconds, ""
        self.told(f"{stage} is finished after {seconds / 60:.2f} min")

    def told(self, text: str) -> None:
        self._kept.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')} " + text.replace("\n", "\n    "))
        if self._begun:
            self._append(LOG, "\n".join(self._kept))
            self._kept.clear()

    def advanced(self, progress: Progress, note: str) -> None:
        if time.monotonic() - self._written >= EVERY:
            own = {name: getattr(progress, name) for name in ("what", "done", "total", "unit", "speed", "left")}
            self._write(Work(**own, note=note), progress)

    def measured(self, what: str, step: int, values: Mapping[str, float]) -> None:
        now = {"time": round(time.time(), 3), "stage": what, "step": step}
        self._append(METRICS, json.dumps({**now, **values}))

    def whole(self, progress: Progress | None) -> Whole | None:
        if not (self.planned and self._stage):
            return None
        parts = dict.fromkeys((*self.planned, *self._done, self._stage))
        return Whole(len(self._done) + 1, len(parts), self._left(progress))

    def _left(self, progress: Progress | None) -> float | None:
        """Seconds until the run is done: plans of what is to be made, times how much slower than planned the stages
        were that are finished."""
        ahead = [name for name in self.planned if name not in self._done and name != self._stage]
        known = [seconds for name in ahead if (seconds := self.planned[name]) is not None]
        present = self.planned.get(self._stage)
        if not known and present is None:
            return None
        slower = self._slower()
        spent = time.monotonic() - self._began
        rest = max(0.0, slower * (present or 0.0) - spent)
        if progress and progress.what == self._stage and progress.left is not None:
            rest = progress.left
        return rest + slower * sum(known)

    def _slower(self) -> float:
        pairs = [(seconds, planned) for name, seconds in self._done.items() if (planned := self.planned.get(name))]
        if not pairs:
            return 1.0
        took, planned = sum(each for each, _ in pairs), sum(each for _, each in pairs)
        return min(max(took / planned, FASTEST), SLOWEST)

    def _append(self, name: str, line: str) -> None:
        if os.getpid() != self._own:
            return
        with suppress(OSError), (self.root / name).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{line}\n")

    def _write(self, work: Work | None = None, progress: Progress | None = None) -> None:
        self._written = time.monotonic()
        if os.getpid() != self._own:
            return
        whole = self.whole(progress)
        part = Part(part=whole.part, parts=whole.parts, left=whole.left) if whole else None
        told = Told(process=self._own, time=time.time(), stage=self._stage, work=work, whole=part)
        with suppress(StoreError, OSError):
            write_json(self.root / PROGRESS, told.model_dump())

    def close(self) -> None:
        """The run is over, for now."""
        if os.getpid() == self._own:
            with suppress(OSError):
                (self.root / PROGRESS).unlink(missing_ok=True)


@contextmanager
def keep_journal(root: Path) -> Iterator[Journal]:
    """A journal that hears all that this thread does within the block, and says how it ended."""
    journal = Journal(root)
    journal.told(f"process {os.getpid()} begins")
    token = listener.set(journal)
    try:
        yield journal
        journal.told("done")
    except BaseException as error:
        journal.told(f"ended by {type(error).__name__}: {error}" if str(error) else f"ended by {type(error).__name__}")
        raise
    finally:
        listener.reset(token)
        journal.close()


def read_told(root: Path) -> Told | None:
    """What a run's ``progress.json`` says; None where there is none, or a damaged one, on which nothing hangs."""
    try:
        return Told.model_validate(read_json(root / PROGRESS))
    except (StoreError, ValidationError):
        return None
