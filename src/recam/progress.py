"""Progress of long work: how far, how fast, how long still. A bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

T = TypeVar("T")
LOG_EVERY = 15.0
"""Seconds between two lines where the output is no terminal."""

console = Console(stderr=True)


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

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more units are done; `note` is shown beside, e.g. a loss."""
        self.done += count
        if self.quiet:
            return
        if not self._bar and time.monotonic() - self._start >= self.after:
            self._start_bar()
        if self._bar:
            self._bar.update(self._task, completed=self.done, speed=f"{self.speed:.1f} {self.unit}/s", note=note)
        elif time.monotonic() - self._last_line >= LOG_EVERY:
            self._last_line = time.monotonic()
            left = (self.total - self.done) / max(self.speed, 1e-9)
            console.print(
                f"{self.what}: {self.done}/{self.total} {self.unit}, {self.speed:.1f} {self.unit}/s, {left / 60:.1f}"
                f" min left {note}",
                highlight=False,
                soft_wrap=True,
            )

    def _start_bar(self) -> None:
        if self.quiet or not console.is_terminal:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        self._bar = RichProgress(*columns, TextColumn("{task.fields[note]}"), console=console)
        self._bar.start()
        self._task = self._bar.add_task(self.what, total=self.total, completed=self.done, speed="", note="")


def track(
    items: Iterable[T], what: str, total: int, unit: str = "images", quiet: bool = False, after: float = 0.0
) -> Iterator[T]:
    """`items`, with a `Progress` that advances by one after each."""
    with Progress(what, total, unit=unit, quiet=quiet, after=after) as progress:
        for item in items:
            yield item
            progress.advance()


def log_line(text: str) -> None:
    """A message for people, as it is, on standard error."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
