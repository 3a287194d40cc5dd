"""What a piece of work costs."""

import gc
import multiprocessing
import sys
import time
import weakref

import numpy as np
import psutil
import pytest

from recam.engine.measure import Measure
from recam.engine.memory import held_memory, loaded_set_aside, release_memory

MIB = 2**20


def test_memory_that_was_given_back_counts_and_so_does_time():
    before, start = held_memory(psutil.Process()) / MIB, time.monotonic()  # other tests have started processes
    with Measure() as cost:
        held = np.ones(200 * MIB, np.uint8)
        time.sleep(0.5)
        del held
    assert 190 < cost.peak_memory_mb - before < 260
    assert 0.5 <= cost.seconds <= time.monotonic() - start
    assert cost.peak_gpu_mb >= 0


def _hold(own, ready, done):
    held = np.ones(own * MIB, np.uint8)
    ready.wait()
    done.wait()
    assert held[0]


def test_what_workers_share_with_their_parent_counts_once_and_their_own_each():
    shared = np.ones(300 * MIB, np.uint8)
    context = multiprocessing.get_context("fork")
    ready, done = context.Barrier(3), context.Event()
    alone = held_memory(psutil.Process()) / MIB
    workers = [context.Process(target=_hold, args=(own, ready, done)) for own in (50, 100)]
    for worker in workers:
        worker.start()
    try:
        ready.wait(timeout=300)
        together = held_memory(psutil.Process()) / MIB
    finally:
        done.set()
        for worker in workers:
            worker.join()
    assert shared[0]
    assert 140 < together - alone < 250


@pytest.mark.skipif(sys.platform != "linux", reason="gives back memory that glibc keeps")
def test_free_memory_is_given_back_to_the_system():
    process = psutil.Process()
    release_memory()
    blocks = [np.ones(MIB // 16, np.uint8) for _ in range(16 * 150)]  # too small for glibc to return each by itself
    after = np.ones(MIB // 16, np.uint8)
    held = process.memory_info().rss
    blocks.clear()
    release_memory()
    assert held - process.memory_info().rss > 100 * MIB
    assert after.all()


class Ring:
    """An object that holds itself: garbage that only the collector finds."""

    def __init__(self):
        self.own = self


def test_what_is_loaded_is_set_aside_and_comes_back(monkeypatch):
    monkeypatch.setattr(gc, "get_freeze_count", lambda: 0)  # the tests' own; see conftest
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append("set aside"))
    monkeypatch.setattr(gc, "unfreeze", lambda: frozen.append("back"))
    garbage = weakref.ref(Ring())
    with loaded_set_aside():
        assert garbage() is None
        assert frozen == ["set aside"]
    with pytest.raises(ZeroDivisionError), loaded_set_aside():
        raise ZeroDivisionError
    assert frozen == ["set aside", "back"] * 2


def test_what_a_caller_has_set_aside_stays_so(monkeypatch):
    monkeypatch.setattr(gc, "get_freeze_count", lambda: 1)
    monkeypatch.setattr(gc, "unfreeze", lambda: pytest.fail("it is not ours"))
    with loaded_set_aside():
        pass
