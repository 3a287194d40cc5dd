"""Ctrl-C that is never lost while worker processes start.

`os.fork` runs functions of other modules before and after it (those of `logging`, for one), and Python drops an
exception in these with "Exception ignored in …". To copy a large process takes a while, and a Ctrl-C of that time
becomes a KeyboardInterrupt in the first of these functions: the run continued as if nobody had pressed anything.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """A Ctrl-C in the block takes effect at its end. Processes that are started in it ignore it, until they decide for
    themselves.

    Does nothing outside the main thread, which alone receives signals, and where Ctrl-C means something else than
    Python's.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    received: list[tuple[int, FrameType | None]] = []
    # Not a mask: another thread would take the signal, and the main one would raise all the same.
    signal.signal(signal.SIGINT, lambda number, frame: received.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if received:
            before(*received[0])


def ignore_interrupts() -> None:
    """For the first moment of a worker: Ctrl-C reaches all processes of a terminal, and the one that they work for
    reports it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
