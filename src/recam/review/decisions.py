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
    """One line of the log: what was set of which images, or which line was undone or counts again. Fields that are not
    named stay as they were.

    Attributes:
        first: number of the first line of a decision that takes several, as where images are accepted of different
            layers at once; they are undone together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int
    time: float
    tab: str
    ids: tuple[str, ...] = ()
    set: dict[str, Any] = {}
    undo: int | None = None
    redo: int | None = None
    first: int | None = None

    @property
    def decides(self) -> bool:
        """Whether it sets something, which can be undone."""
        return self.undo is None and self.redo is None

    @property
    def decision(self) -> int:
        """Number of the decision that it is a line of."""
        return self.n if self.first is None else self.first


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
        return self.add_together(tab, [(ids, fields)])

    def add_together(self, tab: str, parts: Sequence[tuple[Sequence[str], dict[str, Any]]]) -> int:
        """Decide on images, some one way and some another, as one decision with one undo: (ids, fields) of each part.
        As `add` does."""
        with self._lock:
            first = self.latest + 1 if len(parts) > 1 else None
            return self._append_all(tab, [{"ids": tuple(ids), "set": set_, "first": first} for ids, set_ in parts])

    def undo(self, tab: str) -> list[Event]:
        """Undo the tab's last decision that is not undone yet; gives its lines. Raises `UndoError` where there is
        none."""
        with self._lock:
            last = next((event for event in reversed(self.events) if self._counts(event, tab)), None)
            lines = [event for event in self._lines_of(last.decision) if self._counts(event, tab)] if last else []
            if not lines:
                raise UndoError("nothing to undo: this tab has decided nothing that still counts.")
            self._append_all(tab, [{"undo": event.n} for event in lines])
            return lines

    def redo(self, tab: str) -> list[Event]:
        """Let the decision count again that the tab undid last; gives its lines. Raises `UndoError` where there is
        none, as after a new decision."""
        with self._lock:
            undone: dict[int, None] = {}  # decisions of this tab, that undone last at the end
            for event in self.events:
                if event.tab == tab and event.decides:
                    undone.clear()
                elif event.tab == tab and (named := self._named(event)):
                    undone.pop(named.decision, None)
                    undone |= {named.decision: None} if event.undo is not None else {}
            last = next(reversed(undone), None)
            lines = [event for event in self._lines_of(last) if event.n in self._undone] if last else []
            if not lines:
                raise UndoError("nothing to redo: this tab has undone nothing since it decided last.")
            self._append_all(tab, [{"redo": event.n} for event in lines])
            return lines

    def changes(self, since: int) -> dict[str, State]:
        """States of the images that lines after number `since` changed."""
        named = {number for event in self.events[since:] for number in (event.undo, event.redo) if number is not None}
        changed = [event for event in self.events if event.n > since or event.n in named]
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
                if not 0 < event.decision <= event.n:
                    raise ValueError("a decision begins with a line before this one, or with this one")
                self._apply(event)
            except (ValueError, TypeError, RecursionError):  # a ValidationError is a ValueError
                self.damaged += 1
                self._apply(Event(n=len(self.events) + 1, time=0, tab=""))

    def _named(self, event: Event) -> Event | None:
        """The earlier line that this one undoes or lets count again; None where there is none."""
        n = event.redo if event.undo is None else event.undo
        return self.events[n - 1] if n is not None and 0 < n < event.n else None

    def _lines_of(self, decision: int) -> list[Event]:
        return [event for event in self.events[decision - 1 :] if event.decides and event.decision == decision]

    def _counts(self, event: Event, tab: str) -> bool:
        return event.tab == tab and event.decides and event.n not in self._undone

    def _append_all(self, tab: str, lines: Sequence[dict[str, Any]]) -> int:
        n, now = self.latest + 1, time.time()
        return self._append([Event(n=n + place, time=now, tab=tab, **line) for place, line in enumerate(lines)])

    def _append(self, events: Sequence[Event]) -> int:
        """Write lines, all or none of them, and give the number of the last."""
        found = (event.model_dump(mode="json", exclude_defaults=True) for event in events)
        lines = "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in found)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                if self._torn_at is not None:
                    os.ftruncate(file.fileno(), self._torn_at)
                    self._torn_at = None
                start = file.seek(0, os.SEEK_END)
                try:
                    file.write(lines.encode())
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.ftruncate(file.fileno(), start)  # half a line would spoil the next
                    raise
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written ({error.strerror}). The decision is not kept: free space, decide again."
            ) from error
        for event in events:
            self._apply(event)
        return events[-1].n

    def _apply(self, event: Event) -> None:
        named = self._named(event)
        self.events.append(event)
        touched: Sequence[str] = event.ids if event.decides else named.ids if named else ()
        if event.undo is not None:
            self._undone.add(event.undo)
        elif event.redo is not None:
            self._undone.discard(event.redo)
        for sample_id in touched:
            if event.decides:
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
