"""Decisions on images: an append-only log, one JSON object a line, each line on disk before it is acknowledged.

The state of an image follows from the lines that name it, in order, without those that were undone; so two open tabs
never contradict each other, the later line counts. A last line that a killed server left half written was never
acknowledged: it is cut off.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from recam.errors import RecamError, StoreError
from recam.runfolder.lock import hold_lock

Verdict = Literal["accepted", "rejected", "open"]
LOG = "decisions.jsonl"


class UndoError(RecamError):
    """There is nothing (any more) that could be undone."""


class MaskSource(BaseModel):
    """Which mask was judged.

    Attributes:
        layer: its name, such as ``masks`` or ``maps/recam/mul``, or ``corrected``.
        key: what the layer was made from; of a corrected mask the name of its file.
        threshold, class_thresholds: what made a mask of maps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layer: str = Field(max_length=200)
    key: str = Field("", max_length=64, pattern=r"^([\w-][\w.-]*)?$")
    threshold: float | None = Field(None, ge=0, le=1)
    class_thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}

    @field_validator("layer")
    @classmethod
    def _inside(cls, layer: str) -> str:
        # It becomes a part of a path below the run, and a log can come from anybody.
        if layer.startswith("/") or ".." in layer.split("/"):
            raise ValueError("a layer lies inside the run")
        return layer


class State(BaseModel):
    """What is decided of one image.

    Attributes:
        verdict: accepted, rejected, or open.
        source: the mask that was judged.
        labels: names of its corrected image labels; None: those of the data set.
        mask: file of its corrected mask, None where there is none.
        earlier: labels that it had between saving that mask and those of now, each as `labels`.
        tab: which tab decided last.
    """

    model_config = ConfigDict(frozen=True)

    verdict: Verdict = "open"
    source: MaskSource | None = None
    labels: tuple[str, ...] | None = None
    mask: Annotated[str, Field(pattern=r"^\w[\w-]*\.png$")] | None = None
    earlier: tuple[tuple[str, ...] | None, ...] = Field((), exclude=True)
    tab: str = ""


class Event(BaseModel):
    """One line of the log: what was set of which images, or which line was undone. Fields that are not named stay as
    they were."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int
    time: float
    tab: str
    ids: tuple[str, ...] = ()
    set: dict[str, Any] = {}
    undo: int | None = None


class Decisions:
    """The log of a run and what follows from it.

    Args:
        folder: RUN/review.

    Raises:
        StoreError: the log cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG
        self.damaged = 0
        """Lines in the middle that could not be read; they are left where they are and count for nothing."""
        self.events: list[Event] = []
        self._undone: set[int] = set()
        self._by_id: dict[str, list[Event]] = {}
        self._states: dict[str, State] = {}
        self._lock = threading.Lock()
        self._read()

    @property
    def latest(self) -> int:
        """Number of the last line; 0 before the first."""
        return self.events[-1].n if self.events else 0

    def state(self, sample_id: str) -> State:
        """What is decided of an image."""
        return self._states.get(sample_id, State())

    def add(self, tab: str, ids: Sequence[str], **fields: Any) -> int:
        """Decide on images; on disk when this returns. Gives the line's number. Raises `StoreError` where it cannot be
        written."""
        with self._lock:
            return self._append(Event(n=self.latest + 1, time=time.time(), tab=tab, ids=tuple(ids), set=fields))

    def undo(self, tab: str) -> Event:
        """Undo the tab's last decision that is not undone yet. Raises `UndoError` where there is none."""
        with self._lock:
            for event in reversed(self.events):
                if event.tab == tab and event.undo is None and event.n not in self._undone:
                    self._append(Event(n=self.latest + 1, time=time.time(), tab=tab, undo=event.n))
                    return event
        raise UndoError("nothing to undo: this tab has decided nothing that still counts.")

    def changes(self, since: int) -> dict[str, State]:
        """States of the images that lines after number `since` changed."""
        undone = {event.undo for event in self.events[since:] if event.undo is not None}
        changed = [event for event in self.events if event.n > since or event.n in undone]
        return {sample_id: self.state(sample_id) for event in changed for sample_id in event.ids}

    def decided(self) -> dict[str, State]:
        """States of all images that any line names."""
        return dict(self._states)

    def _read(self) -> None:
        try:
            content = self.path.read_bytes() if self.path.is_file() else b""
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read ({error.strerror}). Give read permission.") from error
        whole = content[: content.rfind(b"\n") + 1]
        # Cut off when the next line is written, not now: another process may be a reader only, beside a server that is
        # writing.
        self._torn_at = len(whole) if len(whole) < len(content) else None
        for line in whole.splitlines():
            try:
                # Numbers follow from the order of the lines, also where one of them is damaged.
                found = json.loads(line)
                if not isinstance(found, dict):
                    raise ValueError("a line holds one object")
                event = Event.model_validate(found | {"n": len(self.events) + 1})
                State.model_validate(event.set)
                self._apply(event)
            except (ValueError, TypeError, RecursionError):  # a ValidationError is a ValueError
                self.damaged += 1
                self._apply(Event(n=len(self.events) + 1, time=0, tab=""))

    def _append(self, event: Event) -> int:
        line = json.dumps(event.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                if self._torn_at is not None:
                    os.ftruncate(file.fileno(), self._torn_at)
                    self._torn_at = None
                start = file.seek(0, os.SEEK_END)
                try:
                    file.write(f"{line}\n".encode())
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.ftruncate(file.fileno(), start)  # half a line would spoil the next
                    raise
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written ({error.strerror}). The decision is not kept: free space, decide again."
            ) from error
        self._apply(event)
        return event.n

    def _apply(self, event: Event) -> None:
        self.events.append(event)
        touched: Sequence[str] = event.ids
        if event.undo is not None:
            self._undone.add(event.undo)
            touched = self.events[event.undo - 1].ids if 0 < event.undo < event.n else ()
        for sample_id in touched:
            if event.undo is None:
                self._by_id.setdefault(sample_id, []).append(event)
            self._states[sample_id] = self._fold(sample_id)

    def _fold(self, sample_id: str) -> State:
        fields: dict[str, Any] = {}
        earlier: list[Any] = []
        for event in self._by_id.get(sample_id, ()):
            if event.n in self._undone:
                continue
            if event.set.get("mask"):
                earlier = []  # painted with the labels of this moment on the screen
            elif "labels" in event.set and fields.get("mask"):
                earlier.append(fields.get("labels"))
            fields |= {**event.set, "tab": event.tab}
        return State.model_validate(fields | {"earlier": earlier})


def only_reviewer(folder: Path) -> AbstractContextManager[None]:
    """Keep a second server from writing the same log. Raises `StoreError` where one does; a killed one leaves no
    lock."""
    return hold_lock(
        folder,
        "review.lock",
        "No decision could be kept: give write permission.",
        "{root} is open in another `recam review`. Use its page, or stop it first.",
    )
