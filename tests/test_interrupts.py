"""Ctrl-C is never lost while worker processes start, and workers leave it to the process that they work for."""

import logging
import multiprocessing
import os
import signal
import threading
from types import SimpleNamespace

import pytest

from recam.engine.compute import ComputeSettings
from recam.engine.tasks import Plain
from recam.engine.work import Work
from recam.interrupts import interrupts_deferred
from recam.runfolder.store import StageFolder
from recam.training.loader import EpochBatches, make_loader, read_batches

FORKS = pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="workers are no copies of this process")
_press: list[bool] = []


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """Where tests run in the background of a shell, Ctrl-C is ignored from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _press_ctrl_c() -> None:
    """As if Ctrl-C were pressed while the process is copied: the first Python code after that is such a function."""
    if _press:
        _press.clear()
        os.kill(os.getpid(), signal.SIGINT)
        logging.getLogger(__name__).debug("some Python code, in which the signal takes effect")


os.register_at_fork(after_in_parent=_press_ctrl_c)


@pytest.fixture
def ctrl_c_at_next_fork():
    """Calls the fixture to arm it."""
    yield lambda: _press.append(True)
    _press.clear()


def fork():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def test_a_ctrl_c_at_a_fork_takes_effect_at_the_end_of_the_block(ctrl_c_at_next_fork):
    ctrl_c_at_next_fork()
    reached = []

    def start():
        with interrupts_deferred():
            fork()
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_handler_is_put_back_after_an_error():
    with pytest.raises(ZeroDivisionError), interrupts_deferred():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_is_deferred_where_no_signal_arrives(monkeypatch):
    handlers = []

    def ask():
        with interrupts_deferred():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        ask()
    finally:
        signal.signal(signal.SIGINT, before)
    assert handlers == [signal.default_int_handler, signal.SIG_IGN]


@FORKS
def test_a_ctrl_c_while_a_pool_starts_ends_the_work(ctrl_c_at_next_fork, tmp_path):
    accelerator = SimpleNamespace(process_index=0, num_processes=1, is_main_process=True)
    work = Work(None, StageFolder("masks", tmp_path, "key"), {}, accelerator, ComputeSettings(workers=2))
    ctrl_c_at_next_fork()
    with pytest.raises(KeyboardInterrupt):
        work.each(range(4), Plain(lambda number: False, str), processes=True)


@FORKS
def test_a_ctrl_c_while_a_loader_starts_ends_the_reading(ctrl_c_at_next_fork):
    loader = make_loader([{"x": 1}] * 4, EpochBatches(n=4, batch=2, epochs=1, seed=0), workers=1, pin=False)
    ctrl_c_at_next_fork()
    with pytest.raises(KeyboardInterrupt):
        next(read_batches(loader))
