"""Memory of this process and its workers."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def held_memory(process: psutil.Process) -> int:
    """Resident memory (bytes) of a process, and what processes that it has started hold besides."""
    total: int = process.memory_info().rss
    for child in _children(process):
        with suppress(psutil.Error):  # a worker that has just ended
            total += child.memory_full_info().uss
    return total


def resident_memory() -> int:
    """Resident memory (bytes) of this process."""
    resident: int = psutil.Process().memory_info().rss
    return resident


def forget_peak() -> None:
    """Have `peak_memory` count from now on, where the system can."""
    with suppress(OSError):  # another system than Linux, or one that forbids it
        _CLEAR.write_text("5")


def peak_memory() -> int:
    """Most resident memory (bytes) of this process since `forget_peak`; where the system does not report it, what
    is resident now."""
    with suppress(OSError, ValueError, IndexError):
        return int(_STATUS.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resident_memory()


def release_memory() -> None:
    """Give back to the system what is free: glibc keeps it, gigabytes after networks have read images of many sizes,
    also for workers that are started later."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def loaded_set_aside() -> Iterator[None]:
    """Inside, the garbage collector passes over what is loaded now: with PyTorch's half a million objects each of its
    full runs, of which there are several per stage, takes a third of a second. What whoever calls has set aside already
    stays so."""
    if gc.get_freeze_count():
        yield
        return
    gc.collect()  # garbage that is set aside would stay
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []
