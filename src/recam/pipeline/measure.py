"""What a piece of work costs: seconds, and peak memory of this process and its workers."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import psutil
import torch

INTERVAL = 0.2
"""Seconds between two looks at the memory."""


class Measure:
    """Measures a ``with`` block.

    Attributes:
        seconds: wall time.
        peak_memory_mb: most resident memory (MiB) seen, worker processes included, looked at every 0.2 s.
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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self.seconds = time.monotonic() - self._start
        if torch.cuda.is_available():
            self.peak_gpu_mb = torch.cuda.max_memory_allocated() / 2**20

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            total = 0
            for each in (process, *_children(process)):
                try:
                    total += each.memory_info().rss
                except psutil.Error:  # a worker that has just ended
                    continue
            self.peak_memory_mb = max(self.peak_memory_mb, total / 2**20)
            if self._stop.wait(INTERVAL):
                return


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []
