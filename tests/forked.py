"""Processes of their own that begin with everything imported, which takes a new Python longer than what most tests have
it do."""

import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# Children come from a server that has everything loaded but never trained: started in a moment, and safe to fork.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "recam.cli", "recam.pipeline.run", "recam.inference.predictor"])
THREADS = int(os.environ.get("OMP_NUM_THREADS", "").partition(",")[0] or 1)
"""Of PyTorch. Tests run beside each other, one process per core: more would only wait for each other, unless asked
for."""
PATIENCE = 900
"""Seconds after which a process that should have come so far has failed; far more than any machine needs."""


class Forked:
    """A process that runs a function, with an environment of its own; what it prints goes to files."""

    def __init__(self, call: Callable[..., object], *arguments: Any, environment: Mapping[str, str] | None = None):
        self._folder = tempfile.TemporaryDirectory()
        self.process: BaseProcess = CONTEXT.Process(
            target=_call, args=(self._folder.name, dict(environment or {}), call, arguments)
        )
        self.process.start()

    def first_line(self) -> str:
        """The first line that it prints, as soon as it has."""
        deadline, printed = time.monotonic() + PATIENCE, Path(self._folder.name, "stdout")
        while not printed.is_file() or "\n" not in (text := printed.read_text()):
            assert self.process.is_alive(), f"ended with {self.process.exitcode}"
            assert time.monotonic() < deadline, "printed no line"
            time.sleep(0.02)
        return text.partition("\n")[0]

    def kill(self) -> None:
        """As ``kill -9``."""
        self.process.kill()
        self.process.join()
        self._folder.cleanup()

    def wait(self) -> subprocess.CompletedProcess[str]:
        """How it ended, as `subprocess.run` describes it."""
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, f"did not end in {PATIENCE} seconds"
        printed = [Path(self._folder.name, name).read_text() for name in ("stdout", "stderr")]
        self._folder.cleanup()
        return subprocess.CompletedProcess((), self.process.exitcode, *printed)


def command(*words: object, environment: Mapping[str, str] | None = None) -> Forked:
    """``recam`` with these words, as the console script runs it."""
    return Forked(_command, [str(word) for word in words], environment=environment)


def _call(folder: str, environment: Mapping[str, str], call: Callable[..., object], arguments: Sequence[Any]) -> None:
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT), descriptor)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.environ.update(environment)
    # First what the environment names, as in a Python that starts in it.
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    begin()
    call(*arguments)


def begin() -> None:
    """What each of these processes does first: as many threads as here, scenes drawn once; its own workers are copies
    of it, not of the server; and the garbage collector passes over what it found loaded, a million objects that it
    would have to copy."""
    import torch

    from tiny_recipe import keep_scenes

    torch.set_num_threads(THREADS)
    keep_scenes()
    multiprocessing.set_start_method("fork", force=True)
    gc.freeze()


def _command(words: Sequence[str]) -> None:
    from recam.cli import main

    sys.argv = ["recam", *words]
    main()
