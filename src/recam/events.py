"""What long work reports, as events for a function of the caller's: ``recam.run(…, progress=print)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from recam.progress import Listener, Overall, Progress, listener, minutes_text


@dataclass(frozen=True)
class Event:
    """Something that long work reports; prints itself.

    Attributes:
        kind: ``progress``: work has advanced; ``values``: losses or scores of a training; ``message``: for people.
        what: the work or training, e.g. ``train/recam``; empty for a message.
        done, total, unit: of progress, how many of how many of what.
        speed: of progress, units/s.
        left: of progress, seconds until this work is done; None: not known.
        note: of progress, what is shown beside it, e.g. a loss.
        overall: of progress, the stage of the run and the seconds until all is done; None: not known.
        step: of values, after so many steps.
        values: losses or scores by name.
        text: of a message.
    """

    kind: Literal["progress", "values", "message"]
    what: str = ""
    done: int = 0
    total: int = 0
    unit: str = "images"
    speed: float = 0.0
    left: float | None = None
    note: str = ""
    overall: Overall | None = None
    step: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    text: str = ""

    def __str__(self) -> str:
        if self.kind == "message":
            return self.text
        if self.kind == "values":
            return f"{self.what}, step {self.step}: " + ", ".join(f"{n} {v:.4g}" for n, v in self.values.items())
        left = "" if self.left is None else f", {minutes_text(self.left)} left"
        overall = "" if self.overall is None else f"; {self.overall}"
        note = f", {self.note}" if self.note else ""
        return f"{self.what}: {self.done}/{self.total} {self.unit}{left}{note}{overall}"


@dataclass(frozen=True)
class Caller(Listener):
    """A `Listener` that calls a function with each `Event`; what that raises ends the work, which can be resumed."""

    call: Callable[[Event], object]

    def message(self, text: str) -> None:
        self.call(Event("message", text=text))

    def advanced(self, progress: Progress, note: str) -> None:
        counted = {"done": progress.done, "total": progress.total, "unit": progress.unit}
        pace = {"speed": progress.speed, "left": progress.left}
        receiver = listener.get()
        overall = receiver.overall(progress) if receiver else None
        self.call(Event("progress", progress.what, **counted, **pace, note=note, overall=overall))  # type: ignore[arg-type]

    def measured(self, what: str, step: int, values: Mapping[str, float]) -> None:
        self.call(Event("values", what, step=step, values=dict(values)))

    def overall(self, progress: Progress) -> Overall | None:
        """Not known here: another listener does."""


@dataclass(frozen=True)
class Several(Listener):
    """Several listeners as one; the first that knows the progress of the run reports it."""

    listeners: Sequence[Listener]

    def message(self, text: str) -> None:
        for each in self.listeners:
            each.message(text)

    def advanced(self, progress: Progress, note: str) -> None:
        for each in self.listeners:
            each.advanced(progress, note)

    def measured(self, what: str, step: int, values: Mapping[str, float]) -> None:
        for each in self.listeners:
            each.measured(what, step, values)

    def overall(self, progress: Progress) -> Overall | None:
        found = (each.overall(progress) for each in self.listeners)
        return next((overall for overall in found if overall), None)
