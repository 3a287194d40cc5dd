"""Progress of long work: how far, how fast, how long still. A bar on a terminal, a line now and then in a log, and
events for a listener, such as the journal of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress

T = TypeVar("T")
LOG_EVERY = 15.0
"""Seconds between two lines where the output is no terminal."""

console = Console(stderr=True)


@dataclass(frozen=True)
class Overall:
    """Progress of the run that the present work is a stage of.

    Attributes:
        stage: number of the present stage, from 1.
        stages: of how many.
        left: seconds until all is done; None: not known.
    """

    stage: int
    stages: int
    left: float | None

    def __str__(self) -> str:
        return f"stage {self.stage} of {self.stages}" + (
            f", {minutes_text(self.left)} left in all" if self.left else ""
        )


class Listener(Protocol):
    """Receives what long work reports, beside the terminal."""

    def message(self, text: str) -> None:
        """A message for people, of one line or several."""

    def advanced(self, progress: Progress, note: str) -> None:
        """Work has advanced; `note` is what is shown beside, e.g. a loss."""

    def measured(self, what: str, step: int, values: Mapping[str, float]) -> None:
        """Losses or scores of a training by name, after so many steps."""

    def overall(self, progress: Progress) -> Overall | None:
        """Progress of the run, of which `progress` is the present work; None: not known."""


listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
"""The one of this thread; None: there is none."""


class Progress:
    """Counts units of work towards a total and shows speed and time left.

    Args:
        what: what is being done, e.g. ``"classify"``.
        total: units of work in all.
        done: units that an earlier run had finished; they do not count for the speed.
        unit: what is counted.
        quiet: show nothing (all processes but the first).
        after: seconds before anything is shown, for work that is usually over at once.

    Example:
        >>> with Progress("seeds", total=120, quiet=True) as progress:
        ...     progress.advance(8, note="loss 0.31")
    """

    def __init__(
        self, what: str, total: int, done: int = 0, unit: str = "images", quiet: bool = False, after: float = 0.0
    ) -> None:
        self.what, self.total, self.unit, self.quiet, self.after = what, total, unit, quiet, after
        self.done = self._done_before = done
        self._bar: RichProgress | None = None

    def __enter__(self) -> Progress:
        self._start = self._last_line = time.monotonic()
        if not self.after:
            self._start_bar()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def speed(self) -> float:
        """Units/s since this process began."""
        return (self.done - self._done_before) / max(time.monotonic() - self._start, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds until this work is done, at the present speed; None before anything is."""
        return (self.total - self.done) / self.speed if self.done > self._done_before else None

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more units are done; `note` is shown beside, e.g. a loss."""
        self.done += count
        if self.quiet:
            return
        if receiver := listener.get():
            receiver.advanced(self, note)
        if not self._bar and time.monotonic() - self._start >= self.after:
            self._start_bar()
        if self._bar:
            left = "" if self.left is None else minutes_text(self.left)
            speed = f"{self.speed:.1f} {self.unit}/s"
            self._bar.update(self._task, completed=self.done, speed=speed, left=left, note=note)
            self._update_overall()
        elif time.monotonic() - self._last_line >= LOG_EVERY:
            self._last_line = time.monotonic()
            shown = [
                f"{self}, {note}" if note else str(self),
                *([str(found)] if (found := self._find_overall()) else []),
            ]
            console.print("; ".join(shown), highlight=False, soft_wrap=True)

    def __str__(self) -> str:
        left = "" if self.left is None else f", {minutes_text(self.left)} left"
        return f"{self.what}: {self.done}/{self.total} {self.unit}, {self.speed:.1f} {self.unit}/s{left}"

    def _start_bar(self) -> None:
        if self.quiet or not console.is_terminal:
            return
        texts = (TextColumn("{task.fields[" + name + "]}") for name in ("speed", "left", "note"))
        self._bar = RichProgress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *texts, console=console
        )
        self._overall = self._bar.add_task("run", visible=False, speed="stages", left="", note="")
        self._task = self._bar.add_task(self.what, total=self.total, completed=self.done, speed="", left="", note="")
        self._update_overall()
        self._bar.start()

    def _update_overall(self) -> None:
        if self._bar and (overall := self._find_overall()):
            left = "" if overall.left is None else f"{minutes_text(overall.left)} left in all"
            self._bar.update(self._overall, total=overall.stages, completed=overall.stage - 1, left=left, visible=True)

    def _find_overall(self) -> Overall | None:
        receiver = listener.get()
        return receiver.overall(self) if receiver else None


def track(
    items: Iterable[T], what: str, total: int, unit: str = "images", quiet: bool = False, after: float = 0.0
) -> Iterator[T]:
    """`items`, with a `Progress` that advances by one after each."""
    with Progress(what, total, unit=unit, quiet=quiet, after=after) as progress:
        for item in items:
            yield item
            progress.advance()


def counter(what: str, unit: str = "images") -> Callable[[int, int], None]:
    """A callback (done, total) that shows its progress from the first call on."""
    shown: list[Progress] = []

    def update(done: int, total: int) -> None:
        if not shown:
            shown.append(Progress(what, total, unit=unit).__enter__())
        shown[0].advance(done - shown[0].done)
        if done == total:
            shown[0].__exit__(None, None, None)

    return update


def log_line(text: str) -> None:
    """A message for people, as it is, on standard error."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if receiver := listener.get():
        receiver.message(text)


def log_values(what: str, step: int, values: Mapping[str, float]) -> None:
    """Losses or scores of a training, for the listener.

    Args:
        what: the training.
        step: after so many steps.
        values: by name.
    """
    if receiver := listener.get():
        receiver.measured(what, step, values)


def minutes_text(seconds: float) -> str:
    """``0.4 min``, ``12 min`` or ``3.1 h``."""
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds < 600 else f"{seconds / 60:.0f} min"
