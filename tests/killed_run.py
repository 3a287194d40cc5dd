"""Runs in processes of their own that are killed without warning; used by tests of resuming."""

import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

from forked import CONTEXT, PATIENCE, begin


def _run(folder: Path, settings: dict[str, object], until: str | None) -> None:
    import recam

    begin()
    os.environ["COLUMNS"] = "200"
    recam.run(recipe="tiny", output=folder, settings=settings, until=until)


def start_run(folder: Path, settings: dict[str, object], until: str | None = None) -> BaseProcess:
    """Begin a tiny run in another process."""
    process = CONTEXT.Process(target=_run, args=(folder, settings, until))
    process.start()
    return process


def kill_when(process: BaseProcess, reached: object) -> None:
    """SIGKILL as soon as ``reached()`` is true; fails where the process ends before."""
    deadline = time.monotonic() + PATIENCE
    while not reached():  # type: ignore[operator]
        assert process.is_alive(), f"ended with {process.exitcode} before it was to be killed"
        assert time.monotonic() < deadline, "never came so far"
        time.sleep(0.005)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL, "ended before it was killed"
