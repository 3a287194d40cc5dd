"""What a piece of work costs: seconds, and peak memory of this process and its workers."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import psutil
import torch

from recam.engine.memory import held_memory

INTERVAL = 0.2
"""Seconds between two readings of the memory."""
SHARE = 0.05
"""Readings of several processes may take this share of a core; where they are slow, they become rarer."""


class Measure:
    """Measures a ``with`` block.

    Attributes:
        seconds: wall time.
        peak_memory_mb: most memory (MiB), read every 0.2 s: resident memory of this process, and of its workers what
            they do not share, since a worker begins as a copy of this process that takes no memory of its own.
        peak_gpu_mb: most memory (MiB) allocated on the current GPU; 0 without one.
    """

    seconds = 0.0
    peak_memory_mb = 0.0
    peak_gpu_mb = 0.0

    def __enter__(self) -> Measure:
        self._start = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.seconds = time.monotonic() - self._start
        if torch.cuda.is_available():
            self.peak_gpu_mb = torch.cuda.max_memory_allocated() / 2**20

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            start = time.thread_time()
            self.peak_memory_mb = max(self.peak_memory_mb, held_memory(process) / 2**20)
            if self._stop.wait(max(INTERVAL, (time.thread_time() - start) / SHARE)):
                return
