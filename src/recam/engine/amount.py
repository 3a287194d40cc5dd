"""How much work a stage is: what it does over and over, how often, and how one turn of that is tried on this machine.

A stage describes its own work beside its function (`recam.engine.stage.Stage.amounts`); `recam.engine.forecast` times
the turns and multiplies. So a plan knows a new stage on the day that it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from recam.engine.bench import Bench
from recam.types import Sample

Turn = Callable[[Sample], float | None]
"""Does one turn, of an image where the turn is of one; returns which part of a turn it was where it did not do all of
it, such as 0.25 for a step of 4 images instead of 16; None: all."""
Spread = Literal["", "pool", "threads", "loader"]
"""Who does it: the process itself; worker processes, one per core; threads, one per core; or the processes that load
batches while the process itself takes steps."""


@dataclass(frozen=True)
class Amount:
    """Work of one kind in a stage.

    Attributes:
        what: what one turn is, e.g. ``step of 16 images``.
        turns: how many there are in all, over all processes.
        set_up: prepares on the bench what a turn needs, and returns the turn; nothing of it is trained, since what has
            been learned changes no time.
        given: what the cost of a turn depends on, JSON-ready: amounts that agree in this and in `what` are tried once.
        spread: who does it.
        files: turns whose files stay on disk; None: of all.
        holds: bytes that all turns together hold in memory, beside what a single one takes.
    """

    what: str
    turns: float
    set_up: Callable[[Bench], Turn]
    given: Any = None
    spread: Spread = ""
    files: float | None = None
    holds: float = 0.0
